//! What only people know about a dataset: `card.toml` in the dataset folder, all keys optional.

use std::path::Path;

use anyhow::Context;
use serde::Deserialize;

/// File name in the dataset folder.
pub const INFO_FILE: &str = "card.toml";

/// Answers of the people behind a dataset.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CardInfo {
    /// Name for people.
    pub pretty_name: Option<String>,
    /// One paragraph.
    pub description: Option<String>,
    /// Licence id of the whole (hub id or SPDX id).
    pub license: Option<String>,
    /// Version of the dataset.
    pub version: Option<String>,
    /// YYYY-MM-DD.
    pub date_published: Option<String>,
    /// BibTeX or a sentence.
    pub citation: Option<String>,
    /// Address of the dataset.
    pub homepage: Option<String>,
    /// Who answers questions.
    pub contact: Option<String>,
    /// People or organisations.
    #[serde(default)]
    pub creators: Vec<String>,
    /// What it is for.
    pub intended_use: Option<String>,
    /// What it is not for.
    pub out_of_scope_use: Option<String>,
    /// Known biases.
    pub biases: Option<String>,
    /// Known limitations.
    pub limitations: Option<String>,
    /// Personal or sensitive information in it.
    pub personal_information: Option<String>,
    /// Consent and ethics approval.
    pub ethics: Option<String>,
    /// Who keeps it up, and how to have something taken down.
    pub maintenance: Option<String>,
}

impl CardInfo {
    /// Reads the file given, or `card.toml` of the folder when it is there.
    pub fn read(folder: &Path, given: Option<&Path>) -> anyhow::Result<Self> {
        let file = given.map_or_else(|| folder.join(INFO_FILE), Path::to_path_buf);
        if given.is_none() && !file.exists() {
            return Ok(Self::default());
        }
        let text = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        let info: Self = toml::from_str(&text).with_context(|| file.display().to_string())?;
        if let Some(date) = info.date_published.as_ref().filter(|d| !is_date(d)) {
            anyhow::bail!(
                "{}: date_published '{date}' is no date of the form 2026-01-31",
                file.display()
            );
        }
        if let Some(licence) = info
            .license
            .as_ref()
            .filter(|l| crate::vocabulary::licence_id(l).is_none())
        {
            anyhow::bail!(
                "{}: license '{licence}' is no known licence id; use an SPDX id, \"other\" or \"unknown\"",
                file.display()
            );
        }
        Ok(info)
    }

    /// (key, question) of everything that was not answered.
    pub fn open_questions(&self) -> Vec<(&'static str, &'static str)> {
        let all: [(&'static str, bool, &'static str); 14] = [
            (
                "description",
                self.description.is_some(),
                "What is in the dataset, in one paragraph?",
            ),
            (
                "license",
                self.license.is_some(),
                "Under which licence is the whole released?",
            ),
            ("creators", !self.creators.is_empty(), "Who made it?"),
            (
                "date_published",
                self.date_published.is_some(),
                "When was it published?",
            ),
            ("citation", self.citation.is_some(), "How should it be cited?"),
            ("homepage", self.homepage.is_some(), "Where does it live?"),
            ("contact", self.contact.is_some(), "Who answers questions?"),
            ("intended_use", self.intended_use.is_some(), "What is it for?"),
            (
                "out_of_scope_use",
                self.out_of_scope_use.is_some(),
                "What must it not be used for?",
            ),
            (
                "biases",
                self.biases.is_some(),
                "Which biases are known (patients, cameras, clinics, publishers)?",
            ),
            (
                "limitations",
                self.limitations.is_some(),
                "Which limitations are known?",
            ),
            (
                "personal_information",
                self.personal_information.is_some(),
                "Can patients be identified from it?",
            ),
            (
                "ethics",
                self.ethics.is_some(),
                "Which consent or ethics approval covers it?",
            ),
            (
                "maintenance",
                self.maintenance.is_some(),
                "Who maintains it, and how is something taken down?",
            ),
        ];
        all.into_iter().filter(|q| !q.1).map(|q| (q.0, q.2)).collect()
    }
}

/// Whether a text is a calendar date YYYY-MM-DD.
pub fn is_date(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let number = |p: &str, len: usize| (p.len() == len).then(|| p.parse::<u32>().ok()).flatten();
    let [year, month, day] = parts[..] else { return false };
    match (number(year, 4), number(month, 2), number(day, 2)) {
        (Some(year), Some(month @ 1..=12), Some(day @ 1..)) => {
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let days = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
            day <= days[month as usize - 1]
        }
        _ => false,
    }
}

/// The date (UTC) of a number of seconds since 1970, by the civil calendar.
pub fn date_of_seconds(seconds: u64) -> String {
    // days to year, month, day: era of 400 years, years start in March (Hinnant, "chrono-compatible low-level date algorithms")
    let days = (seconds / 86_400) as i64 + 719_468;
    let era = days / 146_097;
    let day_of_era = days - era * 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        for (text, good) in [
            ("2024-02-29", true),
            ("2023-02-29", false),
            ("2024-13-01", false),
            ("2024-1-01", false),
            ("yesterday", false),
        ] {
            assert_eq!(is_date(text), good, "{text}");
        }
        assert_eq!(date_of_seconds(0), "1970-01-01");
        assert_eq!(date_of_seconds(951_782_400), "2000-02-29");
        assert_eq!(date_of_seconds(1_735_689_599), "2024-12-31");
    }
}
