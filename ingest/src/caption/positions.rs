//! Labels by place: left, right, top, 左图, 右上, 第一行.

use super::context::{Boundary, boundary, inside_open_bracket};
use super::normalize::{Normalized, is_cjk};
use super::run::{Context, Item, Mode, Run};

/// Place words of English captions: the word, its row (or 0) and its column (or 0).
const PLACES: [(&str, u8, u8); 15] = [
    ("left", 0, 1),
    ("right", 0, 3),
    ("upper", 1, 0),
    ("top", 1, 0),
    ("lower", 3, 0),
    ("bottom", 3, 0),
    ("middle", 2, 2),
    ("center", 2, 2),
    ("centre", 2, 2),
    ("central", 2, 2),
    ("first", 11, 0),
    ("second", 12, 0),
    ("third", 13, 0),
    ("fourth", 14, 0),
    ("fifth", 15, 0),
];
/// Nouns that may follow a place word.
const NOUNS: [&str; 17] = [
    "panels",
    "panel",
    "images",
    "image",
    "pictures",
    "picture",
    "photographs",
    "photograph",
    "photos",
    "photo",
    "rows",
    "row",
    "columns",
    "column",
    "frame",
    "figure",
    "side",
];

struct Place {
    start: usize,
    end: usize,
    label: String,
    key: (u8, u8),
    paren: bool,
    noun: bool,
    boundary: Boundary,
    damaged: bool,
}

/// The run of positions in `from..to`, if there is one.
pub fn position_run(n: &Normalized, from: usize, to: usize, context: Context) -> Option<Run> {
    let mut places: Vec<Place> = Vec::new();
    let mut i = from;
    while i < to {
        i = n.find(i, to.min(n.len()), |c| match c {
            '\0'..='\u{7f}' => may_begin_place(c),
            _ => c == '第' || direction(c).is_some(),
        });
        if i >= to {
            break;
        }
        let c = n.at(i);
        let found = if is_cjk(c) || matches!(c, '(' | '[' | '{') && is_cjk(n.at(n.skip_space(i + 1))) {
            chinese(n, i, from, to)
        } else if may_begin_place(c) && !n.before(i).is_ascii_alphanumeric() && may_be_place(n, i) {
            let continued = places
                .last()
                .is_some_and(|p| p.paren && n.skip_space(p.end) == i && n.before(p.end) != ')');
            english(n, i, from, to, continued)
        } else {
            None
        };
        match found {
            Some(mut place) => {
                // `Upper right—lower right panel:`
                if places.last().is_some_and(|p| p.end == place.start) {
                    place.boundary = Boundary::Conjunction;
                }
                i = place.end.max(i + 1);
                places.push(place);
            }
            // No place begins inside a word.
            None if c.is_ascii_alphanumeric() => {
                i = n.find(i, to.min(n.len()), |c| !c.is_ascii_alphanumeric());
            }
            None => i += 1,
        }
    }
    drop_open_lists(n, &mut places);
    let before = choose(&places, Mode::Before, context);
    let after = choose(&places, Mode::After, context);
    match (before, after) {
        (Some(b), Some(a)) => Some(if a.score > b.score { a } else { b }),
        (b, a) => b.or(a),
    }
}

/// Drops places that a conjunction ends but no place follows: `the upper and lower arches`.
fn drop_open_lists(n: &Normalized, places: &mut Vec<Place>) {
    let starts: Vec<usize> = places.iter().map(|p| p.start).collect();
    places.retain(|p| {
        let joined = !p.paren && (n.at(p.end) == '&' || n.slice(p.end, p.end + 4) == ['a', 'n', 'd', ' ']);
        let next = p.end + if n.at(p.end) == '&' { 1 } else { 3 };
        !joined || starts.contains(&n.skip_space(next))
    });
}

/// True for brackets and the first letters of place words, `the` and `far` among them.
fn may_begin_place(c: char) -> bool {
    matches!(
        c,
        '(' | '['
            | '{'
            | 'l'
            | 'r'
            | 'u'
            | 't'
            | 'b'
            | 'm'
            | 'c'
            | 'f'
            | 's'
            | '1'
            | 'i'
            | 'L'
            | 'R'
            | 'U'
            | 'T'
            | 'B'
            | 'M'
            | 'C'
            | 'F'
            | 'S'
            | 'I'
    )
}

