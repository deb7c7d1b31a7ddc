//! A word cloud as SVG, laid out without randomness: the largest word in the
//! middle, each next one at the first free place on a spiral.

use super::text::Term;
use std::fmt::Write;

/// Size of the picture in pixels.
const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 380.0;
/// Room for the title at the top.
const TITLE: f64 = 34.0;
/// Largest and smallest font size in pixels.
const FONT: (f64, f64) = (54.0, 12.0);
/// Free pixels around each word; at its sides also this share of its font size,
/// so that neighbours do not read as one phrase.
const GAP: f64 = 3.0;
const SIDE: f64 = 0.12;
/// Words of a full cloud; the smallest of fewer words are larger.
const FULL: usize = 60;
/// Height of a line of text relative to its font size.
const LINE: f64 = 1.12;
/// Distance of neighbouring places tried on the spiral, in pixels.
const STEP: f64 = 3.0;

#[derive(Debug, Clone, PartialEq)]
struct Placed {
    word: String,
    count: u64,
    font: f64,
    x: f64,
    y: f64,
    width: f64,
    height: f64,
}

impl Placed {
    fn overlaps(&self, other: &Self) -> bool {
        self.x < other.x + other.width
            && other.x < self.x + self.width
            && self.y < other.y + other.height
            && other.y < self.y + self.height
    }
}

/// Width of a sign relative to the font size, for a sans-serif face; the
/// picture fixes each word's width to the sum, whatever face is used.
fn sign_width(c: char) -> f64 {
    match c {
        'i' | 'j' | 'l' | '\'' | '.' | ',' | '|' => 0.27,
        'f' | 't' | 'r' | 'I' | '-' | ' ' | '(' | ')' | '/' => 0.36,
        'm' | 'w' | 'M' | 'W' => 0.86,
        c if c.is_ascii_uppercase() => 0.70,
        c if c.is_ascii() => 0.57,
        _ => 1.0,
    }
}

/// Free pixels at each side of a word.
fn side(font: f64) -> f64 {
    GAP + SIDE * font
}

/// Words with their places; words that find no room are left out.
fn place(terms: &[Term]) -> Vec<Placed> {
    let Some(most) = terms.first().map(|term| term.count) else {
        return Vec::new();
    };
    let least = terms.last().map_or(1, |term| term.count);
    let scale = |count: u64| (count as f64).sqrt();
    let span = scale(most) - scale(least);
    let smallest = FONT.1 * (FULL as f64 / terms.len() as f64).sqrt().clamp(1.0, 2.0);
    let mut placed: Vec<Placed> = Vec::new();
    for term in terms {
        // Words that are all as frequent as each other are neither large nor small.
        let share = if span > 0.0 {
            (scale(term.count) - scale(least)) / span
        } else {
            0.3
        };
        let font = smallest + share * (FONT.0 - smallest);
        let width = term.term.chars().map(sign_width).sum::<f64>() * font + 2.0 * side(font);
        let height = font * LINE + 2.0 * GAP;
        if let Some(place) = free_place(&placed, width, height) {
            placed.push(Placed {
                word: term.term.clone(),
                count: term.count,
                font,
                x: place.0,
                y: place.1,
                width,
                height,
            });
        }
    }
    placed
}

/// Walks an elliptic spiral outwards from the middle.
fn free_place(placed: &[Placed], width: f64, height: f64) -> Option<(f64, f64)> {
    let mut angle: f64 = 0.0;
    loop {
        let radius = 1.6 * angle;
        if radius > WIDTH {
            return None;
        }
        let x = WIDTH / 2.0 + radius * angle.cos() - width / 2.0;
        let y = (HEIGHT + TITLE) / 2.0 + radius * (HEIGHT / WIDTH) * angle.sin() - height / 2.0;
        let inside = x >= 0.0 && y >= TITLE && x + width <= WIDTH && y + height <= HEIGHT;
        let candidate = Placed {
            word: String::new(),
            count: 0,
            font: 0.0,
            x,
            y,
            width,
            height,
        };
        if inside && !placed.iter().any(|other| other.overlaps(&candidate)) {
            return Some((x, y));
        }
        angle += STEP / (radius + STEP);
    }
}

