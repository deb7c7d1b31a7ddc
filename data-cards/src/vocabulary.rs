//! Words that the Hugging Face hub and SPDX know: licences, sizes, tasks, languages.

/// (id on the Hugging Face hub, SPDX id or empty) of licences that cards may carry.
pub const LICENCES: [(&str, &str); 38] = [
    ("apache-2.0", "Apache-2.0"),
    ("mit", "MIT"),
    ("bsd", ""),
    ("bsd-2-clause", "BSD-2-Clause"),
    ("bsd-3-clause", "BSD-3-Clause"),
    ("cc", ""),
    ("cc0-1.0", "CC0-1.0"),
    ("cc-by-2.0", "CC-BY-2.0"),
    ("cc-by-2.5", "CC-BY-2.5"),
    ("cc-by-3.0", "CC-BY-3.0"),
    ("cc-by-4.0", "CC-BY-4.0"),
    ("cc-by-sa-3.0", "CC-BY-SA-3.0"),
    ("cc-by-sa-4.0", "CC-BY-SA-4.0"),
    ("cc-by-nc-2.0", "CC-BY-NC-2.0"),
    ("cc-by-nc-3.0", "CC-BY-NC-3.0"),
    ("cc-by-nc-4.0", "CC-BY-NC-4.0"),
    ("cc-by-nd-4.0", "CC-BY-ND-4.0"),
    ("cc-by-nc-nd-3.0", "CC-BY-NC-ND-3.0"),
    ("cc-by-nc-nd-4.0", "CC-BY-NC-ND-4.0"),
    ("cc-by-nc-sa-2.0", "CC-BY-NC-SA-2.0"),
    ("cc-by-nc-sa-3.0", "CC-BY-NC-SA-3.0"),
    ("cc-by-nc-sa-4.0", "CC-BY-NC-SA-4.0"),
    ("cdla-permissive-1.0", "CDLA-Permissive-1.0"),
    ("cdla-permissive-2.0", "CDLA-Permissive-2.0"),
    ("cdla-sharing-1.0", "CDLA-Sharing-1.0"),
    ("gpl", ""),
    ("gpl-2.0", "GPL-2.0-only"),
    ("gpl-3.0", "GPL-3.0-only"),
    ("agpl-3.0", "AGPL-3.0-only"),
    ("lgpl-3.0", "LGPL-3.0-only"),
    ("mpl-2.0", "MPL-2.0"),
    ("odbl", "ODbL-1.0"),
    ("odc-by", "ODC-By-1.0"),
    ("pddl", "PDDL-1.0"),
    ("unlicense", "Unlicense"),
    ("wtfpl", "WTFPL"),
    ("other", ""),
    ("unknown", ""),
];

/// Size categories of the Hugging Face hub with their upper ends.
const SIZES: [(&str, u64); 11] = [
    ("n<1K", 1_000),
    ("1K<n<10K", 10_000),
    ("10K<n<100K", 100_000),
    ("100K<n<1M", 1_000_000),
    ("1M<n<10M", 10_000_000),
    ("10M<n<100M", 100_000_000),
    ("100M<n<1B", 1_000_000_000),
    ("1B<n<10B", 10_000_000_000),
    ("10B<n<100B", 100_000_000_000),
    ("100B<n<1T", 1_000_000_000_000),
    ("n>1T", u64::MAX),
];

/// Task categories of the Hugging Face hub that image, text and image-text sets use.
pub const TASKS: [&str; 24] = [
    "image-to-text",
    "image-text-to-text",
    "text-to-image",
    "image-classification",
    "zero-shot-image-classification",
    "image-feature-extraction",
    "image-segmentation",
    "image-to-image",
    "object-detection",
    "unconditional-image-generation",
    "visual-question-answering",
    "visual-document-retrieval",
    "fill-mask",
    "text-generation",
    "text-classification",
    "text-retrieval",
    "feature-extraction",
    "sentence-similarity",
    "translation",
    "summarization",
    "question-answering",
    "token-classification",
    "multiple-choice",
    "other",
];

