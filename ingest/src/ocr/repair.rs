//! What the Chinese model gets wrong again and again, put right.
//!
//! `chi_sim` cannot write some characters of retinal atlases at all (颞, 迂, 瘢) and
//! takes others for look-alikes (中心凹 is read 中心目). A character is changed only
//! when two things speak for it: the reading is a measured look-alike of the other
//! character (`models/lookalikes_zh.txt`), and the other character makes a word of
//! the atlases out of its neighbours (`models/terms_zh.txt`). What is part of a
//! word as it stands is left alone. Marks are put right where only one can be meant:
//! a stop after a panel's letter is no comma, a round bracket no angle bracket.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use regex::{Captures, Regex};

use super::gaps::fill_gaps;
use super::join::is_han;
use super::{Languages, OcrLine};

const TERMS: &str = include_str!("../../models/terms_zh.txt");
const LOOKALIKES: &str = include_str!("../../models/lookalikes_zh.txt");

/// Changes of a line at most: a bound, never met by print.
const MOST_CHANGES: usize = 30;

struct Lexicon {
    /// Words by their first character, everyday words among them.
    by_first: HashMap<char, Vec<Vec<char>>>,
    /// Atlas words that hold a character, and where they do.
    holding: HashMap<char, Vec<(Vec<char>, usize)>>,
    /// Characters of the atlas words.
    alphabet: HashSet<char>,
    /// By the first character read: the whole reading and the character meant.
    by_reading: HashMap<char, Vec<(Vec<char>, char)>>,
    /// Single readings of a character.
    readings: HashMap<char, HashSet<char>>,
}

static LEXICON: LazyLock<Lexicon> = LazyLock::new(|| {
    let mut lexicon = Lexicon {
        by_first: HashMap::new(),
        holding: HashMap::new(),
        alphabet: HashSet::new(),
        by_reading: HashMap::new(),
        readings: HashMap::new(),
    };
    let rows = |text: &'static str| text.lines().filter(|l| !l.starts_with('#') && !l.trim().is_empty());
    for row in rows(TERMS) {
        let everyday = row.starts_with('!');
        for word in row.trim_start_matches('!').split_whitespace() {
            let word: Vec<char> = word.chars().collect();
            if !everyday {
                lexicon.alphabet.extend(&word);
                for (at, c) in word.iter().enumerate().filter(|_| word.len() > 1) {
                    lexicon.holding.entry(*c).or_default().push((word.clone(), at));
                }
            }
            if word.len() > 1 {
                lexicon.by_first.entry(word[0]).or_default().push(word);
            }
        }
    }
    for row in rows(LOOKALIKES) {
        let mut fields = row.split_whitespace();
        let Some(meant) = fields.next().and_then(|f| f.chars().next()) else {
            continue;
        };
        for reading in fields {
            let reading: Vec<char> = reading.chars().collect();
            if let [single] = reading[..] {
                lexicon.readings.entry(meant).or_default().insert(single);
            }
            if let Some(first) = reading.first() {
                lexicon.by_reading.entry(*first).or_default().push((reading, meant));
            }
        }
    }
    lexicon
});

/// Puts right the lines of a region; a changed line keeps in `raw` what was read.
pub fn repair_lines(lines: &mut [OcrLine], languages: Languages) {
    if languages != Languages::Chinese {
        return;
    }
    let mut texts: Vec<String> = lines.iter().map(|l| l.text.clone()).collect();
    drop_unpaired_quotes(&mut texts);
    repair_labels(&mut texts);
    if let Some(first) = texts.first_mut() {
        *first = repair_beginning(first);
    }
    fill_gaps(&mut texts);
    for (line, text) in lines.iter_mut().zip(texts) {
        let text = if text.chars().any(is_han) {
            repair_words(&repair_marks(&text))
        } else {
            text
        };
        if text != line.text {
            let read = std::mem::replace(&mut line.text, text);
            line.raw.get_or_insert(read);
        }
    }
}

/// Wide blanks are read as a quotation mark; a mark without its partner goes.
fn drop_unpaired_quotes(texts: &mut [String]) {
    let mut open: Option<(usize, usize)> = None;
    let mut unpaired: Vec<(usize, usize)> = Vec::new();
    for (line, text) in texts.iter().enumerate() {
        for (at, c) in text.char_indices() {
            match c {
                '“' => unpaired.extend(open.replace((line, at))),
                '”' if open.take().is_none() => unpaired.push((line, at)),
                _ => {}
            }
        }
    }
    unpaired.extend(open);
    unpaired.sort_unstable();
    for (line, at) in unpaired.into_iter().rev() {
        texts[line].remove(at);
    }
}

