"""The statistics of `dataset stats`, computed independently with pandas.

    python pandas_stats.py captions CAPTIONS.csv     a list with the columns modality and caption (English)
    python pandas_stats.py compare CAPTIONS.csv STATISTICS.json

`compare` ends with an error that lists every number in which the two differ.
"""

import json
import re
import sys
from collections import Counter
from pathlib import Path

import pandas as pd

BIN = 25
OUTER = re.compile(r"^[\W_]+|[\W_]+$")


def words(text):
    stripped = (OUTER.sub("", piece) for piece in text.split())
    return [word.lower() for word in stripped if word]


def of_captions(captions):
    """Numbers of one group of English captions."""
    lists = captions.dropna().map(words)
    lists = lists[lists.map(len) > 0]
    lengths, unique = lists.map(len), lists.map(lambda found: len(set(found)))
    counts = Counter()
    lists.map(counts.update)
    bins = ((lengths - 1) // BIN).value_counts()
    return {
        "captions": len(lists),
        "words": int(lengths.sum()),
        "mean_words": round(lengths.mean(), 4),
        "longest": int(lengths.max()),
        "vocabulary": len(counts),
        "lexical_diversity": round(unique.mean(), 4),
        "lexical_diversity_ratio": round(len(counts) / lengths.sum(), 4),
        "caption_ratio": round((unique / lengths).mean(), 4),
        "length_words": {
            f"{at * BIN + 1}-{(at + 1) * BIN}": int(bins.get(at, 0)) for at in range(int(bins.index.max()) + 1)
        },
    }


def of_frame(frame):
    groups = {"all": of_captions(frame["caption"])}
    groups["all"]["pairs"] = len(frame)
    for modality, part in frame.groupby("modality"):
        groups[modality] = {**of_captions(part["caption"]), "pairs": len(part)}
    return groups


def of_folder(folder):
    """Of a dataset folder; only the columns that are needed are read."""
    paths = sorted(Path(folder).glob("data/*.parquet"))
    columns = ["modality", "caption_en", "split_group", "source_id", "split", "review_status"]
    frame = pd.concat([pd.read_parquet(path, columns=columns) for path in paths])
    found = of_frame(frame.rename(columns={"caption_en": "caption"}))
    found["all"]["groups"] = int(frame["split_group"].nunique())
    for column in ["source_id", "split", "review_status"]:
        found["all"][column] = frame[column].value_counts().to_dict()
    return found


def compare(found, statistics):
    ours = {group["modality"]: group for group in statistics["captions"] if group["language"] == "en"}
    different = []
    for modality, numbers in found.items():
        for name, value in numbers.items():
            if name == "pairs":
                other = statistics["pairs"][modality]["pairs"]
            elif name == "length_words":
                other = {part["range"]: part["captions"] for part in ours[modality][name]}
            else:
                other = ours[modality][name]
            # The fourth digit may round the other way.
            near = isinstance(value, float) and abs(value - other) < 2e-4
            if value != other and not near:
                different.append(f"{modality} {name}: pandas {value}, dataset {other}")
    compared = sum(len(numbers) for numbers in found.values())
    return compared, different


if __name__ == "__main__":
    task, file, *rest = sys.argv[1:]
    found = of_frame(pd.read_csv(file))
    if task == "captions":
        print(json.dumps(found, indent=1))
    else:
        compared, different = compare(found, json.loads(Path(rest[0]).read_text()))
        print(json.dumps({"compared": compared, "different": different}))
        sys.exit(1 if different else 0)
