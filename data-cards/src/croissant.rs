//! croissant.json: the dataset described in Croissant 1.1 (MLCommons), with the RAI extension.
//!
//! A table of one shard reads from that file, so that its hash is checked on loading; a table of several
//! shards reads from a file set.

use std::path::Path;

use arrow_types::croissant_type;
use dataset::schema::{Table, arrow_schema};
use serde_json::{Map, Value, json};

use crate::dataset_card::{licence, patterns, pretty_name};
use crate::facts::{Facts, FileFacts, TableFacts};
use crate::info::{CardInfo, date_of_seconds};
use crate::vocabulary::licence_url;

/// Version written when nobody gave one.
const FIRST_VERSION: &str = "1.0.0";
/// The version of Croissant that is written.
pub const CONFORMS_TO: &str = "http://mlcommons.org/croissant/1.1";
/// MIME type of Parquet.
pub const PARQUET: &str = "application/x-parquet";

mod arrow_types {
    //! Which Croissant type a column has.

    use dataset::schema::Table;

    /// Croissant data type of a column by its hub description.
    pub fn croissant_type(feature: &serde_json::Value) -> &'static str {
        match (feature["_type"].as_str(), feature["dtype"].as_str()) {
            (Some("Image"), _) => "sc:ImageObject",
            (_, Some("int32" | "int64")) => "cr:Int64",
            (_, Some("float32")) => "cr:Float32",
            (_, Some("float64")) => "cr:Float64",
            (_, Some("bool")) => "sc:Boolean",
            _ => "sc:Text",
        }
    }

    /// What a column holds, in a sentence.
    pub fn description(table: Table, column: &str) -> &'static str {
        match (table, column) {
            (_, "id") => "Identifier made from the content of the row.",
            (_, "image") => "The picture as an encoded file, and its file name.",
            (_, "width") => "Width of the picture in pixels.",
            (_, "height") => "Height of the picture in pixels.",
            (_, "modality") => "CFP (colour fundus photograph), FFA (fundus fluorescein angiogram), OCT or OTHER.",
            (_, "caption_en") => "English caption of the panel.",
            (_, "caption_zh") => "Chinese caption of the panel.",
            (_, "caption_en_origin") => "Where the English caption comes from: ocr, person, translation or findings.",
            (_, "caption_zh_origin") => "Where the Chinese caption comes from: ocr, person, translation or findings.",
            (_, "caption_figure") => "The whole caption of the figure as read.",
            (_, "lang_original") => "Language of the printed caption.",
            (_, "figure_no") => "Number of the figure as printed.",
            (_, "panel") => "Letter of the panel within its figure.",
            (_, "panel_bbox") => "Box of the panel on its page, in pixels; the right and lower ends are exclusive.",
            (_, "source_id") => "The book, corpus or hospital that the row comes from.",
            (_, "source_page") => "File name of the page.",
            (_, "source_page_sha256") => "SHA-256 of the page file.",
            (_, "ocr_confidence") => "Confidence of the text recognition, 0 to 1.",
            (_, "pair_confidence") => "Confidence that picture and caption belong together, 0 to 1.",
            (_, "modality_confidence") => "Confidence of the modality, 0 to 1.",
            (_, "review_status") => "auto, needs-review, corrected or approved.",
            (_, "review_reasons") => "Why a person should look at the row.",
            (_, "quality_flags") => "Remarks about the quality of the picture or text.",
            (_, "split") => "Part of the data that the row belongs to.",
            (_, "split_group") => "Rows of one group (patient, figure) never part.",
            (_, "image_sha256") => "SHA-256 of the encoded picture.",
            (_, "licence") => "Licence of the row as its source states it.",
            (_, "text") => "One utterance.",
            (_, "language") => "Language of the utterance.",
            (_, "keywords") => "Keywords that selected the utterance.",
            (_, "categories") => "Categories of the picture as its set names them.",
            (_, "attributes") => "Attributes of the picture as its set names them.",
            (_, "dataset") => "Name of the labelled set.",
            _ => "A column of the table.",
        }
    }
}