/// The wide blank behind a figure's number is read as a mark: `图7-1。视网膜`.
fn repair_beginning(text: &str) -> String {
    #[allow(clippy::unwrap_used)]
    static BEGINNING: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"^((?:附|彩)?图\s?[0-9]+(?:[-–][0-9]+)*)\s?[。”“]\s?([\u{3400}-\u{9fff}])").unwrap()
    });
    BEGINNING.replace(text, "${1} ${2}").into_owned()
}

/// Labels in brackets follow each other: `(A) … (B) … C) … (DD) … (FE)` lacks its
/// bracket at C and shows D and F doubled. Nothing is changed unless at least two
/// labels of the region are whole.
fn repair_labels(texts: &mut [String]) {
    #[allow(clippy::unwrap_used)]
    static LABEL: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"([（(【\[]?)((?:[A-Z1-9]\s*[、,，]\s*)*)([A-Z1-9])([A-Za-z]?)(\s?[)）】\]])").unwrap()
    });
    let whole = |found: &Captures<'_>| !found[1].is_empty() && found[4].is_empty();
    let first = |digits: bool| {
        texts
            .iter()
            .flat_map(|t| LABEL.captures_iter(t))
            .filter(|f| whole(f) && f[3].starts_with(|c: char| c.is_ascii_digit()) == digits)
            .count()
    };
    let digits = first(true) > first(false);
    if first(digits) < 2 {
        return;
    }
    let has_whole: HashSet<String> = texts
        .iter()
        .flat_map(|t| LABEL.captures_iter(t))
        .filter(whole)
        .map(|f| f[3].to_owned())
        .collect();
    let mut expected = if digits { b'1' } else { b'A' };
    for text in texts {
        let repaired = LABEL
            .replace_all(text, |found: &Captures<'_>| {
                let letter = found[3].as_bytes().first().copied().unwrap_or_default();
                if whole(found) {
                    if letter >= expected {
                        expected = letter + 1;
                    }
                    return found[0].to_owned();
                }
                let doubled = found[4]
                    .chars()
                    .all(|c| c.is_ascii_uppercase() || found[3].eq_ignore_ascii_case(&c.to_string()));
                let lone = found[1].is_empty() && (!found[4].is_empty() || !found[2].is_empty());
                if letter != expected || has_whole.contains(&found[3]) || !doubled || lone {
                    return found[0].to_owned();
                }
                expected = letter + 1;
                let open = match (&found[1], found[5].trim()) {
                    ("", "】") => "【",
                    ("", "]") => "[",
                    ("", _) => "(",
                    (open, _) => open,
                };
                format!("{open}{}{}{}", &found[2], &found[3], found[5].trim())
            })
            .into_owned();
        *text = repaired;
    }
}

/// Marks that can only be meant in one way.
pub fn repair_marks(text: &str) -> String {
    #[allow(clippy::unwrap_used)] // the patterns are constants, compiled by the tests
    static ANGLE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r#"[《“"(（]?〈"#).unwrap());
    #[allow(clippy::unwrap_used)]
    static STOP: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(r"(^|[。；;：:\s])((?:[A-Z]、)*[A-Z])([a-z]?)(\.，|\.,|，|,|\.)\s*([\u{3400}-\u{9fff}A-Z])").unwrap()
    });
    #[allow(clippy::unwrap_used)]
    static MICRO: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"(\d)\s?[hHu]m\b").unwrap());
    #[allow(clippy::unwrap_used)]
    static SLASH: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\\([A-Za-z0-9]\))").unwrap());
    #[allow(clippy::unwrap_used)]
    static APART: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"(^|[。；;：:\s])([A-Z])\s+([.．])").unwrap());
    #[allow(clippy::unwrap_used)]
    static TWICE: LazyLock<Regex> =
        LazyLock::new(|| Regex::new(r"(^|[。；;：:\s【（(])([A-Z])([a-z])([:：】）)])").unwrap());
    let mut out = ANGLE.replace_all(text, "(").into_owned();
    out = TWICE
        .replace_all(&out, |found: &Captures<'_>| {
            if found[2].eq_ignore_ascii_case(&found[3]) {
                format!("{}{}{}", &found[1], &found[2], &found[4])
            } else {
                found[0].to_owned()
            }
        })
        .into_owned();
    out = SLASH.replace_all(&out, "(${1}").into_owned();
    out = APART.replace_all(&out, "${1}${2}${3}").into_owned();
    if !out.contains('》') {
        out = out.replace('《', "(");
    }
    out = out.replace('}', "；");
    let stopped = STOP.replace_all(&out, |found: &Captures<'_>| {
        let (before, labels, small, mark, after) = (&found[1], &found[2], &found[3], &found[4], &found[5]);
        // `Cc.` is one letter read twice; `A.` before Latin may be `A.B.` of a name.
        let twice = small.is_empty() || labels.to_lowercase().ends_with(small);
        let name = mark == "." && (small.is_empty() || !after.chars().all(is_han));
        if twice && !name && (mark == ".，" || mark == ".," || after.chars().all(is_han)) {
            format!("{before}{labels}.{after}")
        } else {
            found[0].to_owned()
        }
    });
    MICRO.replace_all(&stopped, "${1}μm").into_owned()
}

