"""Writes metrics_several.json: what scikit-learn says of small random cases in which a row has any number of classes.

python make_metrics_several.py > metrics_several.json   (numpy, scikit-learn)
"""
import json
import warnings

import numpy as np
from sklearn.metrics import accuracy_score, average_precision_score, multilabel_confusion_matrix, roc_auc_score

warnings.filterwarnings("ignore")
rng = np.random.default_rng(21)
cases = []
while len(cases) < 24:
    classes, rows = int(rng.integers(2, 6)), int(rng.integers(6, 22))
    truth = rng.random((rows, classes)) < rng.uniform(0.15, 0.6)
    if len(cases) % 3 == 0:
        truth[:, 0] = False  # a class that no row has
    if len(cases) % 4 == 0:
        truth[:, 1] = True  # a class that every row has
    steps = int(rng.choice([2, 4, 64]))  # few steps: many ties, and values at 0.5
    scores = rng.integers(0, steps + 1, (rows, classes)) / steps
    told = [c for c in range(classes) if 0 < truth[:, c].sum() < rows]
    if not told:
        continue
    cases.append({
        "truth": [[c for c in range(classes) if row[c]] for row in truth],
        "scores": scores.tolist(),
        "acc": float(np.mean([accuracy_score(truth[:, c], scores[:, c] > 0.5) for c in told])),
        "auc": float(np.mean([roc_auc_score(truth[:, c], scores[:, c]) for c in told])),
        "aupr": float(np.mean([average_precision_score(truth[:, c], scores[:, c]) for c in told])),
        "confusion": multilabel_confusion_matrix(truth, scores > 0.5).reshape(classes, 4).tolist(),
    })
print(json.dumps(cases))
