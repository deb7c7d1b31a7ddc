"""Compares the dataset program with Python libraries, side by side in one run, and prints a Markdown table.

    cargo build --release -p dataset
    python -m venv venv && venv/bin/pip install -r dataset/bench/requirements.txt
    target/release/dataset bench make --rows 100000 --out /tmp/small
    target/release/dataset bench make --rows 1000000 --out /tmp/million > /tmp/million.json
    target/release/dataset bench make --rows 96 --pictures photographs --out /tmp/photographs
    taskset -c 0 venv/bin/python dataset/bench/compare.py --small /tmp/small --million /tmp/million \
        --made /tmp/million.json --photographs /tmp/photographs --out docs/dataset-performance.md

`--part` runs some parts only; results of the others are kept in `compare-results.json`. The part `batches` needs
`target/release/trainer`, and torch and torchvision (`--torch-python` names a Python that has them).

Each measurement is repeated in turns (theirs, ours, theirs, ours, ...) and the best of each is kept, once by the clock
and once by processor time: on a busy machine only the second is steady. A ratio above 1 means that `dataset` is faster.
"""

import argparse
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve()
QUERIES = [
    "SELECT modality, COUNT(*) AS n, AVG(pair_confidence) AS mean FROM pairs GROUP BY modality",
    "SELECT source_id, COUNT(*) AS n FROM pairs WHERE modality = 'FFA' AND ocr_confidence > 0.9 GROUP BY source_id "
    "ORDER BY n DESC LIMIT 10",
    "SELECT COUNT(*) AS n FROM pairs WHERE caption_en LIKE '%macular edema%'",
]
FEW = ["id", "modality", "image", "caption_en", "caption_zh"]


def shards(folder):
    return sorted(str(path) for path in Path(folder).glob("data/*.parquet"))


class Timer:
    def __enter__(self):
        self.clock, self.cpu = time.perf_counter(), time.process_time()
        return self

    def __exit__(self, *_):
        self.clock = time.perf_counter() - self.clock
        self.cpu = time.process_time() - self.cpu


# Their side: each function prints {"seconds", "cpu_seconds"} and runs in a process of its own.


def their_read(folder):
    import pyarrow.parquet as pq

    rows = 0
    with Timer() as timer:
        for path in shards(folder):
            for batch in pq.ParquetFile(path).iter_batches():
                rows += batch.num_rows
    return timer, rows