/// Letters of the longest place word.
const LONGEST_PLACE: usize = 7;

/// A quick look at the length of the word at `i`: few words are as long as the place words of their letter.
fn may_be_place(n: &Normalized, i: usize) -> bool {
    let letters = n.slice(i, i + LONGEST_PLACE + 1);
    let ends = letters.iter().position(|c| !c.is_ascii_alphanumeric());
    ends.map_or(letters.len() <= LONGEST_PLACE, |end| {
        // `[` and `(` stand before the word; a letter that OCR took for another script does not end it.
        let length = match letters[0].to_ascii_lowercase() {
            'l' | '1' | 'i' => matches!(end, 4 | 5),
            'r' | 'u' => end == 5,
            't' => matches!(end, 3 | 5),
            'b' | 'm' | 's' => end == 6,
            'c' => matches!(end, 6 | 7),
            'f' => matches!(end, 3 | 5 | 6),
            _ => true,
        };
        end == 0 || length || !letters[end].is_ascii()
    })
}

fn choose(places: &[Place], mode: Mode, context: Context) -> Option<Run> {
    let mut items: Vec<Item> = Vec::new();
    let mut keys: Vec<(u8, u8)> = Vec::new();
    let mut score = 0.0;
    for place in places {
        if keys.contains(&place.key) {
            continue;
        }
        let open = matches!(place.boundary, Boundary::Start | Boundary::Stop | Boundary::Line);
        let points = match mode {
            Mode::Before if open => 1.6,
            Mode::Before
                if matches!(
                    place.boundary,
                    Boundary::Comma | Boundary::Conjunction | Boundary::Space
                ) =>
            {
                if place.paren || place.noun {
                    1.1
                } else {
                    0.7
                }
            }
            Mode::Before if place.boundary == Boundary::Cjk && place.noun => 0.6,
            // `扩大（左下）静脉期`: the stop before it was lost.
            Mode::Before if place.boundary == Boundary::Cjk && place.paren => 0.2,
            Mode::Before => -1.0,
            Mode::After if place.paren && !open => 1.6,
            Mode::After => -1.0,
        };
        if points < 0.0 {
            continue;
        }
        score += points - if place.damaged { 0.5 } else { 0.0 };
        keys.push(place.key);
        items.push(Item {
            start: place.start,
            end: place.end,
            labels: vec![place.label.clone()],
            values: Vec::new(),
            damaged: place.damaged,
            note: None,
            side: mode,
        });
    }
    if items.len() < 2 || !agree(&keys) {
        return None;
    }
    if let Some(panels) = context.panels {
        score += if panels == items.len() { 0.4 } else { -0.4 };
    }
    Some(Run {
        family: None,
        mode,
        items,
        score,
        missing: Vec::new(),
        enumeration: false,
    })
}

/// Places of one system: a row, a column, a grid, or counted rows.
fn agree(keys: &[(u8, u8)]) -> bool {
    let grid = keys.iter().filter(|k| k.0 > 0 && k.1 > 0 && k.0 != 2).count();
    let rows = keys.iter().filter(|k| matches!(k.0, 1 | 3) && k.1 == 0).count();
    let columns = keys.iter().filter(|k| k.0 == 0).count();
    let counted = keys.iter().filter(|k| k.0 > 10).count();
    let kinds = usize::from(grid > 0) + usize::from(counted > 0);
    // `top left, top right, bottom` and `left, upper right, lower right` are grids with a wide cell.
    kinds <= 1 && (grid > 0 || rows + columns == 0 || rows == 0 || columns == 0 || rows + columns > 2)
}

