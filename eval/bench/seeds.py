"""Compares the trained adapters with PyTorch over ten starts of the CLIP-Adapter and writes a page.

    python eval/bench/seeds.py --eval target/release/eval --page docs/evaluation-agreement.md [SET...]

A SET is a folder with images.parquet and texts.parquet; without one, two sets are drawn. Each start is done twice
from PyTorch's own draw of the weights (`eval run --init`) and once from a draw of `eval` (`--seed`). Exit code 1 when
the mean over the starts from the same weights lies further from PyTorch's than one standard error of the latter.
Needs numpy, pyarrow, scikit-learn, torch, safetensors.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile

import numpy as np
import pyarrow.parquet as pq
import torch
from safetensors.torch import save_file

from sets import metrics, write as write_set
from speed import draw
from torch_adapters import five_folds, layers

METRICS = ("acc", "auc", "aupr")
DRAWN = [("drawn, 4 classes", 4, 200, 64), ("drawn, 7 classes", 7, 350, 96)]


def read(folder):
    images, texts = (pq.read_table(f"{folder}/{name}.parquet").to_pydict() for name in ("images", "texts"))
    order = np.argsort(texts["label"])
    return (np.array(images["label"]), torch.tensor(np.array(images["projected"], dtype=np.float32)),
            torch.tensor(np.array(texts["projected"], dtype=np.float32)[order]))


def ours(program, folder, method, shots, *options):
    out = f"{folder}/report.json"
    subprocess.run([program, "run", "--images", f"{folder}/images.parquet", "--texts", f"{folder}/texts.parquet", "--method", method,
                    "--shots", str(shots), "--bootstrap", "0", "--out", out, *options], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with open(out) as f:
        mean = json.load(f)["mean"]
    os.remove(out)
    return [mean[m] for m in METRICS]


def theirs(method, labels, images, texts, shots, **options):
    folds = [metrics(truth, p.astype(np.float64)) for truth, p in five_folds(method, images, labels, texts, str(shots), **options)]
    return [float(np.mean([f[m] for f in folds])) for m in METRICS]


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("sets", nargs="*", metavar="SET")
    ap.add_argument("--eval", default="target/release/eval")
    ap.add_argument("--seeds", type=int, default=10)
    ap.add_argument("--shots", type=int, nargs="+", default=[1, 5, 10])
    ap.add_argument("--page", help="Markdown page to write")
    args = ap.parse_args()
    torch.set_num_threads(1)
    rows, bad = [], 0
    with tempfile.TemporaryDirectory() as scratch:
        sets = [(os.path.basename(os.path.normpath(s)), s) for s in args.sets]
        for name, classes, images, width in DRAWN if not sets else []:
            folder = f"{scratch}/{classes}"
            os.mkdir(folder)
            write_set(folder, *draw(classes, images, width, 1))
            sets.append((name, folder))
        for name, source in sets:
            labels, images, texts = read(source)
            folder = f"{scratch}/work"
            os.makedirs(folder, exist_ok=True)
            for part in ("images", "texts"):
                if os.path.lexists(f"{folder}/{part}.parquet"):
                    os.remove(f"{folder}/{part}.parquet")
                os.symlink(os.path.abspath(f"{source}/{part}.parquet"), f"{folder}/{part}.parquet")
            for shots in args.shots:
                torch_runs, same_start, own_start = [], [], []
                for seed in range(args.seeds):
                    torch.manual_seed(seed)
                    first = [layer.weight.detach().clone() for layer in layers(images.shape[1])]
                    save_file({"clip_adapter.down.weight": first[0], "clip_adapter.up.weight": first[1]}, f"{folder}/init.safetensors")
                    torch_runs.append(theirs("clip-adapter", labels, images, texts, shots, first=first))
                    same_start.append(ours(args.eval, folder, "clip-adapter", shots, "--init", f"{folder}/init.safetensors"))
                    own_start.append(ours(args.eval, folder, "clip-adapter", shots, "--seed", str(seed)))
                torch_runs, same_start, own_start = map(np.array, (torch_runs, same_start, own_start))
                tip = np.abs(np.array(ours(args.eval, folder, "tip-adapter-f", shots)) - theirs("tip-adapter-f", labels, images, texts, shots))
                error = torch_runs.std(0, ddof=1) / np.sqrt(args.seeds)
                own_error = np.sqrt((torch_runs.var(0, ddof=1) + own_start.var(0, ddof=1)) / args.seeds)
                for i, metric in enumerate(METRICS):
                    far, own = abs(same_start.mean(0) - torch_runs.mean(0))[i], abs(own_start.mean(0) - torch_runs.mean(0))[i]
                    ok = far <= max(error[i], 1e-6)
                    bad += not ok
                    rows.append((name, shots, metric.upper(), torch_runs.mean(0)[i], error[i], far, own, own_error[i], tip[i]))
                    print(f"{name}, {shots} shots, {metric}: PyTorch {torch_runs.mean(0)[i]:.4f} ± {error[i]:.4f}, same start off by {far:.1e}, "
                          f"own start by {own:.1e} (± {own_error[i]:.1e}), Tip-Adapter-F by {tip[i]:.1e}{'' if ok else '  WRONG'}", flush=True)
    if args.page:
        lines = [
            "# The trained adapters beside PyTorch", "",
            f"Written by `python eval/bench/seeds.py`; do not edit. {args.seeds} starts of the CLIP-Adapter on each set, five folds each; PyTorch",
            f"{torch.__version__} in f32. *Same start*: both sides from the weights that PyTorch drew; the difference of the means is to be within one",
            "standard error of PyTorch's mean. *Own start*: `eval` draws its weights itself; beside it the standard error of the",
            "difference. The Tip-Adapter-F starts from the training images and has no draw.", "",
            "| set | shots | metric | PyTorch, mean | standard error | same start, difference | own start, difference | its standard error | Tip-Adapter-F, difference |",
            "| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        ]
        lines += [f"| {name} | {shots} | {metric} | {mean:.4f} | {error:.4f} | {far:.1e} | {own:.4f} | {own_error:.4f} | {tip:.1e} |"
                  for name, shots, metric, mean, error, far, own, own_error, tip in rows]
        with open(args.page + ".part", "w") as f:
            f.write("\n".join(lines) + "\n")
        os.replace(args.page + ".part", args.page)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