/// A change that would make a word.
struct Change {
    /// Characters of the word that stand as they are, then fewer look-alikes first.
    weight: (usize, std::cmp::Reverse<usize>),
    meant: char,
    /// Where the word begins and how many characters it takes the place of.
    start: usize,
    length: usize,
    word: Vec<char>,
}

/// Look-alikes that make a word of their neighbours, strongest first.
pub fn repair_words(text: &str) -> String {
    let mut chars: Vec<char> = text.chars().collect();
    for _ in 0..MOST_CHANGES {
        let known = known_words(&chars);
        let best = (0..chars.len())
            .filter(|&at| !known[at])
            .filter_map(|at| best_change(&chars, &known, at))
            .reduce(|best, other| if other.weight > best.weight { other } else { best });
        let Some(change) = best else { break };
        drop(chars.splice(change.start..change.start + change.length, change.word));
    }
    chars.into_iter().collect()
}

/// Which characters are part of a word as they stand.
fn known_words(chars: &[char]) -> Vec<bool> {
    let mut known = vec![false; chars.len()];
    for at in 0..chars.len() {
        for word in LEXICON.by_first.get(&chars[at]).into_iter().flatten() {
            if chars[at..].starts_with(word) {
                known[at..at + word.len()].fill(true);
            }
        }
    }
    known
}

/// The best word for the reading that begins at `at`; none when two characters are as good.
fn best_change(chars: &[char], known: &[bool], at: usize) -> Option<Change> {
    let lexicon = &*LEXICON;
    let mut found: Vec<Change> = Vec::new();
    for (reading, meant) in lexicon.by_reading.get(&chars[at]).into_iter().flatten() {
        let end = at + reading.len();
        if !chars[at..].starts_with(reading) || known[at..end].iter().any(|k| *k) {
            continue;
        }
        // A reading that atlases use as well needs more company.
        let common = reading.len() == 1 && lexicon.alphabet.contains(&reading[0]);
        let least = if common { 2 } else { 1 };
        for (word, place) in lexicon.holding.get(meant).into_iter().flatten() {
            let Some((same, alike)) = fit(chars, known, word, *place, at, end) else {
                continue;
            };
            if same < least.max(alike) {
                continue;
            }
            found.push(Change {
                weight: (same, std::cmp::Reverse(alike)),
                meant: *meant,
                start: at - place,
                length: reading.len() + word.len() - 1,
                word: word.clone(),
            });
        }
    }
    let top = found.iter().map(|c| c.weight).max()?;
    found.retain(|c| c.weight == top);
    let meant = found[0].meant;
    found.iter().all(|c| c.meant == meant).then(|| found.swap_remove(0))
}

/// Characters of `word` that stand beside the reading `at..end`, and look-alikes
/// among them (the reading itself is one, one more may be); `None` if it does not fit.
fn fit(chars: &[char], known: &[bool], word: &[char], place: usize, at: usize, end: usize) -> Option<(usize, usize)> {
    let start = at.checked_sub(place)?;
    if end + word.len() - place - 1 > chars.len() {
        return None;
    }
    let (mut same, mut alike) = (0, 1);
    for (index, wanted) in word.iter().enumerate().filter(|(i, _)| *i != place) {
        let here = if index < place {
            start + index
        } else {
            end + index - place - 1
        };
        if chars[here] == *wanted {
            same += 1;
        } else if alike == 1 && !known[here] && LEXICON.readings.get(wanted).is_some_and(|r| r.contains(&chars[here])) {
            alike = 2;
        } else {
            return None;
        }
    }
    Some((same, alike))
}