fn english(n: &Normalized, i: usize, from: usize, to: usize, continued: bool) -> Option<Place> {
    let opened = matches!(n.at(i), '(' | '[' | '{');
    let paren = opened || continued;
    let mut at = if opened { n.skip_space(i + 1) } else { i };
    let label_from = at;
    if same(n, at, "the ").is_some() {
        at += 4;
    }
    if same(n, at, "far ").is_some() {
        at += 4;
    }
    let (mut key, mut damaged, mut words) = ((0u8, 0u8), false, 0);
    let mut end = at;
    while words < 2 {
        let Some((place, len, misread)) = PLACES
            .iter()
            .find_map(|p| same(n, at, p.0).map(|misread| (p, p.0.len(), misread)))
        else {
            break;
        };
        if n.at(at + len).is_ascii_alphanumeric() && !(opened && n.at(at + len) == 'J') {
            break;
        }
        if (place.1 > 0 && key.0 > 0 && place.1 != 2) || (place.2 > 0 && key.1 > 0 && place.1 != 2) {
            break;
        }
        key = (key.0.max(place.1), key.1.max(place.2));
        damaged |= misread;
        end = at + len;
        words += 1;
        at = end;
        if matches!(n.at(at), ' ' | '-' | '\n') {
            at += 1;
        }
    }
    if words == 0 || n.at(label_from).is_ascii_digit() {
        return None;
    }
    if words == 1 && key == (2, 2) {
        key = (2, 0);
    }
    let mut label_end = end;
    let mut at = n.skip_space(end);
    let (mut noun, mut odd_noun) = (false, false);
    let ends = |word: &str| !n.at(at + word.len()).is_ascii_alphanumeric();
    if let Some((word, misread)) = NOUNS
        .iter()
        .find_map(|w| same(n, at, w).filter(|_| ends(w)).map(|misread| (w, misread)))
    {
        label_end = at + word.len();
        at = n.skip_space(label_end);
        (noun, odd_noun) = (true, misread);
    }
    let closed = match n.at(at) {
        ')' | ']' | '}' | '|' | 'J' | '>' if paren => at + 1,
        // `(upper right, lower left)`: the list goes on.
        '、' | ',' | '/' if paren && begins_place(n, at + 1) => at + 1,
        ',' if paren && followed_by_place(n, n.skip_space(at + 1)) => n.skip_space(at + 1) + 3,
        'a' if paren && followed_by_place(n, at) => at + 3,
        ',' | ':' | '.' | ')' | '、' if !paren => at + 1,
        // `Left and right: ...` share their words.
        'a' | '&' if !paren && followed_by_place(n, at) => at,
        ';' if !paren && key != (0, 0) => at + 1,
        '—' if !paren => at + 1,
        '-' | '=' if !paren && n.at(at + 1) == ' ' => at + 1,
        _ if noun && !paren => at,
        _ => return None,
    };
    let here = boundary(n, i, from);
    // Counted words need their noun: `First, ...` is a way to begin a sentence, a `31-second image` a time.
    let time =
        n.before(i).is_ascii_digit() || i > 1 && matches!(n.before(i), ' ' | '-') && n.at(i - 2).is_ascii_digit();
    if key.0 > 10 && (!noun || time) || closed > to || !paren && inside_open_bracket(n, i, from) {
        return None;
    }
    let label: String = (label_from..if paren { label_end } else { end.max(label_end) })
        .map(|k| if n.at(k) == '\n' { ' ' } else { n.at(k) })
        .collect();
    let label = label.trim_start_matches("the ").trim_start_matches("The ").to_owned();
    Some(Place {
        start: i,
        end: closed,
        label: fix_label(&label, key, damaged || odd_noun),
        key,
        paren,
        noun,
        boundary: here,
        damaged,
    })
}

/// True for `and right`, `& bottom` at `i`.
fn followed_by_place(n: &Normalized, i: usize) -> bool {
    let at = if n.at(i) == '&' { i + 1 } else { i + 3 };
    let joined = n.at(i) == '&' || (n.at(i + 1) == 'n' && n.at(i + 2) == 'd' && n.at(i + 3) == ' ');
    joined && begins_place(n, at)
}

/// True when a place word stands at `i` after blanks.
fn begins_place(n: &Normalized, i: usize) -> bool {
    let at = n.skip_space(i);
    let ends = |c: char| matches!(c, ',' | ':' | '.' | ' ' | ')' | '、' | '/' | '-');
    PLACES
        .iter()
        .any(|p| same(n, at, p.0).is_some() && ends(n.at(at + p.0.len())))
}

/// A misread word is given back as the word it is.
fn fix_label(label: &str, key: (u8, u8), damaged: bool) -> String {
    if !damaged {
        return label.to_owned();
    }
    let row = ["", "upper", "middle", "lower"]
        .get(usize::from(key.0))
        .copied()
        .unwrap_or("");
    let column = ["", "left", "", "right"].get(usize::from(key.1)).copied().unwrap_or("");
    format!("{row} {column}").trim().to_owned()
}

