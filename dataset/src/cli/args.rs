//! Arguments of the `dataset` program.

use crate::ops::export::Form;
use crate::ops::split::GroupBy;
use crate::query::output::Format;
use clap::{Parser, Subcommand};
use std::path::PathBuf;

#[derive(Parser)]
#[command(
    name = "dataset",
    version,
    about = "Look into, check and work on a dataset folder",
    after_help = "Exit codes: 0 done; 1 done, and something was found wrong or rejected; 2 could not start or go on.\n\
                  JSON goes to stdout, everything else to stderr."
)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Subcommand)]
pub(super) enum Command {
    /// Check files, schema, pictures, ids, splits, ledger and edits
    #[command(
        after_help = "Examples:\n  dataset validate build/dataset\n  dataset validate build/dataset --skip-pictures | jq .problems\n\n\
                      Findings go to stderr, a JSON summary to stdout. Exit code 1 when there are problems."
    )]
    Validate {
        /// The dataset folder
        dataset: PathBuf,
        /// Leave out reading and decoding every picture
        #[arg(long)]
        skip_pictures: bool,
    },
    /// Run SQL over pairs, text, labels, ledger and edits
    #[command(after_help = "Examples:\n  \
        dataset query build/dataset \"SELECT modality, COUNT(*) AS n FROM pairs GROUP BY modality\"\n  \
        dataset query build/dataset \"SELECT id, caption_en FROM pairs WHERE review_status = 'needs-review'\" --out todo.csv\n  \
        dataset query build/dataset \"SELECT state, reason, COUNT(*) AS n FROM ledger GROUP BY state, reason ORDER BY n DESC\"\n  \
        dataset query build/dataset \"SELECT id, image FROM pairs LIMIT 5\" --format json\n\n\
        Pictures are read only when the statement names the column `image` or `image_path`;\n`SELECT *` gives all other columns.")]
    Query {
        /// The dataset folder
        dataset: PathBuf,
        /// One SQL statement
        sql: String,
        /// Format; by default a table, or what the name of --out says
        #[arg(long, value_enum)]
        format: Option<Format>,
        /// Write to this file instead of stdout
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Rows of the table shown on stdout; 0 for all
        #[arg(long, default_value_t = 40)]
        rows: usize,
        /// Say on stderr what the query cost: time, memory, bytes read
        #[arg(long)]
        cost: bool,
    },
    /// Counts, caption lengths, vocabulary, frequent terms: JSON, charts, one HTML page
    #[command(after_help = "Examples:\n  \
        dataset stats build/dataset --out build/stats\n  \
        dataset stats build/dataset --out build/stats --compare MM-Retinal-V1=mm_retinal_v1.csv\n  \
        dataset stats --captions mm_retinal_v1.csv --out build/v1\n\n\
        Writes statistics.json, *.svg and index.html, which holds all pictures and can be sent alone.\n\
        A CSV needs a column `caption` (or `caption_en`, `caption_zh`) and may have `modality`.")]
    Stats {
        /// The dataset folder
        #[arg(required_unless_present = "captions", conflicts_with = "captions")]
        dataset: Option<PathBuf>,
        /// Statistics of the captions in a CSV file instead of a dataset folder
        #[arg(long, value_name = "FILE.csv")]
        captions: Option<PathBuf>,
        /// Folder for the results
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
        /// Another set's captions for the comparison of vocabularies
        #[arg(long, value_name = "NAME=FILE.csv")]
        compare: Vec<String>,
        /// Heading of the page
        #[arg(long, default_value = "Dataset statistics")]
        title: String,
    },
    /// Tell where a row came from, step by step
    #[command(
        after_help = "Examples:\n  dataset explain build/dataset pair-0123456789abcdef0123\n  dataset explain build/dataset pair-0123456789abcdef0123 --json"
    )]
    Explain {
        /// The dataset folder
        dataset: PathBuf,
        /// The id of a pair, utterance or labelled image
        id: String,
        /// One JSON object instead of text
        #[arg(long)]
        json: bool,
    },
    /// Correct one field of a pair: a line in edits.jsonl, applied at once
    #[command(after_help = "Examples:\n  \
        dataset edit build/dataset pair-0123456789abcdef0123 --set caption_en=\"Soft drusen\" --editor ann\n  \
        dataset edit build/dataset pair-0123456789abcdef0123 --set review_status=approved --editor ann\n  \
        dataset edit build/dataset --apply\n\n\
        `--set FIELD=` empties a field. Without ids, `--apply` applies what edits.jsonl holds.")]
    Edit {
        /// The dataset folder
        dataset: PathBuf,
        /// The pair
        #[arg(required_unless_present = "apply")]
        id: Option<String>,
        /// Field and new value; may be repeated
        #[arg(long, value_name = "FIELD=VALUE", required_unless_present = "apply")]
        set: Vec<String>,
        /// Who corrects
        #[arg(long, default_value = "")]
        editor: String,
        /// Why
        #[arg(long)]
        reason: Option<String>,
        /// Only apply the edits that are there
        #[arg(long, conflicts_with_all = ["id", "set"])]
        apply: bool,
    },
    /// Give rows to splits by group: rows of one figure or patient stay together
    #[command(
        after_help = "Examples:\n  dataset split build/dataset --share test=0.2 --share val=0.1 --seed 7\n  \
        dataset split build/dataset --share test=0.25 --by source\n  dataset split build/dataset --table labels --share test=0.2"
    )]
    Split {
        /// The dataset folder
        dataset: PathBuf,
        /// A split and its share of the rows; `train` takes the rest
        #[arg(long, value_name = "NAME=SHARE", required = true)]
        share: Vec<String>,
        /// What stays together
        #[arg(long, value_enum, default_value = "group")]
        by: GroupBy,
        /// Another seed gives another split
        #[arg(long, default_value_t = 0)]
        seed: u64,
        /// Which table
        #[arg(long, value_enum, default_value = "pairs")]
        table: PictureTable,
    },
    /// Find pictures that occur twice as pairs or labelled images, byte for byte or to the eye
    #[command(
        after_help = "Examples:\n  dataset dedup build/dataset\n  dataset dedup build/dataset --similar 4\n  \
        dataset dedup build/dataset --against build/test-set --similar 4\n  dataset dedup build/dataset --remove\n\n\
        One JSON object a line for each twin. `--remove` takes away exact twins among the pairs with the same\n\
        captions only; the ledger then calls them `duplicate`. Exit code 1 when twins stay."
    )]
    Dedup {
        /// The dataset folder
        dataset: PathBuf,
        /// Look for pictures that this other folder has as well
        #[arg(long, value_name = "FOLDER", conflicts_with = "remove")]
        against: Option<PathBuf>,
        /// Also similar pictures: largest distance of 64-bit difference hashes (4 is strict, 10 loose)
        #[arg(long, value_name = "BITS", value_parser = clap::value_parser!(u32).range(0..=20))]
        similar: Option<u32>,
        /// Remove the second of exact twins with the same captions
        #[arg(long)]
        remove: bool,
    },
    /// Add the rows, ledgers and edits of folders to one folder
    #[command(after_help = "Example:\n  dataset merge build/books build/hospital --out build/dataset")]
    Merge {
        /// Folders to add
        #[arg(required = true)]
        inputs: Vec<PathBuf>,
        /// Folder that takes them; may exist
        #[arg(long, value_name = "FOLDER")]
        out: PathBuf,
    },
    /// Compare two builds row by row
    #[command(after_help = "Example:\n  dataset diff build/old build/new | head\n\n\
        One JSON object a line for each row that differs. Exit code 1 when there are any.")]
    Diff {
        /// The earlier build
        old: PathBuf,
        /// The later build
        new: PathBuf,
    },
    /// Take rows down by id, source or licence; the ledger keeps the reason
    #[command(
        after_help = "Examples:\n  dataset takedown build/dataset --source book3 --reason \"rights holder's request\"\n  \
        dataset takedown build/dataset --id pair-0123456789abcdef0123 --reason \"shows a name\""
    )]
    Takedown {
        /// The dataset folder
        dataset: PathBuf,
        /// A row's id; may be repeated
        #[arg(long)]
        id: Vec<String>,
        /// A source, corpus or labelled set; may be repeated
        #[arg(long)]
        source: Vec<String>,
        /// A licence as the rows spell it; may be repeated
        #[arg(long)]
        licence: Vec<String>,
        /// Why; goes into the ledger
        #[arg(long)]
        reason: String,
    },
    /// Write pictures and lists for other tools
    #[command(
        after_help = "Examples:\n  dataset export build/dataset --form webdataset --out build/wds\n  \
        dataset export build/dataset --form keepfit --out build/keepfit"
    )]
    Export {
        /// The dataset folder
        dataset: PathBuf,
        /// The form
        #[arg(long, value_enum)]
        form: Form,
        /// A new folder
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// Measure building, reading, writing and random access on a generated folder
    #[command(after_help = "Examples:\n  \
        dataset bench make --rows 1000000 --out /tmp/million\n  \
        dataset bench read /tmp/million\n  \
        dataset bench random /tmp/million --rows 1000\n  \
        python dataset/bench/compare.py --folder /tmp/million\n\n\
        Each prints one JSON object with seconds, processor seconds, bytes and peak memory. `compare.py` runs\n\
        them side by side with pyarrow, Hugging Face datasets, pandas and DuckDB, and prints the ratios.")]
    Bench {
        /// What to measure
        #[command(subcommand)]
        task: crate::bench::Task,
    },
}

/// Tables with pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum PictureTable {
    /// Image-text pairs.
    Pairs,
    /// Labelled images.
    Labels,
}
