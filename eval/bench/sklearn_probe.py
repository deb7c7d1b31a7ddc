"""The linear probe of the protocol in scikit-learn: sklearn_probe.py SET.npz linear-probe 80%"""
import json
import sys
import time
import warnings

import numpy as np
import sklearn
from sklearn.linear_model import LogisticRegression

from folds import balanced_accuracy, fold

warnings.filterwarnings("ignore")
data = np.load(sys.argv[1])
labels, features = data["labels"], data["features"]
start, processor = time.perf_counter(), time.process_time()
accuracies = []
for number in range(5):
    train, test = fold(labels, number, sys.argv[3])
    model = LogisticRegression(C=0.316, max_iter=1000, class_weight="balanced", random_state=0)
    model.fit(features[train], labels[train])
    accuracies.append(balanced_accuracy(labels[test], model.predict_proba(features[test]).argmax(1)))
print(json.dumps({"seconds": time.perf_counter() - start, "processor": time.process_time() - processor, "acc": sum(accuracies) / 5, "version": f"scikit-learn {sklearn.__version__}"}))
