//! Text: WordPiece tokens, masking, label prompts and expert definitions.

pub mod definitions;
pub mod masking;
pub mod prompt;
pub mod vocabulary;
pub mod wordpiece;
