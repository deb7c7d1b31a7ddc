//! Sheets that people fill in with Excel or LibreOffice and hand back.
//!
//! Written as UTF-8 CSV with a byte-order mark (Excel takes any other CSV for
//! the system's code page). Cells that a spreadsheet would run as a formula or
//! turn into a date or number get an apostrophe in front, which reading takes
//! off again; every text comes back as it was.

use std::collections::HashMap;

/// Mark by which Excel knows UTF-8.
const BYTE_ORDER_MARK: &str = "\u{feff}";

/// Characters that begin a formula, in the half and full widths (OWASP, "CSV injection").
const FORMULA: [char; 11] = ['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠'];

/// Digits in a number that Excel keeps exactly.
const EXACT_DIGITS: usize = 15;

/// True when a spreadsheet would not keep these words as they stand: a formula,
/// a date such as `2-12`, a number such as `1E5`, `007` or one too long.
fn is_unsafe(text: &str) -> bool {
    if text.starts_with(FORMULA) {
        return true;
    }
    let digits = text.chars().filter(char::is_ascii_digit).count();
    if digits == 0 || !text.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return false;
    }
    if digits == text.len() {
        return digits > EXACT_DIGITS || (digits > 1 && text.starts_with('0'));
    }
    text.chars()
        .all(|c| c.is_ascii_digit() || matches!(c, '-' | '/' | '.' | ':' | ',' | 'e' | 'E' | '+' | ' ' | '%'))
}

/// A text as it is written into a cell.
pub fn guard(text: &str) -> String {
    if is_unsafe(text.trim_start_matches('\'')) {
        format!("'{text}")
    } else {
        text.to_owned()
    }
}

/// The text that a cell holds: the reverse of [`guard`].
pub fn unguard(cell: &str) -> &str {
    match cell.strip_prefix('\'') {
        Some(rest) if is_unsafe(rest.trim_start_matches('\'')) => rest,
        _ => cell,
    }
}

/// A sheet with these columns and rows, every cell guarded.
pub fn render<'a>(columns: &[&str], rows: impl IntoIterator<Item = Vec<std::borrow::Cow<'a, str>>>) -> Vec<u8> {
    let mut out = BYTE_ORDER_MARK.as_bytes().to_vec();
    let mut line = |cells: &mut dyn Iterator<Item = String>| {
        for (at, cell) in cells.enumerate() {
            if at > 0 {
                out.push(b',');
            }
            if cell.contains([',', ';', '"', '\n', '\r', '\t']) || cell.starts_with(' ') || cell.ends_with(' ') {
                out.push(b'"');
                out.extend_from_slice(cell.replace('"', "\"\"").as_bytes());
                out.push(b'"');
            } else {
                out.extend_from_slice(cell.as_bytes());
            }
        }
        // What RFC 4180 and Excel end lines with.
        out.extend_from_slice(b"\r\n");
    };
    line(&mut columns.iter().map(|c| (*c).to_owned()));
    for row in rows {
        line(&mut row.iter().map(|c| guard(c)));
    }
    out
}

/// A cell that cannot be taken over: where it stands, what it holds and what would help.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Line of the file, from 1.
    pub line: u64,
    /// Column name; empty when the whole row is meant.
    pub column: String,
    /// What the cell holds.
    pub value: String,
    /// What is wrong and what to do.
    pub remedy: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {}", self.line)?;
        if !self.column.is_empty() {
            write!(f, ", column `{}`", self.column)?;
        }
        if !self.value.is_empty() {
            write!(f, ", value `{}`", shortened(&self.value))?;
        }
        write!(f, ": {}", self.remedy)
    }
}

/// Lines that end in a part of a file: by a line feed, or a carriage return alone.
fn line_ends(bytes: &[u8], part: std::ops::Range<usize>) -> u64 {
    let ends = |at: &usize| match bytes.get(*at) {
        Some(b'\n') => true,
        Some(b'\r') => bytes.get(at + 1) != Some(&b'\n'),
        _ => false,
    };
    part.filter(ends).count() as u64
}

/// The first characters of a long value.
fn shortened(text: &str) -> String {
    const SHOWN: usize = 60;
    let text = text.replace(['\n', '\r'], " ");
    match text.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}...", &text[..at]),
        None => text,
    }
}

/// One row of a sheet.
#[derive(Debug, Clone)]
pub struct SheetRow {
    /// Line of the file on which the row begins, from 1.
    pub line: u64,
    cells: Vec<String>,
}

