//! Clean-up of running text: markup, references to figures, names of people,
//! and what forums and chat sets put around the words.

use std::sync::LazyLock;

use regex::Regex;

/// A pattern and what stands in its place.
struct Rule {
    pattern: &'static str,
    with: &'static str,
}

/// Applied in order. Names go only where the text marks them as names.
const RULES: [Rule; 18] = [
    Rule {
        pattern: r"<[bB][rR]\s*/?>|</?(?:p|div|li|ul|ol|tr|td)\b[^>]*>",
        with: "\n",
    },
    Rule {
        pattern: r"</?[a-zA-Z][a-zA-Z0-9]*(?:\s[^<>]*)?>",
        with: " ",
    },
    Rule {
        pattern: r"&nbsp;|&#160;",
        with: " ",
    },
    Rule {
        pattern: r"&amp;",
        with: "&",
    },
    Rule {
        pattern: r"&lt;",
        with: "<",
    },
    Rule {
        pattern: r"&gt;",
        with: ">",
    },
    Rule {
        pattern: r"&quot;|&#34;",
        with: "\"",
    },
    Rule {
        pattern: r"&#39;|&apos;",
        with: "'",
    },
    Rule {
        pattern: r"https?://\S+|www\.\S+|\S+@\S+\.\S+",
        with: " ",
    },
    // References to figures and tables, in brackets and in the sentence.
    Rule {
        pattern: r"[(（\[]\s*(?:see |cf\.? |参?见|如)?\s*(?i:figs?\.?|figures?|tables?|plates?|附?彩?图|表)\s*\d[\w\-–.~～、, ]*[)）\]]",
        with: "",
    },
    Rule {
        pattern: r"(?:如|见|参见)(?:图|表)\s*\d[\dA-Za-z\-–—.]*(?:所示)?[，,]?",
        with: "",
    },
    Rule {
        pattern: r"(?i:,?\s*(?:as )?(?:shown|seen|illustrated|depicted) in (?:figs?\.?|figures?|tables?)\s*\d[\dA-Za-z\-–.]*)",
        with: "",
    },
    Rule {
        pattern: r"(?m)^\s*(?i:figs?\.|figures?|plates?|附?彩?图)\s*\d[\dA-Za-z\-–.]*[.:：　\s]+",
        with: "",
    },
    // Numbers of literature: [12], [3-5], [1,2].
    Rule {
        pattern: r"\[\d{1,3}(?:\s*[-–,，]\s*\d{1,3})*\]",
        with: "",
    },
    // Names of patients and doctors where they are marked.
    Rule {
        pattern: r"(?:患者姓名|病人姓名|姓名|患者名)\s*[:：]\s*\p{Han}{2,4}[，,；;。\s]?",
        with: "",
    },
    Rule {
        pattern: r"(?i:patient(?:'s)? name|name of patient)\s*[:：]\s*[A-Z][\w'\-]+(?:\s+[A-Z][\w'\-.]*){0,2}[,;.]?",
        with: "",
    },
    Rule {
        pattern: r"\b(?:Dr|Prof|Mr|Mrs|Ms)\.?\s+[A-Z][a-z'\-]+(?:\s+[A-Z][a-z'\-]+)?",
        with: "",
    },
    Rule {
        pattern: r"(?m)^\s*(?:作者|主编|编者|编著|译者|校对|(?i:authors?|editors?|edited by|written by|reviewed by))\s*[:：]?\s.*$|^\s*(?:作者|主编|编者|译者)[:：].*$",
        with: "",
    },
];

static COMPILED: LazyLock<Vec<(Regex, &'static str)>> = LazyLock::new(|| {
    RULES
        .iter()
        .filter_map(|r| Regex::new(r.pattern).ok().map(|p| (p, r.with)))
        .collect()
});

/// Who speaks, at the beginning of a line.
static SPEAKER: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"(?m)^\s*(?:患者|病人|医生|用户|问|答|Q|A|(?i:question|answer|patient|doctor|user|human|assistant|chat ?doctor))\s*[:：]\s*").ok()
});

/// Greetings and thanks that carry nothing.
static GREETING: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r"(?i)^\s*(?:(?:hi|hello|dear|hey)\b[^.!?\n]{0,40}[,.!]\s*|thank(?:s| you)[^.!?\n]{0,80}[.!]\s*|您?你?好[!！,，。]\s*|谢谢[^。！\n]{0,12}[。！]\s*|welcome to[^.!?\n]{0,60}[.!]\s*)+",
    )
    .ok()
});

/// A text without markup, references, marked names, speakers and greetings.
///
/// Line breaks stay where lines were; blanks are single.
pub fn clean(text: &str) -> String {
    let mut text = text
        .replace(['\u{a0}', '\u{200b}', '\u{feff}', '\t'], " ")
        .replace("\r\n", "\n")
        .replace('\r', "\n");
    for (pattern, with) in COMPILED.iter() {
        if pattern.is_match(&text) {
            text = pattern.replace_all(&text, *with).into_owned();
        }
    }
    for pattern in [&*SPEAKER, &*GREETING].into_iter().flatten() {
        text = pattern.replace_all(&text, "").into_owned();
    }
    text.lines()
        .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
        .filter(|line| !line.is_empty())
        .collect::<Vec<_>>()
        .join("\n")
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_compiles() {
        assert_eq!(COMPILED.len(), RULES.len());
        assert!(SPEAKER.is_some() && GREETING.is_some());
    }

    #[test]
    fn what_is_no_text_goes() {
        for (raw, want) in [
            ("The hole closed (Fig. 2-3A, B).", "The hole closed ."),
            ("如图1-2A所示，黄斑水肿", "黄斑水肿"),
            ("黄斑水肿（见图2-5C）消退", "黄斑水肿消退"),
            ("Drusen, as shown in Figure 4-5, grow.", "Drusen, grow."),
            ("Known since 1990 [12, 13].", "Known since 1990 ."),
            ("姓名：张三丰，男，40岁", "男，40岁"),
            ("Patient name: John A. Smith. Blurred vision.", "Blurred vision."),
            ("Dr. Smith saw <b>drusen</b>.<br>Next line", "saw drusen .\nNext line"),
            ("患者：眼睛红\n医生：多久了？", "眼睛红\n多久了？"),
            ("Hi, Thanks for your query. The retina is fine.", "The retina is fine."),
            ("see https://example.org/a?b for more", "see for more"),
            ("作者：李四\n正文", "正文"),
            ("type A and type B, OD 0.3", "type A and type B, OD 0.3"),
        ] {
            assert_eq!(clean(raw), want, "{raw}");
        }
    }
}