/// The date of publication: as stated, as an earlier croissant.json has it, or the day the newest shard was
/// written (`SOURCE_DATE_EPOCH` instead, when it is set, for repeatable builds).
pub fn date_published(folder: &Path, facts: &Facts, info: &CardInfo) -> String {
    let earlier = || -> Option<String> {
        let text = std::fs::read(folder.join("croissant.json")).ok()?;
        let value: Value = serde_json::from_slice(&text).ok()?;
        Some(value["datePublished"].as_str()?.to_string()).filter(|d| crate::info::is_date(d))
    };
    let epoch = || std::env::var("SOURCE_DATE_EPOCH").ok()?.parse().ok();
    let written = || {
        let time = |f: &FileFacts| {
            std::fs::metadata(folder.join(&f.path))
                .ok()?
                .modified()
                .ok()?
                .duration_since(std::time::UNIX_EPOCH)
                .ok()
        };
        facts
            .tables
            .iter()
            .flat_map(TableFacts::files)
            .filter_map(time)
            .max()
            .map(|d| d.as_secs())
    };
    info.date_published
        .clone()
        .or_else(earlier)
        .unwrap_or_else(|| date_of_seconds(epoch().or_else(written).unwrap_or(0)))
}

/// The whole document.
pub fn document(facts: &Facts, info: &CardInfo, date: &str) -> Value {
    let name = pretty_name(facts, info);
    let id = licence(facts, info);
    let mut root = Map::new();
    root.insert("@context".into(), context());
    root.insert("@type".into(), "sc:Dataset".into());
    root.insert("name".into(), name.clone().into());
    root.insert(
        "description".into(),
        info.description
            .clone()
            .unwrap_or_else(|| {
                format!(
                    "Retinal images and texts: {} rows in {} tables.",
                    facts.rows(),
                    facts.tables.len()
                )
            })
            .into(),
    );
    root.insert("conformsTo".into(), CONFORMS_TO.into());
    root.insert(
        "license".into(),
        licence_url(id).unwrap_or_else(|| id.to_string()).into(),
    );
    root.insert(
        "version".into(),
        info.version.clone().unwrap_or_else(|| FIRST_VERSION.into()).into(),
    );
    root.insert("datePublished".into(), date.into());
    root.insert(
        "citeAs".into(),
        info.citation
            .clone()
            .unwrap_or_else(|| format!("{name}, {date}, content hash {}", facts.content_hash))
            .into(),
    );
    if let Some(url) = &info.homepage {
        root.insert("url".into(), url.clone().into());
    }
    if !info.creators.is_empty() {
        root.insert(
            "creator".into(),
            info.creators
                .iter()
                .map(|c| json!({"@type": "sc:Organization", "name": c}))
                .collect(),
        );
    }
    if !facts.languages.is_empty() {
        root.insert("inLanguage".into(), json!(facts.languages));
    }
    root.insert("keywords".into(), json!(["retina", "ophthalmology", "image-text"]));
    responsible_ai(facts, info, &mut root);
    root.insert(
        "distribution".into(),
        facts.tables.iter().flat_map(distribution).collect(),
    );
    root.insert("recordSet".into(), facts.tables.iter().map(record_set).collect());
    Value::Object(root)
}

