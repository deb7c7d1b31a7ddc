//! What lies where on a page: figures, panels, letters, captions.
//!
//! [`sheet`] straightens the page, [`blocks`] finds the pictures on it, [`text`]
//! the print, [`captions`] reads it (two languages joined by `bilingual`), [`figures`] joins both, [`partition`] cuts
//! the pictures into panels along [`cuts`], [`letters`] and [`labelling`] name
//! them. [`analyse`] is the road through all of it.

pub mod analyse;
mod bilingual;
pub mod blocks;
pub mod captions;
pub mod components;
pub mod cuts;
pub mod figures;
pub mod geometry;
pub mod labelling;
pub mod letters;
pub mod partition;
pub mod sheet;
pub mod text;
