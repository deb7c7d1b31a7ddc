"""Checks eval's deterministic methods against numpy and scikit-learn on awkward sets: ties, absent and tiny classes,
images of several classes.

    python eval/bench/agree.py --eval target/release/eval      (numpy, pyarrow, scikit-learn)

Probabilities must agree to 1e-6 and metrics to 1e-9; a set with one class alone must be refused. Exit code 1 when not.
"""
import argparse
import csv
import json
import math
import subprocess
import sys
import tempfile
import warnings

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.multiclass import OneVsRestClassifier

from folds import fold
from sets import metrics, unit, write

warnings.filterwarnings("ignore")
SCALE = math.exp(4.6052)
RUNS = [("zero-shot", "0"), ("tip-adapter", "1"), ("tip-adapter", "5"), ("linear-probe", "80%")]
# name, images of each class, label of each class, classes with a text, ties
SETS = [
    ("four classes", [30, 22, 41, 18], [0, 1, 2, 3], 4, False),
    ("four classes, ties", [30, 22, 41, 18], [0, 1, 2, 3], 4, True),
    ("classes 0, 2, 5 of 7", [30, 12, 20], [0, 2, 5], 7, False),
    ("classes 0, 2, 5 of 7, ties", [30, 12, 20], [0, 2, 5], 7, True),
    ("two classes", [40, 25], [0, 1], 2, False),
    ("two classes, ties", [40, 25], [0, 1], 2, True),
    ("classes of 5, 6 and 40", [5, 6, 40], [0, 1, 2], 3, False),
    ("a class without test rows", [3, 20, 30], [0, 1, 2], 3, False),
    ("one class alone", [30], [1], 3, False),
]


def softmax(z):
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def draw(rng, counts, used, classes, ties):
    labels = np.repeat(used, counts)
    centres = rng.normal(size=(classes, 24))
    x = centres[labels] * 0.5 + rng.normal(size=(len(labels), 24))
    texts = unit(centres + rng.normal(size=centres.shape)).astype(np.float32)
    projected, features = unit(x).astype(np.float32), np.maximum(x, 0).astype(np.float32)
    if ties:
        projected[::3], features[::3], texts[1] = projected[0], features[0], texts[0]
    order = rng.permutation(len(labels))
    return labels[order], projected[order], features[order], texts


def reference(method, labels, projected, features, texts, train, test):
    x, t = projected.astype(np.float64), texts.astype(np.float64)
    if method == "zero-shot":
        return softmax(SCALE * x[test] @ t.T)
    if method == "tip-adapter":
        return softmax(100 * x[test] @ t.T + np.exp(-(5 - 5 * x[test] @ x[train].T)) @ np.eye(len(t))[labels[train]])
    model = LogisticRegression(C=0.316, max_iter=100_000, tol=1e-10, class_weight="balanced").fit(features[train].astype(np.float64), labels[train])
    p = np.zeros((len(test), len(t)))
    p[:, model.classes_] = model.predict_proba(features[test].astype(np.float64))
    return p


def run(program, folder, method, shots, *more):
    """`eval run` on the files in `folder`: the process, the report, and the probabilities by (fold, row)."""
    done = subprocess.run([program, "run", "--images", f"{folder}/images.parquet", "--texts", f"{folder}/texts.parquet", "--method", method,
                           "--shots", shots, "--bootstrap", "0", "--out", f"{folder}/r.json", "--predictions", f"{folder}/p.csv", *more],
                          capture_output=True, text=True)
    if done.returncode:
        return done, None, None
    with open(f"{folder}/r.json") as f:
        report = json.load(f)
    with open(f"{folder}/p.csv") as f:
        told = {(int(r[0]), int(r[1])): [float(v) for v in r[5:]] for r in list(csv.reader(f))[1:]}
    return done, report, told


def verdict(words, far, off):
    """What to print of the largest distances of probabilities and metrics, and whether they are small enough."""
    ok = far <= 1e-6 and off <= 1e-9
    return f"{words}: probabilities within {far:.0e}, metrics within {off:.0e}{'' if ok else '  WRONG'}", ok


