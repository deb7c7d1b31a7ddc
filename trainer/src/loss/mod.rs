//! Loss terms: functions of tensors, without models or files.

pub mod contrastive;
pub mod ibq;
pub mod knowledge;
pub mod mlm;
