"""An analyst's first steps in a dataset folder, in Python: python analyst.py DATASET

pip install polars duckdb pandas pyarrow datasets pillow; each part works without the others.
"""

import sys
from pathlib import Path

folder = Path(sys.argv[1])

# polars: lazy, image bytes are read only where they are named.
import polars as pl

pairs = pl.scan_parquet(folder / "data" / "*.parquet")
print(pairs.group_by("modality").agg(pl.len(), pl.col("pair_confidence").mean()).sort("modality").collect())

# DuckDB: SQL on the copy without images, and on the ledger.
import duckdb

metadata = str(folder / "pairs-metadata.parquet")
print(duckdb.sql(f"SELECT lang_original, count(*) AS pairs FROM '{metadata}' GROUP BY ALL ORDER BY ALL"))
ledger = str(folder / "ledger.jsonl")
print(duckdb.sql(f"SELECT kind, state, count(*) AS inputs FROM read_json('{ledger}') GROUP BY ALL ORDER BY ALL"))

# pandas: the columns that are wanted.
import pandas as pd

frame = pd.read_parquet(metadata, columns=["id", "caption_en", "review_status"])
print(frame["caption_en"].dropna().str.split().str.len().describe())

# Hugging Face datasets: decoded pictures. `name` is a table of the card: pairs, text or labels.
from datasets import load_dataset

train = load_dataset(str(folder), name="pairs", split="train")
row = train[0]
print(row["id"], row["image"].size, row["caption_en"] or row["caption_zh"])
