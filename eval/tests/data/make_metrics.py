"""Writes metrics.json: what scikit-learn says of small random cases with ties and absent classes.

python make_metrics.py > metrics.json   (numpy, scikit-learn)
"""
import json
import warnings

import numpy as np
from sklearn.metrics import average_precision_score, balanced_accuracy_score, roc_auc_score

warnings.filterwarnings("ignore")
rng = np.random.default_rng(20)
cases = []
for number in range(24):
    classes = int(rng.integers(2, 6))
    rows = int(rng.integers(classes + 3, 22))
    truth = rng.integers(0, classes, rows)
    if number % 3 == 0 and classes > 2:
        truth[truth == classes - 1] = 0  # an absent class
    if len(set(truth)) < 2:
        truth[0], truth[1] = 0, 1
    steps = int(rng.choice([2, 4, 64]))  # few steps: many ties
    scores = rng.integers(0, steps, (rows, classes)) / steps
    present = sorted(set(int(t) for t in truth))
    one = [truth == c for c in present]
    cases.append({
        "truth": truth.tolist(),
        "scores": scores.tolist(),
        "acc": balanced_accuracy_score(truth, scores.argmax(1)),
        "auc": float(np.mean([roc_auc_score(y, scores[:, c]) for c, y in zip(present, one)])),
        "aupr": float(np.mean([average_precision_score(y, scores[:, c]) for c, y in zip(present, one)])),
    })
print(json.dumps(cases))