/// A sheet that was read.
#[derive(Debug)]
pub struct Sheet {
    columns: HashMap<String, usize>,
    width: usize,
    /// Rows in file order, blank ones left out.
    pub rows: Vec<SheetRow>,
    /// Rows that have not as many cells as the header.
    pub problems: Vec<Problem>,
}

impl Sheet {
    /// Reads a sheet: CSV with commas, semicolons or tabs, as spreadsheets save it.
    ///
    /// # Errors
    /// The bytes are no UTF-8, a quote is left open, a column of `needed` is
    /// missing or a column stands twice; the message tells the remedy.
    pub fn parse(bytes: &[u8], needed: &[&str]) -> Result<Self, String> {
        if bytes.starts_with(b"PK\x03\x04") {
            return Err("is a workbook (.xlsx or .ods); save it as `CSV UTF-8`".to_owned());
        }
        let text = std::str::from_utf8(bytes).map_err(|error| {
            let line = bytes[..error.valid_up_to()].iter().filter(|b| **b == b'\n').count() + 1;
            format!("line {line} is not UTF-8; save the sheet as `CSV UTF-8` (in LibreOffice choose the character set UTF-8)")
        })?;
        let text = text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text);
        if text.trim().is_empty() {
            return Err("is empty; export it again".to_owned());
        }
        // Excel's own hint, which it writes and reads in some countries.
        let (hint, text, skipped) = match text.split_once('\n') {
            Some((first, rest)) if first.trim_end().len() == 5 && first.starts_with("sep=") => {
                (first.as_bytes().get(4).copied(), rest, 1)
            }
            _ => (None, text, 0),
        };
        if let Some(line) = open_quote(text) {
            return Err(format!(
                "the quote that opens on line {} is never closed, so the rows after it cannot be told apart; \
                 close it or save the sheet again from the spreadsheet",
                line + skipped
            ));
        }
        let header = text.lines().next().unwrap_or_default();
        let separator = hint.unwrap_or_else(|| {
            [b',', b';', b'\t']
                .into_iter()
                .max_by_key(|s| (header.bytes().filter(|b| b == s).count(), *s == b','))
                .unwrap_or(b',')
        });
        let mut reader = csv::ReaderBuilder::new()
            .flexible(true)
            .delimiter(separator)
            .from_reader(text.as_bytes());
        let headers = reader.headers().map_err(|e| format!("the header line: {e}"))?.clone();
        let mut columns = HashMap::new();
        for (at, name) in headers.iter().enumerate() {
            let name = name.trim().to_lowercase();
            if !name.is_empty() && columns.insert(name.clone(), at).is_some() {
                return Err(format!("column `{name}` stands twice in the header; keep one"));
            }
        }
        let missing: Vec<&str> = needed.iter().copied().filter(|n| !columns.contains_key(*n)).collect();
        if !missing.is_empty() {
            return Err(format!(
                "the header has no column {}; it reads `{}`. Keep the header line of the exported sheet",
                missing.join(", "),
                shortened(header)
            ));
        }
        let mut sheet = Self {
            columns,
            width: headers.len(),
            rows: Vec::new(),
            problems: Vec::new(),
        };
        let bytes = text.as_bytes();
        let (mut line, mut counted) = (1 + skipped as u64, 0);
        for record in reader.records() {
            let record = record.map_err(|e| format!("no CSV: {e}; save the sheet again from the spreadsheet"))?;
            // The reader may stop within the two bytes that end a line.
            let place = record.position().map_or(0, csv::Position::byte) as usize;
            let ends = bytes.iter().skip(place).take_while(|b| matches!(b, b'\r' | b'\n'));
            let begin = place + ends.count();
            line += line_ends(bytes, counted..begin);
            counted = begin;
            sheet.add(line, &record);
        }
        Ok(sheet)
    }

    fn add(&mut self, line: u64, record: &csv::StringRecord) {
        if record.iter().all(|cell| cell.trim().is_empty()) {
            return;
        }
        // Spreadsheets leave out, or add, empty cells at the end.
        let more = record.iter().skip(self.width).find(|cell| !cell.trim().is_empty());
        if let Some(value) = more {
            self.problems.push(Problem {
                line,
                column: String::new(),
                value: value.to_owned(),
                remedy: format!(
                    "the row has {} cells, the header {}; a comma outside quotes cuts a text in two",
                    record.len(),
                    self.width
                ),
            });
            return;
        }
        let cells = record
            .iter()
            .map(|cell| unguard(&cell.replace("\r\n", "\n")).to_owned())
            .collect();
        self.rows.push(SheetRow { line, cells });
    }

    /// The cell of a row; nothing when the sheet has no such column.
    pub fn cell<'a>(&self, row: &'a SheetRow, column: &str) -> Option<&'a str> {
        let at = *self.columns.get(column)?;
        Some(row.cells.get(at).map_or("", String::as_str))
    }

    /// As [`Sheet::cell`], without blanks around it; empty cells are nothing.
    pub fn filled<'a>(&self, row: &'a SheetRow, column: &str) -> Option<&'a str> {
        self.cell(row, column).map(str::trim).filter(|cell| !cell.is_empty())
    }
}

