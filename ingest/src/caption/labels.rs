//! What a label may mean: families of labels, their values and what OCR makes of them.
//!
//! A value is the place of a label in its family, from 1: `A` and `①` are 1,
//! `iv` is 4. Letters with a digit (`B2`) count in hundreds: `2 * 100 + 2`.

use super::normalize::circled_value;

/// One family of labels; a caption uses one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// A, B, C
    Upper,
    /// a, b, c
    Lower,
    /// ①, ②
    Circled,
    /// 1, 2, 3
    Digit,
    /// A1, A2, B1 (also with lone letters between: A, B1, B2)
    UpperDigit,
    /// a1, a2, b1
    LowerDigit,
    /// I, II, III
    RomanUpper,
    /// i, ii, iii
    RomanLower,
}

impl Family {
    /// Every family, plainest first: of equal runs the earlier family wins.
    pub const ALL: [Family; 8] = [
        Family::Upper,
        Family::Lower,
        Family::Circled,
        Family::Digit,
        Family::UpperDigit,
        Family::LowerDigit,
        Family::RomanUpper,
        Family::RomanLower,
    ];

    /// The label as the contract prints it: capitals, circled digits as they are.
    pub fn render(self, value: u16) -> String {
        let letter = |v: u16| char::from(b'A' + (v.clamp(1, 26) - 1) as u8);
        match self {
            Family::Upper | Family::Lower => letter(value).to_string(),
            Family::Digit => value.to_string(),
            Family::Circled => char::from_u32(0x2460 + u32::from(value.clamp(1, 20)) - 1)
                .unwrap_or('①')
                .to_string(),
            Family::UpperDigit | Family::LowerDigit => match value % 100 {
                0 => letter(value / 100).to_string(),
                digit => format!("{}{digit}", letter(value / 100)),
            },
            Family::RomanUpper | Family::RomanLower => roman(value),
        }
    }

    /// True when `next` may directly follow `value`.
    #[inline]
    pub fn follows(self, value: u16, next: u16) -> bool {
        match self {
            Family::UpperDigit | Family::LowerDigit => {
                let (letter, digit) = (value / 100, value % 100);
                next == value + 1 && digit > 0 || next == (letter + 1) * 100 || next == (letter + 1) * 100 + 1
            }
            _ => next == value + 1,
        }
    }

    /// How many labels are missing between `value` and `next` (0 when it follows).
    #[inline]
    pub fn missing(self, value: u16, next: u16) -> u16 {
        match self {
            Family::UpperDigit | Family::LowerDigit => {
                if self.follows(value, next) || next <= value {
                    return 0;
                }
                if next / 100 == value / 100 {
                    // `A` and `A1` are not labels of one figure.
                    next - value - 1 + u16::from(value.is_multiple_of(100))
                } else {
                    (next / 100 - value / 100 - 1) + (next % 100).saturating_sub(1)
                }
            }
            _ => next.saturating_sub(value).saturating_sub(1),
        }
    }

    /// True when a run may begin with this value at no price.
    pub fn starts(self, value: u16) -> bool {
        match self {
            Family::UpperDigit | Family::LowerDigit => value == 100 || value == 101,
            _ => value == 1,
        }
    }

    /// The largest value a label of this family may have.
    pub fn max(self) -> u16 {
        match self {
            Family::Upper | Family::Lower => 26,
            Family::Circled | Family::RomanUpper | Family::RomanLower => 20,
            Family::Digit => 40,
            Family::UpperDigit | Family::LowerDigit => 2699,
        }
    }

    /// The values from `first` to `last`, for ranges such as `A-C`.
    pub fn range(self, first: u16, last: u16) -> Vec<u16> {
        (first..=last).collect()
    }
}

/// The numerals from 1 to 20.
const ROMANS: [&str; 20] = [
    "I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII", "XIII", "XIV", "XV", "XVI", "XVII",
    "XVIII", "XIX", "XX",
];