/// Keys of the context of the Croissant 1.1 specification that map to one name, with PROV for where captions come from.
const CONTEXT: [(&str, &str); 37] = [
    ("@language", "en"),
    ("@vocab", "https://schema.org/"),
    ("arrayShape", "cr:arrayShape"),
    ("citeAs", "cr:citeAs"),
    ("column", "cr:column"),
    ("conformsTo", "dct:conformsTo"),
    ("containedIn", "cr:containedIn"),
    ("cr", "http://mlcommons.org/croissant/"),
    ("rai", "http://mlcommons.org/croissant/RAI/"),
    ("dct", "http://purl.org/dc/terms/"),
    ("equivalentProperty", "cr:equivalentProperty"),
    ("extract", "cr:extract"),
    ("field", "cr:field"),
    ("fileProperty", "cr:fileProperty"),
    ("fileObject", "cr:fileObject"),
    ("fileSet", "cr:fileSet"),
    ("format", "cr:format"),
    ("includes", "cr:includes"),
    ("isArray", "cr:isArray"),
    ("isLiveDataset", "cr:isLiveDataset"),
    ("jsonPath", "cr:jsonPath"),
    ("key", "cr:key"),
    ("md5", "cr:md5"),
    ("parentField", "cr:parentField"),
    ("path", "cr:path"),
    ("prov", "http://www.w3.org/ns/prov#"),
    ("recordSet", "cr:recordSet"),
    ("references", "cr:references"),
    ("regex", "cr:regex"),
    ("repeated", "cr:repeated"),
    ("replace", "cr:replace"),
    ("samplingRate", "cr:samplingRate"),
    ("sc", "https://schema.org/"),
    ("separator", "cr:separator"),
    ("source", "cr:source"),
    ("subField", "cr:subField"),
    ("transform", "cr:transform"),
];

/// The JSON-LD context.
fn context() -> Value {
    let mut context: Map<String, Value> = CONTEXT
        .iter()
        .map(|(key, name)| (key.to_string(), Value::from(*name)))
        .collect();
    for key in ["data", "examples"] {
        context.insert(key.into(), json!({"@id": format!("cr:{key}"), "@type": "@json"}));
    }
    context.insert("dataType".into(), json!({"@id": "cr:dataType", "@type": "@vocab"}));
    for key in ["description", "name"] {
        context.insert(key.into(), json!({"@container": "@language"}));
    }
    Value::Object(context)
}

/// RAI properties, from the ledger and from what people answered.
fn responsible_ai(facts: &Facts, info: &CardInfo, root: &mut Map<String, Value>) {
    let sources: Vec<String> = facts
        .sources
        .iter()
        .map(|(s, n)| format!("{s} ({n} rows)"))
        .chain(
            facts
                .label_sets
                .iter()
                .map(|(s, f)| format!("labelled set {s} ({} rows)", f.splits.values().sum::<u64>())),
        )
        .collect();
    root.insert(
        "rai:dataCollection".into(),
        format!("Read from: {}.", sources.join(", ")).into(),
    );
    if !facts.ledger.is_empty() {
        let mut lines = Vec::new();
        for (source, kinds) in &facts.ledger {
            for (kind, states) in kinds {
                let states: Vec<String> = states.iter().map(|(s, n)| format!("{n} {s}")).collect();
                lines.push(format!("{source}, {kind}: {}", states.join(", ")));
            }
        }
        root.insert(
            "rai:dataPreprocessingProtocol".into(),
            json!([format!(
                "Every input ends in one state of the ledger. {}.",
                lines.join("; ")
            )]),
        );
    }
    if !facts.reasons.is_empty() {
        let reasons: Vec<String> = facts.reasons.iter().map(|(r, n)| format!("{r} ({n})")).collect();
        root.insert(
            "rai:dataCollectionMissingData".into(),
            format!("Left out: {}.", reasons.join("; ")).into(),
        );
    }
    if !facts.caption_origins.is_empty() {
        let origins: Vec<String> = facts
            .caption_origins
            .iter()
            .map(|(o, n)| format!("{o} ({n})"))
            .collect();
        root.insert(
            "rai:dataAnnotationProtocol".into(),
            json!([format!(
                "Captions by origin: {}. Corrections by people: {}.",
                origins.join(", "),
                facts.edits
            )]),
        );
    }
    if facts.caption_origins.contains_key("ocr") {
        root.insert(
            "rai:machineAnnotationTools".into(),
            json!(["text recognition of printed captions"]),
        );
    }
    let told = [
        ("rai:dataUseCases", &info.intended_use, true),
        ("rai:dataBiases", &info.biases, true),
        ("rai:dataLimitations", &info.limitations, true),
        ("rai:personalSensitiveInformation", &info.personal_information, true),
        ("rai:dataReleaseMaintenancePlan", &info.maintenance, false),
    ];
    for (key, answer, many) in told {
        if let Some(answer) = answer {
            root.insert(key.into(), if many { json!([answer]) } else { answer.clone().into() });
        }
    }
}

