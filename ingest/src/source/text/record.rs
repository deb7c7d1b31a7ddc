//! Texts of one record of a corpus, whatever its fields are called.

use serde_json::{Map, Value};

/// Fields that hold a question or the words of a user, best first.
const QUESTIONS: [&str; 12] = [
    "question",
    "QUESTION",
    "query",
    "prompt",
    "input",
    "instruction",
    "ask",
    "问",
    "问题",
    "title",
    "symptom",
    "src",
];
/// Fields that hold an answer or the words of a text.
const ANSWERS: [&str; 21] = [
    "answer",
    "ANSWER",
    "output",
    "response",
    "completion",
    "target",
    "LONG_ANSWER",
    "long_answer",
    "答",
    "答案",
    "回答",
    "text",
    "content",
    "abstract",
    "body",
    "article",
    "passage",
    "contents",
    "sentence",
    "explanation",
    "tgt",
];
/// Fields that hold passages.
const CONTEXTS: [&str; 5] = ["CONTEXTS", "contexts", "context", "passages", "paragraphs"];

/// The texts of a JSON value that is one record, in reading order.
///
/// Known shapes: alpaca (`instruction`, `input`, `output`), ShareGPT
/// (`conversations` of `from` and `value`), chat (`messages` of `role` and
/// `content`), question and answer in English or Chinese, PubMedQA (`QUESTION`,
/// `CONTEXTS`, `LONG_ANSWER`), plain texts, and strings.
///
/// # Errors
/// The record holds no text field that is known; the message names its fields.
pub fn texts(value: &Value) -> Result<Vec<String>, String> {
    match value {
        Value::String(text) => Ok(vec![text.clone()]),
        Value::Object(fields) => object_texts(fields),
        Value::Array(items) if !items.is_empty() && items.iter().all(Value::is_string) => {
            Ok(items.iter().filter_map(Value::as_str).map(str::to_owned).collect())
        }
        Value::Array(items) if items.iter().all(is_turn) && !items.is_empty() => Ok(turns(items)),
        _ => Err("is no object and no text".to_owned()),
    }
}

fn object_texts(fields: &Map<String, Value>) -> Result<Vec<String>, String> {
    for name in ["conversations", "conversation", "messages", "dialogue", "items"] {
        if let Some(Value::Array(items)) = fields.get(name)
            && items.iter().any(is_turn)
        {
            return Ok(turns(items));
        }
    }
    let field = |name: &str| {
        fields
            .get(name)
            .and_then(Value::as_str)
            .map(str::trim)
            .filter(|t| !t.is_empty())
    };
    let mut out: Vec<String> = Vec::new();
    // An instruction beside an input is the same sentence in every record.
    let skip_instruction = field("input").is_some() && field("output").is_some();
    for name in QUESTIONS {
        if name == "instruction" && skip_instruction {
            continue;
        }
        out.extend(field(name).map(str::to_owned));
    }
    for name in CONTEXTS {
        match fields.get(name) {
            Some(Value::Array(items)) => out.extend(items.iter().filter_map(Value::as_str).map(str::to_owned)),
            Some(Value::Object(inner)) => {
                for name in CONTEXTS {
                    if let Some(Value::Array(items)) = inner.get(name) {
                        out.extend(items.iter().filter_map(Value::as_str).map(str::to_owned));
                    }
                }
            }
            Some(Value::String(text)) => out.push(text.clone()),
            _ => {}
        }
    }
    for name in ANSWERS {
        match fields.get(name) {
            Some(Value::String(text)) if !text.trim().is_empty() => out.push(text.clone()),
            Some(Value::Array(items)) => out.extend(items.iter().filter_map(Value::as_str).map(str::to_owned)),
            _ => {}
        }
    }
    if out.is_empty() {
        let names: Vec<&str> = fields.keys().map(String::as_str).take(8).collect();
        return Err(format!("no text field among: {}", names.join(", ")));
    }
    Ok(out)
}

fn is_turn(value: &Value) -> bool {
    value.get("value").is_some_and(Value::is_string) || value.get("content").is_some_and(Value::is_string)
}

/// What people and assistants say; system prompts are no text of the corpus.
fn turns(items: &[Value]) -> Vec<String> {
    items
        .iter()
        .filter(|turn| {
            let role = turn
                .get("from")
                .or_else(|| turn.get("role"))
                .and_then(Value::as_str)
                .unwrap_or("");
            !role.eq_ignore_ascii_case("system")
        })
        .filter_map(|turn| {
            turn.get("value")
                .or_else(|| turn.get("content"))
                .and_then(Value::as_str)
        })
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn known_shapes_give_their_texts() {
        for (json, want) in [
            (
                r#"{"instruction":"Answer.","input":"What is AMD?","output":"A disease."}"#,
                vec!["What is AMD?", "A disease."],
            ),
            (
                r#"{"instruction":"什么是白内障？","input":"","output":"晶状体混浊。"}"#,
                vec!["什么是白内障？", "晶状体混浊。"],
            ),
            (
                r#"{"conversations":[{"from":"system","value":"s"},{"from":"human","value":"h"},{"from":"gpt","value":"g"}]}"#,
                vec!["h", "g"],
            ),
            (
                r#"{"messages":[{"role":"user","content":"u"},{"role":"assistant","content":"a"}]}"#,
                vec!["u", "a"],
            ),
            (r#"{"问":"q","答":"a"}"#, vec!["q", "a"]),
            (
                r#"{"QUESTION":"q","CONTEXTS":["c1","c2"],"LONG_ANSWER":"l","final_decision":"yes"}"#,
                vec!["q", "c1", "c2", "l"],
            ),
            (r#"{"input":"i","target":"t","type":"x"}"#, vec!["i", "t"]),
            (r#"{"text":"t"}"#, vec!["t"]),
            (r#""plain""#, vec!["plain"]),
        ] {
            assert_eq!(texts(&serde_json::from_str(json).unwrap()).unwrap(), want, "{json}");
        }
        let error =
            texts(&serde_json::from_str(r#"{"sample_id":"1","answer":[{"entity":"e"}]}"#).unwrap()).unwrap_err();
        assert!(error.contains("sample_id"), "{error}");
    }
}
