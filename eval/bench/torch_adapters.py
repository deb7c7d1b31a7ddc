"""CLIP-Adapter and Tip-Adapter-F of the protocol in PyTorch: torch_adapters.py SET.npz METHOD SHOTS"""
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


def clip_adapter(train, labels, test, texts, order):
    width = train.shape[1]
    down, up = nn.Linear(width, width // 4, bias=False), nn.Linear(width // 4, width, bias=False)
    parameters = list(down.parameters()) + list(up.parameters())
    adam = optimiser(parameters)
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
        return forward(test).softmax(1)


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
        return forward(test).softmax(1)


data = np.load(sys.argv[1])
labels, images, texts = data["labels"], torch.tensor(data["projected"]), torch.tensor(data["texts"])
method = {"clip-adapter": clip_adapter, "tip-adapter-f": tip_adapter_f}[sys.argv[2]]
torch.manual_seed(0)
start, processor = time.perf_counter(), time.process_time()
accuracies = []
for number in range(5):
    train, test = fold(labels, number, sys.argv[3])
    order = list(range(len(train)))
    random.shuffle(order)
    p = method(images[train], torch.tensor(labels[train]), images[test], texts, order)
    accuracies.append(balanced_accuracy(labels[test], p.argmax(1).numpy()))
print(json.dumps({"seconds": time.perf_counter() - start, "processor": time.process_time() - processor, "acc": sum(accuracies) / 5, "version": f"PyTorch {torch.__version__}, threads {torch.get_num_threads()}"}))