/// Number of rows as the description of a file states it.
pub fn rows_sentence(rows: u64) -> String {
    format!("{rows} rows.")
}

fn distribution(table: &TableFacts) -> Vec<Value> {
    let object = |f: &FileFacts| {
        json!({
            "@type": "cr:FileObject",
            "@id": f.path,
            "name": f.path.rsplit('/').next(),
            "description": rows_sentence(f.rows),
            "contentUrl": f.path,
            "contentSize": format!("{} B", f.bytes),
            "encodingFormat": PARQUET,
            "sha256": f.sha256,
        })
    };
    let includes: Vec<String> = table.splits.iter().flat_map(|s| patterns(table, &s.name)).collect();
    let set = json!({
        "@type": "cr:FileSet",
        "@id": format!("{}-files", table.config_name()),
        "name": format!("{} files", table.config_name()),
        "description": format!("All Parquet files of the table {}.", table.config_name()),
        "encodingFormat": PARQUET,
        "includes": if includes.len() == 1 { json!(includes[0]) } else { json!(includes) },
    });
    table.files().map(object).chain([set]).collect()
}

fn record_set(table: &TableFacts) -> Value {
    let name = table.config_name();
    let files: Vec<&FileFacts> = table.files().collect();
    let source = match files[..] {
        [only] => ("fileObject", only.path.clone()),
        _ => ("fileSet", format!("{name}-files")),
    };
    let described = dataset::schema::huggingface_info(
        &arrow_schema(table.table)
            .fields()
            .iter()
            .map(|f| f.as_ref().clone())
            .collect::<Vec<_>>(),
    );
    let features = described["info"]["features"].as_object().cloned().unwrap_or_default();
    let fields: Vec<Value> = features
        .iter()
        .map(|(column, feature)| field(table.table, name, column, feature, (source.0, &source.1)))
        .collect();
    json!({
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "description": format!("Table {name}: {} rows.", table.rows()),
        "key": {"@id": format!("{name}/id")},
        "field": fields,
    })
}

fn field(table: Table, record_set: &str, column: &str, feature: &Value, source: (&str, &str)) -> Value {
    let id = format!("{record_set}/{column}");
    let mut from = json!({"extract": {"column": column}});
    from[source.0] = json!({"@id": source.1});
    let mut field =
        json!({"@type": "cr:Field", "@id": id, "name": column, "description": arrow_types::description(table, column)});
    match feature["_type"].as_str() {
        Some("Image") => {
            from["transform"] = json!({"jsonPath": "bytes"});
            field["dataType"] = croissant_type(feature).into();
        }
        Some("List") => {
            field["dataType"] = croissant_type(&feature["feature"]).into();
            field["isArray"] = true.into();
            field["arrayShape"] = "-1".into();
        }
        Some(_) => field["dataType"] = croissant_type(feature).into(),
        None => {
            // a struct: one sub-field for each of its children
            let children = feature.as_object().cloned().unwrap_or_default();
            let sub = |(child, inner): (&String, &Value)| {
                let mut own = from.clone();
                own["transform"] = json!({"jsonPath": child});
                json!({"@type": "cr:Field", "@id": format!("{id}/{child}"), "name": child, "dataType": croissant_type(inner), "source": own})
            };
            field["subField"] = children.iter().map(sub).collect();
            return field;
        }
    }
    if column.starts_with("caption_") && !column.ends_with("_origin") && column != "caption_figure" {
        // PROV: the column beside it names the activity that made the caption
        field["prov:wasGeneratedBy"] = json!({"@id": format!("{record_set}/{column}_origin")});
    }
    field["source"] = from;
    field
}
