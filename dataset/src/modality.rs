//! The imaging modalities of the dataset.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// How a picture was taken. Written as `CFP`, `FFA`, `OCT` or `OTHER`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Modality {
    /// Colour fundus photograph.
    #[serde(rename = "CFP")]
    Cfp,
    /// Fundus fluorescein angiography.
    #[serde(rename = "FFA")]
    Ffa,
    /// Optical coherence tomography.
    #[serde(rename = "OCT")]
    Oct,
    /// Anything else: ultrasound, visual fields, drawings, indocyanine green.
    #[serde(rename = "OTHER")]
    Other,
}

impl Modality {
    /// All modalities in their fixed order.
    pub const ALL: [Self; 4] = [Self::Cfp, Self::Ffa, Self::Oct, Self::Other];

    /// The name used in files: `CFP`, `FFA`, `OCT`, `OTHER`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cfp => "CFP",
            Self::Ffa => "FFA",
            Self::Oct => "OCT",
            Self::Other => "OTHER",
        }
    }
}

impl fmt::Display for Modality {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

/// A word that names no modality.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no modality; use CFP, FFA, OCT or OTHER")]
pub struct UnknownModality(pub String);

impl FromStr for Modality {
    type Err = UnknownModality;

    /// Case does not matter: `cfp` is accepted.
    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|modality| modality.as_str().eq_ignore_ascii_case(word.trim()))
            .ok_or_else(|| UnknownModality(word.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_go_there_and_back() {
        for modality in Modality::ALL {
            assert_eq!(modality.to_string().parse::<Modality>().unwrap(), modality);
            let json = serde_json::to_string(&modality).unwrap();
            assert_eq!(json, format!("\"{modality}\""));
            assert_eq!(serde_json::from_str::<Modality>(&json).unwrap(), modality);
        }
        assert_eq!("cfp".parse::<Modality>().unwrap(), Modality::Cfp);
        let error = "CT".parse::<Modality>().unwrap_err().to_string();
        assert!(error.contains("`CT`") && error.contains("OCT"));
    }
}