#[cfg(test)]
mod tests {
    use super::super::replay::line;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lookalikes_become_words() {
        let cases = [
            ("中心目呈樱桃红", "中心凹呈樱桃红"),
            ("右腿视力下降", "右眼视力下降"),
            ("视盘晒下小上四，色泽灰暗", "视盘颞下小凹，色泽灰暗"),
            ("孔缘圳样水肿", "孔缘囊样水肿"),
            ("视网膜静脉迁曲扩张", "视网膜静脉迂曲扩张"),
            ("RPE呈容侯状隆起", "RPE呈穹窿状隆起"),
            // Left alone: words as they stand, and words that only look like it.
            ("视力明显下降", "视力明显下降"),
            ("对侧眼底正常", "对侧眼底正常"),
            ("中心性浆液性脉络膜视网膜病变", "中心性浆液性脉络膜视网膜病变"),
            ("黄斑中心可见裂孔", "黄斑中心可见裂孔"),
            ("激光斑", "激光斑"),
            ("脉络膜明显增厚", "脉络膜明显增厚"),
            ("", ""),
        ];
        for (read, wanted) in cases {
            assert_eq!(repair_words(read), wanted, "{read}");
        }
    }

    #[test]
    fn marks_mean_one_thing() {
        let cases = [
            ("。A，视网膜", "。A.视网膜"),
            ("；B.，视网膜", "；B.视网膜"),
            ("A、B，早期", "A、B.早期"),
            ("整; Cc. 视网膜", "整; C.视网膜"),
            ("《〈A) 出血", "(A) 出血"),
            ("厚度290hm。", "厚度290μm。"),
            ("完整} B", "完整； B"),
            ("整; Cc:视网膜", "整; C:视网膜"),
            ("。【Cc】视网膜", "。【C】视网膜"),
            ("高反射\\D) ，视网膜", "高反射(D) ，视网膜"),
            ("；B . 视网膜", "；B. 视网膜"),
            // Left alone.
            ("维生素A，口服", "维生素A，口服"),
            ("图2-1A，可见", "图2-1A，可见"),
            ("《眼科学》", "《眼科学》"),
            ("A. 视网膜", "A. 视网膜"),
            ("。C.N.V.位于", "。C.N.V.位于"),
        ];
        for (read, wanted) in cases {
            assert_eq!(repair_marks(read), wanted, "{read}");
        }
    }

    #[test]
    fn labels_in_brackets_follow_each_other() {
        let cases = [
            ("(A) 出血。(B)渗出。(CE) 水肿", "(A) 出血。(B)渗出。(C) 水肿"),
            ("(A、B)出血，C) 渗出，(D)水肿", "(A、B)出血，(C) 渗出，(D)水肿"),
            ("（A）出血（B）渗出（Cc）水肿", "（A）出血（B）渗出（C）水肿"),
            // Left alone: what is no next label, and what has too little company.
            ("(A)出血（RD）(B)渗出", "(A)出血（RD）(B)渗出"),
            ("(A)出血，维生素C)", "(A)出血，维生素C)"),
            ("(HBV)携带者(CE)", "(HBV)携带者(CE)"),
        ];
        for (read, wanted) in cases {
            let mut texts = vec![read.to_owned()];
            repair_labels(&mut texts);
            assert_eq!(texts, [wanted], "{read}");
        }
    }

    #[test]
    fn a_blank_behind_the_number_is_no_stop() {
        assert_eq!(
            repair_beginning("图7-1-44。缺血性视神经病变"),
            "图7-1-44 缺血性视神经病变"
        );
        assert_eq!(repair_beginning("见图7-1。视网膜"), "见图7-1。视网膜");
        assert_eq!(repair_beginning("图7-1。"), "图7-1。");
    }

    #[test]
    fn a_changed_line_keeps_what_was_read() {
        let mut lines = vec![
            line("图9-12 ”高血压", [0, 0, 9, 9], 0.9),
            line("所谓“牛眼", [0, 9, 9, 18], 0.9),
            line("样”改变，双腿", [0, 18, 9, 27], 0.9),
            line("FIGURE 2-1. B, Late", [0, 27, 9, 36], 0.9),
        ];
        repair_lines(&mut lines, Languages::Chinese);
        let texts: Vec<&str> = lines.iter().map(|l| l.text.as_str()).collect();
        assert_eq!(
            texts,
            ["图9-12 高血压", "所谓“牛眼", "样”改变，双眼", "FIGURE 2-1. B, Late"]
        );
        assert_eq!(lines[0].raw.as_deref(), Some("图9-12 ”高血压"));
        assert_eq!(lines[1].raw, None);
    }

    #[test]
    fn words_of_the_list_stand_as_they_are() {
        for row in TERMS.lines().filter(|l| !l.starts_with('#')) {
            for word in row.trim_start_matches('!').split_whitespace() {
                assert_eq!(repair_words(word), word);
            }
        }
    }

    proptest! {
        #[test]
        fn any_text_is_taken(text in "\\PC{0,40}") {
            let once = repair_words(&repair_marks(&text));
            prop_assert!(once.chars().count() <= text.chars().count() + 1);
        }
    }
}