/// Line (from 1) of a quote that is never closed.
fn open_quote(text: &str) -> Option<usize> {
    let (mut open, mut line) = (None, 1);
    for byte in text.bytes() {
        match byte {
            b'"' => open = if open.is_some() { None } else { Some(line) },
            b'\n' => line += 1,
            _ => {}
        }
    }
    open
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rows_know_the_line_they_begin_on_whatever_ends_the_lines() {
        for end in ["\n", "\r\n", "\r"] {
            let text = format!("id,text{end}1,a{end}2,\"b{end}c\"{end}{end}3,d{end}");
            let sheet = Sheet::parse(text.as_bytes(), &["id"]).unwrap();
            let lines: Vec<u64> = sheet.rows.iter().map(|row| row.line).collect();
            assert_eq!(lines, [2, 3, 6], "{end:?}");
        }
    }

    #[test]
    fn what_a_spreadsheet_would_change_is_guarded() {
        for (text, guarded) in [
            ("=1+1", "'=1+1"),
            ("+49 30", "'+49 30"),
            ("-CNV", "'-CNV"),
            ("@SUM(A1)", "'@SUM(A1)"),
            ("＝1", "'＝1"),
            ("2-12", "'2-12"),
            ("1E5", "'1E5"),
            ("007", "'007"),
            ("1.10", "'1.10"),
            ("1234567890123456", "'1234567890123456"),
            ("12", "12"),
            ("A", "A"),
            ("3 days after", "3 days after"),
            ("'quoted' words", "'quoted' words"),
            ("'=x", "''=x"),
            ("", ""),
        ] {
            assert_eq!(guard(text), guarded);
            assert_eq!(unguard(guarded), text);
        }
    }

    #[test]
    fn sheets_of_other_spreadsheets_are_read() {
        for text in [
            "\u{feff}id,decision\r\nx,ok\r\n",
            "id;decision\nx;ok\n",
            "ID\tDecision\nx\tok\n",
            "sep=;\nid;decision\nx;ok",
            "id,decision,,\nx,ok,,\n,,,\n",
        ] {
            let sheet = Sheet::parse(text.as_bytes(), &["id", "decision"]).unwrap();
            assert_eq!(sheet.rows.len(), 1, "{text}");
            assert_eq!(sheet.filled(&sheet.rows[0], "decision"), Some("ok"));
            assert_eq!(sheet.filled(&sheet.rows[0], "remark"), None);
        }
    }

    #[test]
    fn sheets_that_cannot_be_told_apart_are_refused() {
        for (bytes, word) in [
            (&b"id,decision\nx,\"ok\ny,ok\n"[..], "line 2"),
            (b"id,decision\n\xb2\xbb,ok\n", "line 2 is not UTF-8"),
            (b"PK\x03\x04rest", "workbook"),
            (b"name,decision\n", "no column id"),
            (b"id,decision,id\n", "twice"),
            (b" \n", "empty"),
        ] {
            let message = Sheet::parse(bytes, &["id", "decision"]).unwrap_err();
            assert!(message.contains(word), "{message}");
        }
        let sheet = Sheet::parse(b"id,decision\nx,ok,and more\ny,ok\n", &["id"]).unwrap();
        assert_eq!((sheet.rows.len(), sheet.problems[0].line), (1, 2));
    }

    proptest! {
        #[test]
        fn every_text_comes_back(cells in proptest::collection::vec("\\PC{0,12}|[-'=+@0-9E,;\"\t\n ]{0,8}", 1..4)) {
            let columns: Vec<String> = (0..cells.len()).map(|k| format!("c{k}")).collect();
            let names: Vec<&str> = columns.iter().map(String::as_str).collect();
            let row = cells.iter().map(|c| std::borrow::Cow::Borrowed(c.as_str())).collect();
            let sheet = Sheet::parse(&render(&names, [row]), &names).unwrap();
            if cells.iter().any(|c| !c.trim().is_empty()) {
                for (name, cell) in names.iter().zip(&cells) {
                    prop_assert_eq!(sheet.cell(&sheet.rows[0], name).unwrap(), cell.as_str());
                }
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            let _ = Sheet::parse(&bytes, &["id"]);
        }
    }
}
