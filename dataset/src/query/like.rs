//! `LIKE '%text%'` is run by polars as a regular expression that has to match
//! the whole text, which is several times slower than looking for `text`.

/// The statement with each `LIKE` and `ILIKE` of a pattern whose only wildcards
/// are `%` at its ends written as a search (`RLIKE`) for the text between them.
/// Everything else stays as it is.
pub(super) fn as_searches(sql: &str) -> String {
    let mut out = String::with_capacity(sql.len());
    let mut rest = sql;
    while !rest.is_empty() {
        let length = piece(rest);
        let (word, behind) = rest.split_at(length);
        match search(word, behind) {
            Some((replacement, after)) => {
                out += &replacement;
                rest = after;
            }
            None => {
                out += word;
                rest = behind;
            }
        }
    }
    out
}

/// Length of the next piece: a word, a literal, a quoted name, a comment, or
/// one other character.
fn piece(sql: &str) -> usize {
    let up_to = |end: &str, from: usize| sql[from..].find(end).map_or(sql.len(), |at| from + at + end.len());
    let Some(first) = sql.chars().next() else {
        return 0;
    };
    match first {
        '\'' | '"' => literal(sql).unwrap_or(sql.len()),
        '-' if sql.starts_with("--") => up_to("\n", 2),
        '/' if sql.starts_with("/*") => up_to("*/", 2),
        _ if first.is_alphanumeric() || first == '_' => sql
            .find(|c: char| !c.is_alphanumeric() && c != '_')
            .unwrap_or(sql.len()),
        _ => first.len_utf8(),
    }
}

/// Length of the quoted piece at the start; a doubled quote stands for itself.
fn literal(sql: &str) -> Option<usize> {
    let quote = sql.chars().next()?;
    let mut at = 1;
    loop {
        at += sql[at..].find(quote)? + 1;
        if !sql[at..].starts_with(quote) {
            return Some(at);
        }
        at += 1;
    }
}

/// What stands for `word` and the pattern behind it, and what is left.
fn search<'a>(word: &str, behind: &'a str) -> Option<(String, &'a str)> {
    let flags = match word.to_ascii_uppercase().as_str() {
        "LIKE" => "",
        "ILIKE" => "(?i)",
        _ => return None,
    };
    let quoted = behind.trim_start();
    if !quoted.starts_with('\'') {
        return None;
    }
    let (quoted, after) = quoted.split_at(literal(quoted)?);
    let next = after.trim_start();
    let escape = next.get(..6).is_some_and(|word| word.eq_ignore_ascii_case("escape"));
    let pattern = quoted.get(1..quoted.len() - 1)?.replace("''", "'");
    let (start, text) = match pattern.strip_prefix('%') {
        Some(text) => ("", text),
        None => ("^", pattern.as_str()),
    };
    let (end, text) = match text.strip_suffix('%') {
        Some(text) => ("", text),
        None => ("$", text),
    };
    if escape || text.is_empty() || text.contains(['%', '_', '\\']) || (start, end) == ("^", "$") {
        return None;
    }
    let regex = regex::escape(text).replace('\'', "''");
    Some((format!("RLIKE '{flags}{start}{regex}{end}'"), after))
}

#[cfg(test)]
mod tests {
    use super::as_searches;

    #[test]
    fn only_plain_patterns_are_rewritten() {
        let cases = [
            ("a LIKE '%x y%'", "a RLIKE 'x y'"),
            ("a not like 'x.%' AND b", "a not RLIKE '^x\\.' AND b"),
            ("a ILIKE'%黄斑''s'", "a RLIKE '(?i)黄斑''s$'"),
        ];
        for (sql, expected) in cases {
            assert_eq!(as_searches(sql), expected);
        }
        for same in [
            "a LIKE 'x'",
            "a LIKE '%'",
            "a LIKE ''",
            "a LIKE '%x_y%'",
            "a LIKE '%x%y%'",
            "a LIKE '%x!%' ESCAPE '!'",
            "a LIKE b",
            "'it''s LIKE ''%x%''' = a",
            "a -- LIKE '%x%'\n",
            "a /* LIKE '%x%' */ \"LIKE '%x%'\"",
            "unlike '%x%'",
            "a LIKE '%x",
            "a LIKE",
            "",
        ] {
            assert_eq!(as_searches(same), same);
        }
    }
}