fn roman(value: u16) -> String {
    const PARTS: [(u16, &str); 5] = [(10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I")];
    let mut rest = value;
    let mut out = String::new();
    for (part, digits) in PARTS {
        while rest >= part {
            out.push_str(digits);
            rest -= part;
        }
    }
    out
}

/// The value of a roman numeral up to 20, letters of one case.
fn roman_value(text: &[char], upper: bool) -> Option<u16> {
    let digit = |c: &char| matches!(c, 'I' | 'V' | 'X') && upper || matches!(c, 'i' | 'v' | 'x') && !upper;
    if text.is_empty() || text.len() > 5 || !text.iter().all(digit) {
        return None;
    }
    let mut total = 0u16;
    let mut last = 0u16;
    for &c in text.iter().rev() {
        let v = match c.to_ascii_uppercase() {
            'I' => 1,
            'V' => 5,
            'X' => 10,
            _ => return None,
        };
        if v < last {
            total = total.checked_sub(v)?;
        } else {
            total += v;
            last = v;
        }
    }
    // Every numeral has one form: `IIII` is none.
    let printed = |v: u16| {
        let want = ROMANS.get(usize::from(v) - 1)?;
        (want.len() == text.len() && want.chars().zip(text).all(|(a, b)| a == b.to_ascii_uppercase())).then_some(v)
    };
    (1..=20).contains(&total).then(|| printed(total)).flatten()
}

/// The value of a label as printed, when it belongs to `family`.
pub fn value(atom: &[char], family: Family) -> Option<u16> {
    let letter = |c: char, base: u8| u16::from(c as u8 - base) + 1;
    match (family, atom) {
        (Family::Upper, [c]) if c.is_ascii_uppercase() => Some(letter(*c, b'A')),
        (Family::Lower, [c]) if c.is_ascii_lowercase() => Some(letter(*c, b'a')),
        (Family::Circled, [c]) => circled_value(*c),
        (Family::Digit, [d]) => d.to_digit(10).map(|d| d as u16).filter(|&d| d > 0),
        (Family::Digit, [a, b]) => match (a.to_digit(10), b.to_digit(10)) {
            (Some(a), Some(b)) if a > 0 => Some((a * 10 + b) as u16).filter(|&v| v <= Family::Digit.max()),
            _ => None,
        },
        (Family::UpperDigit, [c, rest @ ..]) if c.is_ascii_uppercase() => {
            sub_digit(rest).map(|d| letter(*c, b'A') * 100 + d)
        }
        (Family::LowerDigit, [c, rest @ ..]) if c.is_ascii_lowercase() => {
            sub_digit(rest).map(|d| letter(*c, b'a') * 100 + d)
        }
        (Family::RomanUpper, text) => roman_value(text, true),
        (Family::RomanLower, text) => roman_value(text, false),
        _ => None,
    }
}

fn sub_digit(rest: &[char]) -> Option<u16> {
    match rest {
        [] => Some(0),
        [d] => d.to_digit(10).map(|d| d as u16).filter(|&d| d > 0),
        _ => None,
    }
}

/// Price of a misread label that looks much like the printed one.
pub const LOOKALIKE_COST: f32 = 0.5;
/// Price of a misread label that looks like nothing in particular.
pub const ANY_GLYPH_COST: f32 = 1.3;

/// Shapes that OCR gives for printed capitals (tables of common confusions of
/// Latin print: closed bowls, open bowls, stems, and the Chinese boxes).
const UPPER_SHAPES: [(char, &str); 14] = [
    ('A', "4^ΛÀÁÂÄÅÃRaH"),
    ('B', "8R日E3ßPb6了"),
    ('C', "(Gc<O[{e05"),
    ('D', "0O口Q]Do曰"),
    ('E', "F下£三B王e"),
    ('F', "EP下Tfr"),
    ('G', "6CcOQ9"),
    ('H', "NMIhK"),
    ('I', "l1|!iJ]"),
    ('J', "]1Ij)"),
    ('K', "XkRH"),
    ('L', "1IlU"),
    ('M', "NHm"),
    ('N', "MHn"),
];

const LOWER_SHAPES: [(char, &str); 12] = [
    ('a', "@oàáâäåãu8d3s"),
    ('b', "6hBk"),
    ('c', "eC(o<9"),
    ('d', "aAq"),
    ('e', "coCs€"),
    ('f', "trF"),
    ('g', "9qy"),
    ('h', "bnk"),
    ('i', "1lj!|I"),
    ('j', "i;1"),
    ('k', "hx"),
    ('l', "1I|i"),
];

const DIGIT_SHAPES: [(char, &str); 9] = [
    ('1', "lIi|!]"),
    ('2', "Zz?"),
    ('3', "8B5"),
    ('4', "Aq"),
    ('5', "Ss"),
    ('6', "bGC"),
    ('7', "T?Z"),
    ('8', "B3S"),
    ('9', "gq"),
];

/// Shapes that OCR gives for any circled digit.
pub(super) const CIRCLE_SHAPES: &str = "@OQD0©®〇○◎四田回国固囗¢";

/// What a misread label may have been, with a price each, for labels of one family.
///
/// `any` also offers every value up to `up_to` at [`ANY_GLYPH_COST`] for a single
/// odd character, which only a gap between good neighbours justifies.
pub fn damaged_values(atom: &[char], family: Family, any: bool, up_to: u16) -> Vec<(u16, f32)> {
    let mut out: Vec<(u16, f32)> = Vec::new();
    let mut add = |v: u16, cost: f32| {
        if !out.iter().any(|o| o.0 == v) {
            out.push((v, cost));
        }
    };
    match family {
        Family::Upper => {
            shapes(atom, &UPPER_SHAPES, 'A', &mut add);
            if let [c] = atom
                && c.is_ascii_lowercase()
            {
                add(u16::from(*c as u8 - b'a') + 1, LOOKALIKE_COST);
            }
            if matches!(atom, ['1', '1'] | ['l', 'i' | 'I' | 'l'] | ['I', 'I']) {
                add(8, LOOKALIKE_COST);
            }
            if matches!(atom, ['1' | 'I' | 'l', '3']) {
                add(2, LOOKALIKE_COST);
            }
        }
        Family::Lower => {
            shapes(atom, &LOWER_SHAPES, 'a', &mut add);
            if let [c] = atom
                && c.is_ascii_uppercase()
            {
                add(u16::from(*c as u8 - b'A') + 1, LOOKALIKE_COST);
            }
            match atom {
                ['c', 'l' | '1' | 'i' | 'I'] | ['o', 'l'] => add(4, LOOKALIKE_COST),
                // A speck beside the letter is read as a second letter.
                [a, b] if a.is_ascii_lowercase() && b.is_ascii_lowercase() => {
                    add(u16::from(*b as u8 - b'a') + 1, 1.0);
                    add(u16::from(*a as u8 - b'a') + 1, 1.0);
                }
                _ => {}
            }
        }
        Family::Digit => shapes(atom, &DIGIT_SHAPES, '1', &mut add),
        Family::Circled => match atom {
            [c] if c.is_ascii_digit() && *c != '0' => add(u16::from(*c as u8 - b'0'), LOOKALIKE_COST),
            [c] if CIRCLE_SHAPES.contains(*c) => {
                for v in 1..=up_to.min(Family::Circled.max()) {
                    add(v, LOOKALIKE_COST + 0.1);
                }
            }
            _ => {}
        },
        Family::RomanUpper | Family::RomanLower => {
            let upper = family == Family::RomanUpper;
            let fixed: Vec<char> = atom
                .iter()
                .map(|c| match c {
                    '1' | 'l' | '|' | '!' | 'I' | 'i' | 'j' => 'i',
                    'n' | 'u' if !upper => 'n',
                    c => c.to_ascii_lowercase(),
                })
                .flat_map(|c| {
                    if c == 'n' {
                        vec!['i', 'i']
                    } else if c == 'm' {
                        vec!['i'; 3]
                    } else {
                        vec![c]
                    }
                })
                .collect();
            if let Some(v) = roman_value(&fixed, false) {
                add(v, LOOKALIKE_COST);
            }
        }
        Family::UpperDigit | Family::LowerDigit => {
            if let [c, d] = atom {
                let base = if family == Family::UpperDigit {
                    Family::Upper
                } else {
                    Family::Lower
                };
                let digit = d.to_digit(10).or(match d {
                    'l' | 'I' | 'i' | '|' => Some(1),
                    'Z' | 'z' => Some(2),
                    'S' | 's' => Some(5),
                    _ => None,
                });
                if let Some(digit) = digit.filter(|&d| d > 0) {
                    if let Some(letter) = value(&[*c], base) {
                        add(letter * 100 + digit as u16, LOOKALIKE_COST);
                    }
                    for (letter, cost) in damaged_values(&[*c], base, false, 26) {
                        add(letter * 100 + digit as u16, cost);
                    }
                }
            }
        }
    }
    if any && atom.len() == 1 && !matches!(family, Family::UpperDigit | Family::LowerDigit) {
        for v in 1..=up_to.min(family.max()) {
            add(v, ANY_GLYPH_COST);
        }
    }
    out
}

fn shapes(atom: &[char], table: &[(char, &str)], first: char, add: &mut impl FnMut(u16, f32)) {
    if let [c] = atom {
        for (printed, read_as) in table {
            if read_as.contains(*c) {
                add((*printed as u32 - first as u32) as u16 + 1, LOOKALIKE_COST);
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn chars(text: &str) -> Vec<char> {
        text.chars().collect()
    }

    #[test]
    fn values_belong_to_their_family() {
        for (atom, family, want) in [
            ("A", Family::Upper, Some(1)),
            ("a", Family::Upper, None),
            ("c", Family::Lower, Some(3)),
            ("③", Family::Circled, Some(3)),
            ("12", Family::Digit, Some(12)),
            ("0", Family::Digit, None),
            ("B2", Family::UpperDigit, Some(202)),
            ("B", Family::UpperDigit, Some(200)),
            ("iv", Family::RomanLower, Some(4)),
            ("IIII", Family::RomanUpper, None),
            ("XIV", Family::RomanUpper, Some(14)),
            ("iV", Family::RomanLower, None),
        ] {
            assert_eq!(value(&chars(atom), family), want, "{atom}");
        }
    }

    #[test]
    fn rendering_gives_the_printed_label_back() {
        for family in Family::ALL {
            for v in 1..=12 {
                let v = if matches!(family, Family::UpperDigit | Family::LowerDigit) {
                    100 + v.min(9)
                } else {
                    v
                };
                let text = family.render(v);
                let lower = matches!(family, Family::Lower | Family::LowerDigit | Family::RomanLower);
                let text = if lower { text.to_lowercase() } else { text };
                assert_eq!(value(&chars(&text), family), Some(v), "{text}");
            }
        }
    }

    #[test]
    fn successors_and_gaps() {
        assert!(Family::Upper.follows(1, 2) && !Family::Upper.follows(1, 3));
        assert!(Family::UpperDigit.follows(102, 201) && Family::UpperDigit.follows(100, 201));
        assert_eq!(Family::Upper.missing(1, 4), 2);
        assert_eq!(Family::UpperDigit.missing(101, 103), 1);
    }

    #[test]
    fn misread_labels_offer_what_they_look_like() {
        let has = |atom: &str, family, v| damaged_values(&chars(atom), family, false, 9).iter().any(|d| d.0 == v);
        assert!(has("8", Family::Upper, 2) && has("l", Family::Upper, 9) && has("0", Family::Upper, 4));
        assert!(has("(", Family::Upper, 3) && has("cl", Family::Lower, 4) && has("@", Family::Circled, 2));
        assert!(has("ll", Family::RomanLower, 2) && has("Al", Family::UpperDigit, 101));
    }
}