def their_write(folder, rows):
    import pyarrow.parquet as pq

    rows = int(rows)
    file = pq.ParquetFile(shards(folder)[0])
    # Row groups hold 100 rows.
    table = file.read_row_groups(range(min(file.num_row_groups, rows // 100)))
    leaves = [file.schema.column(at).path for at in range(len(file.schema))]
    texts = ["caption_en", "caption_zh", "caption_figure"]
    others = [leaf for leaf in leaves if leaf != "image.bytes"]
    with tempfile.TemporaryDirectory(dir=Path(folder).parent) as out:
        with Timer() as timer:
            pq.write_table(
                table,
                f"{out}/one.parquet",
                row_group_size=100,
                compression={leaf: "zstd" if leaf in texts else "none" for leaf in leaves},
                compression_level={leaf: 3 for leaf in texts},
                use_dictionary=others,
                write_statistics=others,
                write_page_index=True,
                bloom_filter_options={name: {"ndv": 100, "fpp": 1e-4} for name in ["id", "image_sha256", "source_id"]},
            )
    return timer, table.num_rows


def their_random(folder, rows, columns):
    import random

    import datasets

    found = datasets.load_dataset("parquet", data_files=shards(folder), split="train")
    if columns == "few":
        found = found.select_columns(FEW)
    chooser = random.Random(1)
    places = [chooser.randrange(len(found)) for _ in range(int(rows))]
    found[0]["image"].convert("RGB").tobytes()
    with Timer() as timer:
        for place in places:
            found[place]["image"].convert("RGB").tobytes()
    return timer, len(places)


def their_query(folder, number):
    import duckdb

    sql = QUERIES[int(number)].replace("FROM pairs", f"FROM '{folder}/pairs-metadata.parquet'")
    connection = duckdb.connect()
    with Timer() as timer:
        rows = connection.execute(sql).fetchall()
    return timer, len(rows)


def their_stats(folder):
    import pandas_stats

    with Timer() as timer:
        found = pandas_stats.of_folder(folder)
    return timer, found["all"]["pairs"]


def their_batches(folder, side, way, epochs="0"):
    """Batches of 16 x 3 x side x side in [0, 1], the longer side resized to `side`, zeros right and below.

    One pass in file order, or epochs in random order over encoded pictures that are in memory after the first reading.
    """
    import io
    import random

    import pyarrow.parquet as pq
    import torch
    from PIL import Image
    from torchvision.io import ImageReadMode, decode_jpeg
    from torchvision.transforms.v2 import functional as transform

    torch.set_num_threads(1)
    side = int(side)

    def fitted(width, height):
        return [max(1, int(length * side / max(width, height))) for length in (height, width)]

    def prepared(picture):
        if way == "pil":
            picture = Image.open(io.BytesIO(picture)).convert("RGB")
            picture = transform.resize(picture, fitted(*picture.size), antialias=True)
            picture = transform.pil_to_tensor(picture)
        else:
            picture = decode_jpeg(torch.frombuffer(bytearray(picture), dtype=torch.uint8), mode=ImageReadMode.RGB)
            picture = transform.resize(picture, fitted(picture.shape[2], picture.shape[1]), antialias=True)
        picture = transform.to_dtype(picture, torch.float32, scale=True)
        return torch.nn.functional.pad(picture, (0, side - picture.shape[2], 0, side - picture.shape[1]))

    def encoded():
        for path in shards(folder):
            for table in pq.ParquetFile(path).iter_batches(64, columns=["image"]):
                for row in table.column("image").to_pylist():
                    yield row["bytes"]

    def shuffled(pictures):
        chooser = random.Random(1)
        for _ in range(int(epochs)):
            chooser.shuffle(pictures)
            yield from pictures

    rows, batch = 0, []
    with Timer() as timer:
        for picture in shuffled(list(encoded())) if int(epochs) else encoded():
            batch.append(prepared(picture))
            rows += 1
            if len(batch) == 16:
                torch.stack(batch)
                batch = []
    return timer, rows


# Both sides.


def measured(command):
    """Runs a command; the JSON of its last line, with the whole process's clock, processor time and memory."""
    before = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=HERE.parent)
    out, errors = process.communicate()
    whole = time.perf_counter() - before
    if process.returncode != 0:
        sys.exit(f"{command} failed: {errors.decode()[-2000:]}")
    lines = [line for line in out.decode().splitlines() if line.startswith("{")]
    cost = [line[6:] for line in errors.decode().splitlines() if line.startswith("cost: ")]
    found = json.loads((cost or lines)[-1]) if cost or lines else {}
    return {**found, "whole": whole}


def theirs(task, *arguments, python=sys.executable):
    return [python, str(HERE), "--task", task, *map(str, arguments)]


def children_cpu():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def side_by_side(repeats, their_command, our_command, whole=False):
    """Best seconds and processor seconds of both."""
    best = [[float("inf")] * 2, [float("inf")] * 2]
    for _ in range(repeats):
        for side, command in enumerate((their_command, our_command)):
            cpu = children_cpu()
            found = measured(command)
            cpu = children_cpu() - cpu
            pair = (found["whole"], cpu) if whole else (found["seconds"], found["cpu_seconds"])
            best[side] = [min(old, new) for old, new in zip(best[side], pair)]
    return best


def row(name, rows, best, unit=1.0, what="s"):
    (their_clock, their_cpu), (our_clock, our_cpu) = best
    ratio = lambda a, b: f"{a / b:.2f}" if b > 0 else "-"
    cells = [f"{value * unit:.3g}" for value in (their_clock, our_clock, their_cpu, our_cpu)]
    line = f"| {name} | {rows:,} | {what} | " + " | ".join(cells)
    line += f" | {ratio(their_clock, our_clock)} | **{ratio(their_cpu, our_cpu)}** |"
    print(line, file=sys.stderr, flush=True)
    return line


def compare(options):
    ours = [options.program]
    small, million = str(Path(options.small).resolve()), str(Path(options.million).resolve())
    repeats = options.repeats
    lines = []
    best = side_by_side(repeats, theirs("read", small), [*ours, "bench", "read", small])
    lines.append(row("sequential read, all columns: pyarrow `iter_batches`", options.rows, best))
    scratch = Path(small).parent / "bench-write.parquet"
    best = side_by_side(
        repeats,
        theirs("write", small, 50_000),
        [*ours, "bench", "write", small, "--rows", "50000", "--out", str(scratch)],
    )
    scratch.unlink()
    lines.append(row("write, same settings: pyarrow `write_table`", 50_000, best))
    for name, flags, columns in [("all columns", [], "all"), ("picture and captions", ["--few-columns"], "few")]:
        places = options.random
        command = [*ours, "bench", "random", small, "--rows", str(places), *flags]
        best = side_by_side(repeats, theirs("random", small, places, columns), command)
        label = f"random rows, {name}, decoded: `datasets`"
        lines.append(row(label, places, best, 1e6 / places, "µs a row"))
        found = [measured([*command, "--by", "id"]) for _ in range(repeats)]
        best[1] = [min(one[key] for one in found) for key in ("seconds", "cpu_seconds")]
        lines.append(row(f"the same, ours by id, theirs by number: {name}", places, best, 1e6 / places, "µs a row"))
    out = tempfile.mkdtemp(dir=Path(small).parent)
    best = side_by_side(repeats, theirs("stats", small), [*ours, "stats", small, "--out", out], whole=True)
    lines.append(row("`stats` and its pages, whole process: a pandas script", options.rows, best))
    for number, sql in enumerate(QUERIES):
        command = [*ours, "query", million, sql, "--cost"]
        if options.duckdb:
            file = sql.replace("FROM pairs", f"FROM '{million}/pairs-metadata.parquet'")
            best = side_by_side(repeats + 2, [options.duckdb, "-c", file], [*ours, "query", million, sql], whole=True)
            label = f"query {number + 1}, whole process: DuckDB's own program"
            lines.append(row(label, options.million_rows, best, 1e3, "ms"))
        label = f"query {number + 1} without start and imports, first in a process: DuckDB"
        best = side_by_side(repeats + 2, theirs("query", million, number), command)
        lines.append(row(label, options.million_rows, best, 1e3, "ms"))
        best = side_by_side(repeats, theirs("query", million, number), command, whole=True)
        lines.append(row(f"query {number + 1}, whole process: Python with DuckDB", options.million_rows, best, 1e3, "ms"))
    return lines


EPOCHS = 5


def batches(options):
    """The first pass over training pictures, and several epochs as a training reads them."""
    lines = []
    ways = {"pil": "PIL, as torchvision's folders load by default", "tensor": "`decode_jpeg` and tensors"}
    for folder in options.photographs:
        folder = str(Path(folder).resolve())
        for side in (224, 512):
            for way, name in ways.items():
                ours = [options.trainer, "speed", "images", folder, "--image", str(side), "--rows", "100000"]
                best = side_by_side(options.repeats, theirs("batches", folder, side, way, python=options.torch_python), ours)
                rows = measured(ours)["rows"]
                label = f"decode + resize to {side} px, batches of 16, one pass, {Path(folder).name}: torchvision, {name}"
                lines.append(row(label, rows, best, 1e3 / rows, "ms a picture"))
            ours += ["--epochs", str(EPOCHS)]
            command = theirs("batches", folder, side, "tensor", EPOCHS, python=options.torch_python)
            best = side_by_side(options.repeats, command, ours)
            rows = measured(ours)["rows"]
            label = (
                f"the same, {side} px, {EPOCHS} epochs in random order, ours from kept prepared pictures (decoded once): "
                f"torchvision, {ways['tensor']}, decoded in each epoch"
            )
            lines.append(row(label, rows, best, 1e3 / rows, "ms a picture and epoch"))
    return lines


def peak(command):
    """Peak memory in MiB and seconds of one command, by wait4."""
    before = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    cpu = usage.ru_utime + usage.ru_stime
    return usage.ru_maxrss / 1024, time.perf_counter() - before, cpu, process.returncode


def memory(options):
    """Building, adding to and checking the million rows: the long part."""
    million = str(Path(options.million).resolve())
    made = json.loads(Path(options.made).read_text())
    first = ("build (`bench make`)", made["peak_memory_bytes"] / 2**20, made["seconds"], made["cpu_seconds"])
    commands = {
        "`validate` with pictures": ["validate", million],
        "add a source of 1,000 rows (`bench add`)": ["bench", "add", million],
    }
    return used(options, [first], commands)


def reading(options):
    """Reading the million rows."""
    million = str(Path(options.million).resolve())
    commands = {
        "`validate --skip-pictures`": ["validate", million, "--skip-pictures"],
        "`query` 2": ["query", million, QUERIES[1]],
        "3,000 random rows by number": ["bench", "random", million, "--rows", "3000"],
        "3,000 random rows by id": ["bench", "random", million, "--rows", "3000", "--by", "id"],
    }
    return used(options, [], commands)


def used(options, lines, commands):
    for name, command in commands.items():
        mib, seconds, cpu, code = peak([options.program, *command])
        assert code == 0, f"{command} ended with {code}"
        lines.append((name, mib, seconds, cpu))
    lines = [f"| {name} | {mib:.0f} | {seconds:.3g} | {cpu:.3g} |" for name, mib, seconds, cpu in lines]
    print("\n".join(lines), file=sys.stderr, flush=True)
    return lines


def versions(options):
    import datasets
    import duckdb
    import pandas
    import pyarrow

    names = [("pyarrow", pyarrow), ("datasets", datasets), ("pandas", pandas), ("DuckDB", duckdb)]
    found = [f"{name} {module.__version__}" for name, module in names]
    if options.duckdb:
        own = subprocess.run([options.duckdb, "--version"], capture_output=True, text=True).stdout.split()
        found.append(f"DuckDB's own program {own[0]}")
    if options.photographs:
        code = "import torchvision, PIL; print(torchvision.__version__, PIL.__version__)"
        torchvision, pil = subprocess.run(
            [options.torch_python, "-c", code], capture_output=True, text=True
        ).stdout.split()
        found.append(f"torchvision {torchvision} with Pillow {pil}")
    return ", ".join(found)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", nargs="+", help=argparse.SUPPRESS)
    parser.add_argument("--small", help="folder of `dataset bench make`")
    parser.add_argument("--million", help="a larger one, for queries and memory")
    parser.add_argument("--made", help="what `bench make` printed for the larger one")
    parser.add_argument("--photographs", nargs="*", default=[], help="folders with photographs, for `batches`")
    parser.add_argument("--duckdb", default=shutil.which("duckdb"), help="DuckDB's own program, if there is one")
    parser.add_argument("--torch-python", default=sys.executable, help="Python with torch and torchvision")
    parser.add_argument("--trainer", default=str(HERE.parents[2] / "target/release/trainer"))
    parser.add_argument("--program", default=str(HERE.parents[2] / "target/release/dataset"))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--random", type=int, default=10_000, help="random rows")
    parser.add_argument(
        "--part", nargs="*", default=["speed", "batches", "memory", "reading"], help="run these parts only; none: only write the page"
    )
    parser.add_argument("--results", default="compare-results.json", help="keeps the parts between runs")
    parser.add_argument("--out", help="write the tables to this Markdown file")
    options = parser.parse_args()
    if options.task:
        task, *arguments = options.task
        timer, rows = globals()[f"their_{task}"](*arguments)
        print(json.dumps({"rows": rows, "seconds": timer.clock, "cpu_seconds": timer.cpu}))
        return
    options.program, options.trainer = (str(Path(path).resolve()) for path in (options.program, options.trainer))
    import pyarrow.parquet as pq

    count = lambda folder: sum(pq.ParquetFile(path).metadata.num_rows for path in shards(folder))
    options.rows, options.million_rows = count(options.small), count(options.million)
    results = Path(options.results)
    kept = json.loads(results.read_text()) if results.exists() else {}
    for part in options.part:
        kept[part] = {"speed": compare, "batches": batches, "memory": memory, "reading": reading}[part](options)
        results.write_text(json.dumps(kept, indent=1))
    speed = kept.get("speed", []) + kept.get("batches", [])
    used_lines = kept.get("memory", []) + kept.get("reading", [])
    load = os.getloadavg()[0]
    page = f"""# Speed and memory of `dataset`

Written by `dataset/bench/compare.py`, whose head says how to repeat it. Generated folders, pictures of 2 to 4 KiB.
Machine: {os.cpu_count()} processors ({platform.machine()}), load average at the end {load:.1f}. {versions(options)}.
Best of {options.repeats} repetitions in turns. Ratios above 1 mean that `dataset` is faster; on a busy machine the ratio of
processor time is the steadier one.

## Beside other libraries

| what: theirs | rows | unit | their clock | our clock | their processor | our processor | clock ratio | processor ratio |
| --- | --- | --- | --- | --- | --- | --- | --- | --- |
{chr(10).join(speed)}

Queries: {"; ".join(f"({number + 1}) `{sql}`" for number, sql in enumerate(QUERIES))}.

"Whole process" counts everything from the start of the program. "Without start and imports" leaves out starting
Python and loading DuckDB on their side and starting the program on ours, and nothing else.

## {options.million_rows:,} rows

| what | peak memory, MiB | seconds | processor seconds |
| --- | --- | --- | --- |
{chr(10).join(used_lines)}
"""
    print(page)
    if options.out:
        Path(options.out).write_text(page)


main()