/// `Some(misread)` when the lower-case word stands at `i`, with at most one misread letter.
fn same(n: &Normalized, i: usize, word: &str) -> Option<bool> {
    let mut misread = 0;
    let first = n.at(i).to_ascii_lowercase();
    let begins = word.as_bytes().first().map_or('\0', |&b| char::from(b));
    if begins != first && !(begins == 'l' && matches!(first, '1' | 'i')) {
        return None;
    }
    for (k, want) in word.chars().enumerate() {
        if n.at(i + k).to_ascii_lowercase() != want {
            misread += 1;
            let short = word.len() < 5 && !matches!((want, n.at(i + k)), ('l' | 'e', _) | ('t', 'r'));
            if misread > 1 || short || !n.at(i + k).is_alphanumeric() {
                return None;
            }
        }
    }
    Some(misread > 0)
}

fn chinese(n: &Normalized, i: usize, from: usize, to: usize) -> Option<Place> {
    let paren = matches!(n.at(i), '(' | '[' | '{');
    let at = if paren { n.skip_space(i + 1) } else { i };
    let (mut end, key, mut damaged, counted) = if n.at(at) == '第' {
        let count = "一二三四五六"
            .chars()
            .position(|c| c == n.at(at + 1))
            .or("123456".chars().position(|c| c == n.at(at + 1)))?;
        (at + 2, (11 + count as u8, 0), false, true)
    } else {
        let (row, column, misread) = direction(n.at(at))?;
        match direction(n.at(at + 1)) {
            Some((r, c, m)) if (row == 0) != (r == 0) || (column == 0) != (c == 0) => {
                (at + 2, (row.max(r), column.max(c)), misread | m, false)
            }
            _ => (at + 1, (row, column), misread, false),
        }
    };
    if n.at(end) == '间' || n.at(end) == '央' {
        end += 1;
    }
    if matches!(n.at(end), '侧' | '方' | '边' | '半' | '部' | '面') {
        end += 1;
    }
    let mut noun = false;
    if matches!(n.at(end), '图' | '阁' | '排' | '行' | '列' | '栏' | '幅' | '圈') {
        damaged |= matches!(n.at(end), '阁' | '圈');
        end += 1;
        noun = true;
        if matches!(n.at(end), '像' | '片') {
            end += 1;
        }
    }
    if counted && !noun {
        return None;
    }
    let after = n.skip_space(end);
    let closed = match n.at(after) {
        ')' | ']' | '}' | '|' | 'J' | '>' if paren => after + 1,
        ':' | ';' if !paren => after + 1,
        '、' | '和' | '及' if !paren && !counted && direction(n.at(after + 1)).is_some_and(|d| !d.2) => after + 1,
        '.' | ',' | '、' | '。' if !paren && noun => after + 1,
        '示' | '为' if !paren && noun => after + 1,
        c if !paren && noun && (is_cjk(c) || c.is_ascii_alphanumeric()) => after,
        _ => return None,
    };
    let here = boundary(n, i, from);
    // A place in the middle of a sentence is a label only as `左图:`.
    let named = noun && n.before(closed) == ':';
    let inside = match here {
        Boundary::Cjk => !named,
        Boundary::Conjunction => !noun,
        Boundary::Word | Boundary::Reference => true,
        _ => false,
    };
    // `在：` is 左 only where a sentence begins.
    let opens = matches!(here, Boundary::Start | Boundary::Stop | Boundary::Line) && n.before(closed) == ':';
    if closed > to || (damaged && !noun && !paren && !opens) || (!paren && inside) {
        return None;
    }
    let mut label: String = (at..end).map(|k| n.at(k)).collect();
    if damaged {
        label = label
            .replace('在', "左")
            .replace('石', "右")
            .replace('巾', "中")
            .replace(['阁', '圈'], "图");
    }
    Some(Place {
        start: i,
        end: closed,
        label,
        key,
        paren,
        noun,
        boundary: here,
        damaged,
    })
}

/// Row and column of a Chinese place word, and whether it is a look-alike of one.
fn direction(c: char) -> Option<(u8, u8, bool)> {
    Some(match c {
        '左' => (0, 1, false),
        '右' => (0, 3, false),
        '上' => (1, 0, false),
        '下' => (3, 0, false),
        '中' => (2, 0, false),
        '在' => (0, 1, true),
        '石' => (0, 3, true),
        '巾' => (2, 0, true),
        _ => return None,
    })
}
