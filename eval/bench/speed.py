"""Times eval's trained methods against PyTorch and scikit-learn, one after the other in turns, and writes a page.

    python eval/bench/speed.py --eval target/release/eval --page docs/evaluation-speed.md
    python eval/bench/speed.py --torch-python VENV/bin/python --sklearn-python VENV/bin/python   (two environments)

Needs numpy and pyarrow here, torch in one environment and scikit-learn in the other (they may be the same). The
time of eval is that of the whole command: start, reading Parquet, five folds, metrics, report. The other side is
timed inside Python, without start, imports and reading. Both use all threads they like.
"""
import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np

from sets import unit, write as write_set

HERE = os.path.dirname(os.path.abspath(__file__))
# name, method, classes, images, width of the projected vectors, shots
ADAPTERS = [
    ("CLIP-Adapter, 4 classes, 10 shots", "clip-adapter", 4, 600, 512, 10),
    ("CLIP-Adapter, 23 classes, 10 shots", "clip-adapter", 23, 1600, 512, 10),
    ("Tip-Adapter-F, 4 classes, 10 shots", "tip-adapter-f", 4, 600, 512, 10),
    ("Tip-Adapter-F, 23 classes, 10 shots", "tip-adapter-f", 23, 1600, 512, 10),
]
PROBE = ("linear probe, 5 classes, 4,000 × 2,048", "linear-probe", 5, 4000, 2048, "80%")
LIMITS = {"clip-adapter": 0.5, "tip-adapter-f": 0.5, "linear-probe": 1.0}


def draw(classes, images, width, seed):
    """Labels, unit vectors around one direction a class, raw features as a rectified encoder gives them, class texts."""
    rng = np.random.default_rng(seed)
    labels = np.arange(images) % classes
    centres = rng.normal(size=(classes, width))
    raw = centres[labels] * (3 / np.sqrt(width)) + rng.normal(size=(images, width))
    text = centres + 3 * rng.normal(size=centres.shape)
    return labels, unit(raw).astype(np.float32), np.maximum(raw, 0).astype(np.float32), unit(text).astype(np.float32)


def write(folder, *drawn):
    labels, projected, features, texts = drawn
    write_set(folder, *drawn)
    np.savez(f"{folder}/set.npz", labels=labels, features=features, projected=projected, texts=texts)


def ours(program, folder, method, shots):
    out = f"{folder}/report.json"
    command = [program, "run", "--images", f"{folder}/images.parquet", "--texts", f"{folder}/texts.parquet", "--method", method,
               "--shots", str(shots), "--bootstrap", "0", "--out", out]
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    processor = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    with open(out) as f:
        return seconds, processor, json.load(f)["mean"]["acc"]


def theirs(python, script, folder, method, shots, threads):
    environment = dict(os.environ, OMP_NUM_THREADS=str(threads)) if threads else None
    done = subprocess.run([python, f"{HERE}/{script}", f"{folder}/set.npz", method, str(shots)], check=True, stdout=subprocess.PIPE, env=environment)
    line = json.loads(done.stdout)
    return line["seconds"], line["processor"], line["acc"], line["version"]


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--eval", default="target/release/eval")
    ap.add_argument("--torch-python", default=sys.executable)
    ap.add_argument("--sklearn-python", default=sys.executable)
    ap.add_argument("--rounds", type=int, default=3)
    ap.add_argument("--only", default="", help="parts of the names of the cases to run, with commas")
    ap.add_argument("--torch-threads", type=int, help="threads of PyTorch; on a busy machine 1 spares it the waiting")
    ap.add_argument("--page", help="Markdown page to write")
    args = ap.parse_args()
    rows, versions = [], set()
    for name, method, classes, images, width, shots in ADAPTERS + [PROBE]:
        if not any(part in name for part in args.only.split(",")):
            continue
        script, python = ("sklearn_probe.py", args.sklearn_python) if method == "linear-probe" else ("torch_adapters.py", args.torch_python)
        with tempfile.TemporaryDirectory() as folder:
            write(folder, *draw(classes, images, width, 1))
            times = []
            for _ in range(args.rounds):
                mine, my_processor, acc = ours(args.eval, folder, method, shots)
                other, other_processor, other_acc, version = theirs(python, script, folder, method, shots, args.torch_threads if method != "linear-probe" else None)
                times.append((mine, other, my_processor, other_processor, os.getloadavg()[0]))
                print(f"{name}: eval {mine:.2f} s ({my_processor:.2f} s of processor), {version} {other:.2f} s ({other_processor:.2f} s), "
                      f"ACC {acc:.4f} and {other_acc:.4f}", file=sys.stderr)
        middle = [statistics.median(column) for column in zip(*times)]
        ratio = statistics.median(t[0] / t[1] for t in times)
        processor_ratio = statistics.median(t[2] / t[3] for t in times)
        rows.append((name, version, *middle, ratio, processor_ratio, LIMITS[method], acc, other_acc))
        print(json.dumps({"case": name, "other": version, "eval_s": middle[0], "other_s": middle[1], "ratio": ratio,
                          "processor_ratio": processor_ratio, "limit": LIMITS[method], "load": middle[4]}), flush=True)
    if args.page:
        lines = [
            "# Speed of the evaluation", "",
            "Written by `python eval/bench/speed.py`; do not edit. Five folds each, both sides in turns on the same machine, median of",
            f"{args.rounds} rounds, {os.cpu_count()} cores. The time of `eval` is that of the whole command with start, reading and report; the other side is",
            "timed inside Python without start, imports and reading. On a busy machine (column load) the ratio of processor time",
            "tells more than that of wall time. ACC shows that both did the same work: the CLIP-Adapter starts from other random",
            "weights on either side.", "",
            "| case | other side | eval, s | other, s | ratio | aim | eval, processor s | other, processor s | ratio | load | ACC eval | ACC other |",
            "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        ]
        for name, version, mine, other, my_cpu, other_cpu, load, ratio, cpu_ratio, limit, acc, other_acc in rows:
            lines.append(f"| {name} | {version} | {mine:.2f} | {other:.2f} | {ratio:.2f} | ≤ {limit:.1f} | {my_cpu:.2f} | {other_cpu:.2f} | {cpu_ratio:.2f} | {load:.1f} | {acc:.4f} | {other_acc:.4f} |")
        with open(args.page + ".part", "w") as f:
            f.write("\n".join(lines) + "\n")
        os.replace(args.page + ".part", args.page)


if __name__ == "__main__":
    main()
