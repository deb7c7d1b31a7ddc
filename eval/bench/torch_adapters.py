"""CLIP-Adapter and Tip-Adapter-F of the protocol in PyTorch: torch_adapters.py SET.npz METHOD SHOTS (times five folds)"""
import json
import math
import random
import sys
import time

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy, normalize, relu

from folds import balanced_accuracy, fold

EPOCHS, SCALE = 40, math.exp(4.6052)


def optimiser(parameters):
    return torch.optim.AdamW(parameters, lr=1e-3, eps=1e-4)


def layers(width):
    """The two layers of the CLIP-Adapter with PyTorch's first weights."""
    return nn.Linear(width, width // 4, bias=False), nn.Linear(width // 4, width, bias=False)


def clip_adapter(train, labels, test, texts, order, first=None):
    """`first`: weights of both layers to start from; PyTorch's own draw without."""
    down, up = layers(train.shape[1])
    if first:
        with torch.no_grad():
            down.weight.copy_(first[0])
            up.weight.copy_(first[1])
    adam = optimiser([down.weight, up.weight])
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, EPOCHS * len(order))

    def forward(x):
        return SCALE * normalize(0.2 * relu(up(relu(down(x)))) + 0.8 * x, dim=1) @ texts.T

    for _ in range(EPOCHS):
        for i in order:
            loss = cross_entropy(forward(train[i:i + 1]), labels[i:i + 1])
            adam.zero_grad()
            loss.backward()
            adam.step()
            schedule.step()
    with torch.no_grad():
        return forward(test).double().softmax(1)  # in f32 many round to 1 and tie


def tip_adapter_f(train, labels, test, texts, order):
    keys = nn.Parameter(train.clone())
    one_hot = nn.functional.one_hot(labels, texts.shape[0]).float()
    adam = optimiser([keys])

    def forward(x):
        return 100 * x @ texts.T + torch.exp(-(5 - 5 * (x @ keys.T))) @ one_hot

    for _ in range(EPOCHS):
        for i in order:
            loss = cross_entropy(forward(train[i:i + 1]), labels[i:i + 1])
            adam.zero_grad()
            loss.backward()
            adam.step()
    with torch.no_grad():
        return forward(test).double().softmax(1)  # in f32 many round to 1 and tie


METHODS = {"clip-adapter": clip_adapter, "tip-adapter-f": tip_adapter_f}


def five_folds(method, images, labels, texts, shots, **options):
    """Labels and probabilities of the test rows of each fold."""
    for number in range(5):
        train, test = fold(labels, number, shots)  # leaves the generator where the protocol draws the order
        order = list(range(len(train)))
        random.shuffle(order)
        p = METHODS[method](images[train], torch.tensor(labels[train]), images[test], texts, order, **options)
        yield labels[test], p.numpy()


def main():
    data = np.load(sys.argv[1])
    torch.manual_seed(0)
    start, processor = time.perf_counter(), time.process_time()
    folds = five_folds(sys.argv[2], torch.tensor(data["projected"]), data["labels"], torch.tensor(data["texts"]), sys.argv[3])
    accuracies = [balanced_accuracy(truth, p.argmax(1)) for truth, p in folds]
    print(json.dumps({"seconds": time.perf_counter() - start, "processor": time.process_time() - processor, "acc": sum(accuracies) / 5,
                      "version": f"PyTorch {torch.__version__}, threads {torch.get_num_threads()}"}))


if __name__ == "__main__":
    main()
