//! The Arrow schema of the three tables, with its version and the Hugging Face
//! feature description. `../../docs/data-format.md` explains the rules.

use arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Version of the schema, under [`VERSION_KEY`]. Raised when a column changes
/// its meaning or type; new columns alone do not raise it.
pub const SCHEMA_VERSION: &str = "1";
/// Metadata key of [`SCHEMA_VERSION`].
pub const VERSION_KEY: &str = "mm_retinal_schema_version";
/// Metadata key under which Hugging Face `datasets` looks for features.
pub const HUGGINGFACE_KEY: &str = "huggingface";

/// The three tables of a dataset folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// Image-text pairs, in `data/`.
    Pairs,
    /// Utterances, in `text/`.
    Text,
    /// Labelled images, in `labels/`.
    Labels,
}

impl Table {
    /// All tables.
    pub const ALL: [Self; 3] = [Self::Pairs, Self::Text, Self::Labels];

    /// The folder that holds the table's files.
    #[must_use]
    pub fn folder(self) -> &'static str {
        match self {
            Self::Pairs => "data",
            Self::Text => "text",
            Self::Labels => "labels",
        }
    }

    /// The table's name in SQL and in the ledger.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Pairs => "pairs",
            Self::Text => "text",
            Self::Labels => "labels",
        }
    }
}

fn string(name: &str) -> Field {
    Field::new(name, DataType::Utf8, true)
}

fn int32(name: &str) -> Field {
    Field::new(name, DataType::Int32, true)
}

fn float32(name: &str) -> Field {
    Field::new(name, DataType::Float32, true)
}

fn strings(name: &str) -> Field {
    Field::new(name, DataType::List(Arc::new(string("element"))), true)
}

/// `struct<bytes: binary, path: string>` in this order, everything nullable:
/// any other shape loads in Hugging Face `datasets` as a plain dict, silently.
pub(crate) fn image_fields() -> Fields {
    Fields::from(vec![Field::new("bytes", DataType::Binary, true), string("path")])
}

pub(crate) fn bbox_fields() -> Fields {
    Fields::from(vec![int32("x0"), int32("y0"), int32("x1"), int32("y1")])
}

/// The columns of a table in their order.
pub(crate) fn columns(table: Table) -> Vec<Field> {
    let image = Field::new("image", DataType::Struct(image_fields()), true);
    let bbox = Field::new("panel_bbox", DataType::Struct(bbox_fields()), true);
    match table {
        Table::Pairs => vec![
            string("id"),
            image,
            int32("width"),
            int32("height"),
            string("modality"),
            string("caption_en"),
            string("caption_zh"),
            string("caption_en_origin"),
            string("caption_zh_origin"),
            string("caption_figure"),
            string("lang_original"),
            string("figure_no"),
            string("panel"),
            bbox,
            string("source_id"),
            string("source_page"),
            string("source_page_sha256"),
            float32("ocr_confidence"),
            float32("pair_confidence"),
            float32("modality_confidence"),
            string("review_status"),
            strings("review_reasons"),
            strings("quality_flags"),
            string("split"),
            string("split_group"),
            string("image_sha256"),
            string("licence"),
        ],
        Table::Text => vec![
            string("id"),
            string("text"),
            string("language"),
            string("source_id"),
            string("licence"),
            strings("keywords"),
        ],
        Table::Labels => vec![
            string("id"),
            image,
            int32("width"),
            int32("height"),
            string("modality"),
            strings("categories"),
            strings("attributes"),
            string("dataset"),
            string("split"),
            string("split_group"),
            string("image_sha256"),
            string("licence"),
        ],
    }
}

/// The Arrow schema of a table, metadata included.
#[must_use]
pub fn arrow_schema(table: Table) -> SchemaRef {
    let fields = columns(table);
    let metadata = BTreeMap::from([
        (HUGGINGFACE_KEY.to_owned(), huggingface_info(&fields).to_string()),
        (VERSION_KEY.to_owned(), SCHEMA_VERSION.to_owned()),
    ]);
    Arc::new(Schema::new_with_metadata(fields, metadata))
}

/// The schema of the metadata-only copy of `data/`: `image.path` as
/// `image_path`, no image bytes.
#[must_use]
pub fn metadata_schema() -> SchemaRef {
    let fields: Vec<Field> = columns(Table::Pairs)
        .into_iter()
        .map(|field| {
            if field.name() == "image" {
                string("image_path")
            } else {
                field
            }
        })
        .collect();
    let metadata = BTreeMap::from([(VERSION_KEY.to_owned(), SCHEMA_VERSION.to_owned())]);
    Arc::new(Schema::new_with_metadata(fields, metadata))
}

/// `{"info":{"features":{...}}}` as Hugging Face `datasets` writes it; column
/// order is the file's.
#[must_use]
pub fn huggingface_info(fields: &[Field]) -> Value {
    let features: serde_json::Map<String, Value> = fields
        .iter()
        .map(|field| (field.name().clone(), feature(field)))
        .collect();
    json!({ "info": { "features": features } })
}

fn feature(field: &Field) -> Value {
    let value = |dtype: &str| json!({ "dtype": dtype, "_type": "Value" });
    match field.data_type() {
        DataType::Struct(_) if field.name() == "image" => json!({ "_type": "Image" }),
        DataType::Struct(children) => children
            .iter()
            .map(|child| (child.name().clone(), feature(child)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        DataType::List(item) => json!({ "feature": feature(item), "_type": "List" }),
        DataType::Int32 => value("int32"),
        DataType::Float32 => value("float32"),
        DataType::Binary => value("binary"),
        _ => value("string"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn all_nullable(field: &Field) -> bool {
        field.is_nullable()
            && match field.data_type() {
                DataType::Struct(children) => children.iter().all(|child| all_nullable(child)),
                DataType::List(item) => all_nullable(item),
                _ => true,
            }
    }

    #[test]
    fn the_image_column_has_the_one_shape_that_loads() {
        for table in [Table::Pairs, Table::Labels] {
            let schema = arrow_schema(table);
            let DataType::Struct(children) = schema.field_with_name("image").unwrap().data_type() else {
                panic!("image is no struct");
            };
            assert_eq!(children[0].name(), "bytes");
            assert_eq!(children[0].data_type(), &DataType::Binary);
            assert_eq!(children[1].name(), "path");
            assert_eq!(children[1].data_type(), &DataType::Utf8);
        }
    }

    #[test]
    fn everything_is_nullable_and_described() {
        for table in Table::ALL {
            let schema = arrow_schema(table);
            assert!(schema.fields().iter().all(|field| all_nullable(field)));
            let info: Value = serde_json::from_str(&schema.metadata()[HUGGINGFACE_KEY]).unwrap();
            let described: Vec<_> = info["info"]["features"].as_object().unwrap().keys().collect();
            let columns: Vec<_> = schema.fields().iter().map(|field| field.name()).collect();
            assert_eq!(described, columns);
        }
    }
}
