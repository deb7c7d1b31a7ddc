"""Sets of vectors as `eval run` reads them, and the metrics of scikit-learn on class probabilities."""
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def write(folder, labels, projected, features, texts):
    """`labels`: a class an image, or a list of classes an image."""
    floats = pa.list_(pa.float32())
    kind = pa.list_(pa.int64()) if isinstance(labels, list) else pa.int64()
    pq.write_table(pa.table({"path": [f"i{i}" for i in range(len(labels))], "label": pa.array(labels, kind),
                             "features": pa.array(list(features), floats), "projected": pa.array(list(projected), floats)}),
                   f"{folder}/images.parquet")
    pq.write_table(pa.table({"class": [f"c{i}" for i in range(len(texts))], "label": pa.array(range(len(texts)), pa.int64()),
                             "projected": pa.array(list(texts), floats)}), f"{folder}/texts.parquet")


def metrics(truth, scores):
    from sklearn.metrics import average_precision_score, roc_auc_score  # not in every environment

    present = sorted(set(truth))
    return {
        "acc": np.mean([np.mean(scores[truth == c].argmax(1) == c) for c in present]),
        "auc": np.mean([roc_auc_score(truth == c, scores[:, c]) for c in present]),
        "aupr": np.mean([average_precision_score(truth == c, scores[:, c]) for c in present]),
    }