def several(program, rng):
    """Images of one to three of five classes: zero-shot and the linear probe class by class. Yields words and whether they are right."""
    count, classes = 240, 5
    held = rng.random((count, classes)) < 0.22
    held[np.arange(count), rng.integers(0, classes, count)] = True
    held[held.sum(1) > 3] = np.eye(classes, dtype=bool)[0]
    centres = rng.normal(size=(classes, 24))
    x = held @ centres * 0.6 + rng.normal(size=(count, 24))
    texts = unit(centres + rng.normal(size=centres.shape)).astype(np.float32)
    projected, features = unit(x).astype(np.float32), np.maximum(x, 0).astype(np.float32)
    labels = [np.flatnonzero(row).tolist() for row in held]
    # folds are drawn by combination, combinations of few classes first
    place = {c: i for i, c in enumerate(sorted({tuple(l) for l in labels}, key=lambda c: (len(c), c)))}
    groups = np.array([place[tuple(l)] for l in labels])
    with tempfile.TemporaryDirectory() as folder:
        write(folder, labels, projected, features, texts)
        for method, shots in [("zero-shot", "0"), ("linear-probe", "80%")]:
            done, report, told = run(program, folder, method, shots)
            done.check_returncode()
            far = off = 0.0
            for number in range(5):
                train, test = fold(groups, number, shots)
                if method == "zero-shot":
                    test = list(range(count))
                    want = 1 / (1 + np.exp(-SCALE * projected.astype(np.float64) @ texts.astype(np.float64).T))
                else:
                    model = OneVsRestClassifier(LogisticRegression(C=0.316, solver="newton-cholesky", tol=1e-12, class_weight="balanced"))
                    want = model.fit(features[train].astype(np.float64), held[train]).predict_proba(features[test].astype(np.float64))
                mine = np.array([told[0 if method == "zero-shot" else number, row] for row in test])
                far = max(far, np.abs(mine - want).max())
                y = held[test]
                good = {"acc": np.mean((mine > 0.5) == y), "auc": np.mean([roc_auc_score(y[:, c], mine[:, c]) for c in range(classes)]),
                        "aupr": np.mean([average_precision_score(y[:, c], mine[:, c]) for c in range(classes)])}
                off = max(off, *(abs(value - report["folds"][number][metric]) for metric, value in good.items()))
            yield verdict(f"several classes an image, {method} {shots}", far, off)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--eval", default="target/release/eval")
    ap.add_argument("--seed", type=int, default=5)
    args = ap.parse_args()
    rng, wrong = np.random.default_rng(args.seed), 0
    for name, counts, used, classes, ties in SETS:
        labels, projected, features, texts = draw(rng, counts, used, classes, ties)
        with tempfile.TemporaryDirectory() as folder:
            write(folder, labels, projected, features, texts)
            for method, shots in RUNS:
                done, report, told = run(args.eval, folder, method, shots, "--allow-short-classes")
                if len(counts) == 1:
                    ok = done.returncode == 2 and "class" in done.stderr
                    print(f"{name}, {method} {shots}: {'refused' if ok else 'NOT REFUSED'}")
                    wrong += not ok
                    continue
                done.check_returncode()
                far = off = 0.0
                for number in range(5):
                    train, test = fold(labels, number, shots)
                    if method == "zero-shot":
                        train, test = [], list(range(len(labels)))
                    mine = np.array([told[0 if method == "zero-shot" else number, row] for row in test])
                    far = max(far, np.abs(mine - reference(method, labels, projected, features, texts, train, test)).max())
                    for metric, value in metrics(labels[test], mine).items():
                        off = max(off, abs(value - report["folds"][number][metric]))
                words, ok = verdict(f"{name}, {method} {shots}", far, off)
                print(words)
                wrong += not ok
    for words, ok in several(args.eval, rng):
        print(words)
        wrong += not ok
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
