"""Seconds an epoch of MNIST takes: our trainer and PyTorch side by side, in one run, one thread.

python tests/benchmarks/training_speed.py [DATASET] [--rounds N]

conv 16 3x3 - ReLU - pool - conv 32 3x3 - ReLU - pool - dense 10, batch 128, Adam. Pool and ReLU
commute, and we compute the pool first; PyTorch is measured as the network is written, and for
comparison with its pool first, too, each in its default layout and in channels_last. The
contestants take turns of 50 steps, so that whatever else the machine does meets all of them; the
median turn counts. Every contestant gets uint8 pictures and does all that it needs to, down to the
step of its weights. Without PyTorch, ours runs alone.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from statistics import median
from time import perf_counter

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from threadpoolctl import threadpool_limits

from model.datasets import datasets
from model.training.fit import gradients
from model.training.layers import Conv2D, Dense, Flatten, MaxPool2D, ReLU
from model.training.network import Network
from model.training.optimizer import AdamW

BATCH = 128
STEPS = 50
RATE = 1e-3

Step = Callable[[np.ndarray, np.ndarray], None]


def ours() -> Step:
    rng = np.random.default_rng(0)
    layers = (
        *(Conv2D(16, 3), MaxPool2D(2), ReLU()),
        *(Conv2D(32, 3), MaxPool2D(2), ReLU()),
        *(Flatten(), Dense(10)),
    )
    network = Network(layers, (28, 28, 1), rng)
    optimizer = AdamW(network.parameters)

    def step(x: np.ndarray, y: np.ndarray) -> None:
        gradients(network, x, y, rng)
        optimizer.step(network.gradients, RATE)

    return step


def pytorch(channels_last: bool, pool_first: bool) -> Step:
    import torch
    from torch import nn

    torch.set_num_threads(1)
    torch.manual_seed(0)

    def block(inputs: int, filters: int) -> list[nn.Module]:
        behind = [nn.ReLU(), nn.MaxPool2d(2)]
        behind = behind[::-1] if pool_first else behind
        return [nn.Conv2d(inputs, filters, 3, padding=1), *behind]

    network = nn.Sequential(*block(1, 16), *block(16, 32), nn.Flatten(), nn.Linear(7 * 7 * 32, 10))
    layout = torch.channels_last if channels_last else torch.contiguous_format
    network = network.to(memory_format=layout)
    optimizer = torch.optim.Adam(network.parameters(), lr=RATE)
    loss = nn.CrossEntropyLoss()

    def step(x: np.ndarray, y: np.ndarray) -> None:
        pictures = torch.from_numpy(x).permute(0, 3, 1, 2).float() / 255
        optimizer.zero_grad()
        loss(network(pictures.contiguous(memory_format=layout)), torch.from_numpy(y)).backward()
        optimizer.step()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", nargs="?", default="mnist")
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    dataset = datasets.load(arguments.dataset)
    contestants: dict[str, Step] = {"NumPy": ours()}
    try:
        for pool_first in (False, True):
            for channels_last in (False, True):
                name = "PyTorch, channels_last" if channels_last else "PyTorch, default layout"
                name += ", pool first" if pool_first else ""
                contestants[name] = pytorch(channels_last, pool_first)
    except ImportError:
        print("PyTorch is not installed: ours alone")
    rng = np.random.default_rng(1)
    turns: dict[str, list[float]] = {name: [] for name in contestants}
    with threadpool_limits(limits=1):
        for turn in range(-1, arguments.rounds):
            chosen = rng.integers(0, len(dataset.x_train), (STEPS, BATCH))
            for name, step in contestants.items():
                start = perf_counter()
                for rows in chosen:
                    step(dataset.x_train[rows], dataset.y_train[rows])
                if turn >= 0:  # the one before is for warming up
                    turns[name].append(perf_counter() - start)
    epoch = 60_000 / BATCH / STEPS
    print(f"{'':40}  s/epoch  fastest  ours / this")
    for name, seconds in turns.items():
        middle, best = median(seconds) * epoch, min(seconds) * epoch
        ratio = median(turns["NumPy"]) / median(seconds)
        print(f"{name:40}  {middle:7.2f}  {best:7.2f}  {ratio:11.2f}")


if __name__ == "__main__":
    main()