/// Values of `multilinguality`.
pub const MULTILINGUALITY: [&str; 4] = ["monolingual", "multilingual", "translation", "other"];
/// Values of `annotations_creators`.
pub const ANNOTATION_CREATORS: [&str; 6] = [
    "crowdsourced",
    "found",
    "expert-generated",
    "machine-generated",
    "no-annotation",
    "other",
];

/// Two-letter language codes (ISO 639-1).
const LANGUAGES: &str = "aa ab ae af ak am an ar as av ay az ba be bg bh bi bm bn bo br bs ca ce ch co cr cs cu cv cy da de dv dz ee el en eo es et eu fa ff fi fj fo fr fy ga gd gl gn gu gv ha he hi ho hr ht hu hy hz ia id ie ig ii ik io is it iu ja jv ka kg ki kj kk kl km kn ko kr ks ku kv kw ky la lb lg li ln lo lt lu lv mg mh mi mk ml mn mr ms mt my na nb nd ne ng nl nn no nr nv ny oc oj om or os pa pi pl ps pt qu rm rn ro ru rw sa sc sd se sg si sk sl sm sn so sq sr ss st su sv sw ta te tg th ti tk tl tn to tr ts tt tw ty ug uk ur uz ve vi vo wa wo xh yi yo za zh zu";

/// Hub id of a licence as a row states it ("CC BY 4.0", "Apache-2.0", "cc-by-4.0 (see manifest)"), when it is clear.
pub fn licence_id(stated: &str) -> Option<&'static str> {
    let plain = |s: &str| s.to_lowercase().replace([' ', '_'], "-");
    let stated = plain(stated.trim());
    LICENCES
        .iter()
        .find(|(id, spdx)| stated == *id || (!spdx.is_empty() && stated == plain(spdx)))
        .map(|(id, _)| *id)
}

/// Web address of a licence by its hub id; `None` for ids that stand for no one text.
pub fn licence_url(id: &str) -> Option<String> {
    let spdx = LICENCES.iter().find(|(known, _)| *known == id)?.1;
    (!spdx.is_empty()).then(|| format!("https://spdx.org/licenses/{spdx}.html"))
}

/// Whether the hub knows the licence id.
pub fn is_licence_id(id: &str) -> bool {
    LICENCES.iter().any(|(known, _)| *known == id)
}

/// Size category of a number of rows.
pub fn size_category(rows: u64) -> &'static str {
    SIZES
        .iter()
        .find(|(_, end)| rows < *end)
        .map_or("n>1T", |(name, _)| *name)
}

/// Whether a size category exists.
pub fn is_size_category(name: &str) -> bool {
    SIZES.iter().any(|(known, _)| *known == name)
}

/// Whether a language code is ISO 639-1, or has the shape of ISO 639-3, with an optional region or script.
pub fn is_language(code: &str) -> bool {
    let mut parts = code.split('-');
    let base = parts.next().unwrap_or_default();
    let known = match base.len() {
        2 => LANGUAGES.split(' ').any(|l| l == base),
        3 => base.bytes().all(|b| b.is_ascii_lowercase()),
        _ => false,
    };
    known && parts.all(|p| (2..=4).contains(&p.len()) && p.bytes().all(|b| b.is_ascii_alphanumeric()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn licences_as_people_write_them() {
        for (stated, id) in [
            ("CC BY 4.0", Some("cc-by-4.0")),
            ("Apache-2.0", Some("apache-2.0")),
            ("cc-by-nc-sa-4.0", Some("cc-by-nc-sa-4.0")),
            ("research only", None),
            ("CC-BY 9.0", None),
        ] {
            assert_eq!(licence_id(stated), id, "{stated}");
        }
        assert_eq!(
            licence_url("odbl").as_deref(),
            Some("https://spdx.org/licenses/ODbL-1.0.html")
        );
        assert_eq!(licence_url("unknown"), None);
    }

    #[test]
    fn sizes_and_languages() {
        assert_eq!(
            [0, 999, 1000, 99_999].map(size_category),
            ["n<1K", "n<1K", "1K<n<10K", "10K<n<100K"]
        );
        assert!(is_language("zh") && is_language("zh-Hans") && is_language("en-GB") && is_language("yue"));
        assert!(!is_language("xx") && !is_language("english") && !is_language("EN") && !is_language(""));
    }
}