/// The cloud of the given terms (most frequent first) in shades of `color`
/// (`#rrggbb`).
pub(super) fn svg(terms: &[Term], title: &str, color: &str) -> String {
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" role=\"img\">\n<title>{0}</title>\n<rect width=\"{WIDTH}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n<text x=\"14\" y=\"26\" font-size=\"17\" font-family=\"Helvetica, Arial, 'Noto Sans CJK SC', sans-serif\" fill=\"#333333\">{0}</text>\n",
        escape(title)
    );
    for word in place(terms) {
        let share = (word.font - FONT.1) / (FONT.0 - FONT.1);
        let _ = writeln!(
            text,
            "<text x=\"{:.1}\" y=\"{:.1}\" font-size=\"{:.1}\" textLength=\"{:.1}\" lengthAdjust=\"spacingAndGlyphs\" font-family=\"Helvetica, Arial, 'Noto Sans CJK SC', sans-serif\" fill=\"{color}\" fill-opacity=\"{:.2}\"><title>{}</title>{}</text>",
            word.x + side(word.font),
            word.y + GAP + 0.84 * word.font,
            word.font,
            word.width - 2.0 * side(word.font),
            0.55 + 0.45 * share,
            word.count,
            escape(&word.word)
        );
    }
    text + "</svg>\n"
}

/// Text for XML.
pub(super) fn escape(text: &str) -> String {
    text.chars().fold(String::new(), |mut out, c| {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
        out
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn terms(counts: &[u64]) -> Vec<Term> {
        let mut counts = counts.to_vec();
        counts.sort_unstable_by(|a, b| b.cmp(a));
        counts
            .iter()
            .enumerate()
            .map(|(at, &count)| Term {
                term: if at % 3 == 0 {
                    format!("黄斑{at}")
                } else {
                    format!("neovascular{at}")
                },
                count,
            })
            .collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn words_do_not_overlap_nor_leave_the_picture(counts in proptest::collection::vec(1_u64..2000, 0..60)) {
            let placed = place(&terms(&counts));
            for (at, word) in placed.iter().enumerate() {
                prop_assert!(word.x >= 0.0 && word.y >= 0.0);
                prop_assert!(word.x + word.width <= WIDTH && word.y + word.height <= HEIGHT);
                for other in &placed[at + 1..] {
                    prop_assert!(!word.overlaps(other));
                }
            }
        }
    }

    #[test]
    fn few_or_equal_words_can_be_read() {
        let equal = place(&terms(&[1; 8]));
        assert!(
            equal.len() == 8 && equal.iter().all(|word| word.font > 28.0),
            "{equal:?}"
        );
        let few = place(&terms(&[9, 3, 1, 1, 1]));
        assert!(few.iter().all(|word| word.font >= 24.0), "{few:?}");
        let full: Vec<u64> = (1..=60).map(|n| 900 / n).collect();
        assert!(place(&terms(&full)).last().unwrap().font < 16.0);
    }

    #[test]
    fn most_words_find_room_and_are_escaped() {
        let counts: Vec<u64> = (1..=50).map(|n| 2000 / n).collect();
        assert!(place(&terms(&counts)).len() >= 40, "{}", place(&terms(&counts)).len());
        let odd = [Term {
            term: "<b>&\"".to_owned(),
            count: 2,
        }];
        let picture = svg(&odd, "a<b", "#112233");
        assert!(picture.contains("&lt;b&gt;&amp;&quot;") && picture.contains("a&lt;b"));
        assert_eq!(picture, svg(&odd, "a<b", "#112233"));
    }
}
