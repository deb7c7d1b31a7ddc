"""The paper's folds: Python's shuffle with the fold number as seed, then per class 20 % test and the next k train."""
import random


def fold(labels, number, shots):
    rows = list(range(len(labels)))
    random.seed(number)
    random.shuffle(rows)
    train, test = [], []
    for label in sorted(set(int(x) for x in labels)):
        own = [r for r in rows if labels[r] == label]
        cut = int(20 / 100 * len(own))
        count = int(int(shots[:-1]) / 100 * len(own)) if shots.endswith("%") else int(shots)
        test += own[:cut]
        train += own[cut:cut + count]
    return train, test


def balanced_accuracy(truth, predicted):
    hits = {}
    for t, p in zip(truth, predicted):
        hits.setdefault(int(t), []).append(int(t) == int(p))
    return sum(sum(h) / len(h) for h in hits.values()) / len(hits)
