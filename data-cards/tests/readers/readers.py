"""Opens a dataset folder with each Python reader, without any glue, and compares all columns of all rows.

python readers.py FOLDER EXPECTED READER

EXPECTED holds pairs.jsonl, labels.jsonl and text.jsonl: the rows as the Rust writer had them, image bytes left out.
Prints one line for each table; any difference ends with an exception.
"""

import hashlib
import json
import math
import sys
from pathlib import Path

FOLDER, EXPECTED = Path(sys.argv[1]), Path(sys.argv[2])
PARTS = {"pairs": "data", "labels": "labels", "text": "text"}


def files(table):
    found = sorted(str(path) for path in (FOLDER / PARTS[table]).glob("*.parquet"))
    assert found, f"no files of {table}"
    return found


def plain(value):
    """The value as JSON has it: lists for arrays, None for missing."""
    if value is None:
        return None
    if hasattr(value, "asDict"):
        value = value.asDict()
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, float) and math.isnan(value):
        return None
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    return value


def same(expected, found):
    if isinstance(expected, float) and isinstance(found, (int, float)):
        return abs(expected - found) < 1e-6
    if isinstance(expected, dict) and isinstance(found, dict):
        return expected.keys() == found.keys() and all(same(expected[key], found[key]) for key in expected)
    return type(expected) is type(found) and expected == found


def check(table, rows):
    """`rows`: dicts with all columns; image is a dict of bytes and path."""
    lines = (EXPECTED / f"{table}.jsonl").read_text().splitlines()
    expected = {row["id"]: row for row in map(json.loads, lines)}
    rows = [{key: plain(value) for key, value in row.items()} for row in rows]
    assert len(rows) == len(expected), f"{table}: {len(rows)} rows, {len(expected)} expected"
    for row in rows:
        want = expected.pop(row["id"])
        assert list(row) == list(want), f"{table}: columns {list(row)}, expected {list(want)}"
        for column, value in row.items():
            if column == "image":
                digest = hashlib.sha256(value["bytes"]).hexdigest()
                assert digest == row["image_sha256"], f"{row['id']}: other image bytes"
                assert value["path"] == want["image"]["path"], f"{row['id']}: {value['path']}"
            else:
                assert same(want[column], value), f"{row['id']} {column}: {value!r}, expected {want[column]!r}"
    assert not expected, f"{table}: rows are missing: {list(expected)[:3]}"
    print(f"{table}: {len(rows)} rows", flush=True)


def read_datasets():
    import datasets

    for table in PARTS:
        splits = datasets.load_dataset(str(FOLDER), name=table)
        rows = []
        for split, part in splits.items():
            if table != "text":
                assert isinstance(part.features["image"], datasets.Image), part.features["image"]
                assert part.features["width"] == datasets.Value("int32"), part.features["width"]
                for row in part:
                    # Decoded pictures, without being asked.
                    assert row["image"].size == (row["width"], row["height"]), row["id"]
                    row["image"].convert("RGB").load()
                part = part.cast_column("image", datasets.Image(decode=False))
            if table == "pairs":
                assert set(part["split"]) == {split}
            rows += list(part)
        check(table, rows)


def read_polars():
    import polars

    for table in PARTS:
        check(table, polars.read_parquet(files(table)).to_dicts())
    counts = polars.scan_parquet(files("pairs")).group_by("modality").len().collect()
    assert counts["len"].sum() == polars.read_parquet(FOLDER / "pairs-metadata.parquet").height


def read_duckdb():
    import duckdb

    for table in PARTS:
        found = duckdb.read_parquet(files(table))
        names = found.columns
        check(table, [dict(zip(names, row)) for row in found.fetchall()])


def read_pandas():
    import pandas

    for table in PARTS:
        frames = [pandas.read_parquet(path) for path in files(table)]
        frame = pandas.concat(frames).astype(object)
        check(table, frame.to_dict("records"))


def read_pyarrow():
    import pyarrow.parquet

    for table in PARTS:
        # Batch by batch as well: a page without rows shows only here.
        batches = [batch for path in files(table) for batch in pyarrow.parquet.ParquetFile(path).iter_batches()]
        check(table, [row for batch in batches for row in batch.to_pylist()])


def read_spark():
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false")
    spark = builder.config("spark.driver.bindAddress", "127.0.0.1").config("spark.driver.host", "127.0.0.1").getOrCreate()
    spark.sparkContext.setLogLevel("ERROR")
    for table in PARTS:
        frame = spark.read.parquet(*files(table))
        check(table, [row.asDict(recursive=True) for row in frame.collect()])
    spark.stop()


def read_mlcroissant():
    import mlcroissant

    dataset = mlcroissant.Dataset(jsonld=str(FOLDER / "croissant.json"))
    issues = dataset.metadata.ctx.issues
    assert not issues.errors and not issues.warnings, issues.report()
    for table in PARTS:
        rows = list(dataset.records(table))
        expected = len((EXPECTED / f"{table}.jsonl").read_text().splitlines())
        assert len(rows) == expected, f"{table}: {len(rows)} rows, {expected} expected"
        if table != "text":
            row = rows[0]
            assert row[f"{table}/image"].size == (row[f"{table}/width"], row[f"{table}/height"]), row
        print(f"{table}: {len(rows)} rows", flush=True)


globals()[f"read_{sys.argv[3]}"]()
