"""What class weights are good for: digits of which half the classes have few pictures.

python tests/benchmarks/class_weights.py [SHARE ...]

Prints, for each share of the pictures of the digits 5 to 9 that is kept for training, how many
test pictures are right: with classes that count the same, and with pictures that do. Means of four
seeds.
"""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np

from model.datasets import datasets
from model.datasets.datasets import Dataset
from model.training import recipes
from model.training.evaluation import confusion_matrix, recalls

SHARES = (0.5, 0.2, 0.1, 0.05)
SEEDS = 4
EPOCHS = 25
FIRST_SMALL = 5


class Unweighted(Dataset):
    """The same, but for the weights."""

    class_weights = None


def thinned(dataset: Dataset, share: float) -> Dataset:
    """Only a share of the training pictures of the later half of the classes."""
    rng = np.random.default_rng(1)
    kept = (dataset.y_train < FIRST_SMALL) | (rng.random(len(dataset.y_train)) < share)
    return replace(dataset, x_train=dataset.x_train[kept], y_train=dataset.y_train[kept])


def measure(dataset: Dataset) -> tuple[float, float]:
    """Share of right test pictures: mean over all classes, and over the small ones."""
    found = [recipes.train(dataset, seed=seed, epochs=EPOCHS) for seed in range(SEEDS)]
    shares = np.array(
        [recalls(confusion_matrix(each.scores, dataset.y_test, 10)) for each in found]
    )
    return float(shares.mean()), float(shares[:, FIRST_SMALL:].mean())


def main() -> None:
    print("kept   pictures of 5 to 9      weighted: all  5 to 9    unweighted: all  5 to 9")
    for share in map(float, sys.argv[1:] or SHARES):
        dataset = thinned(datasets.load("digits"), share)
        counts = " ".join(f"{count:3}" for count in dataset.class_counts[FIRST_SMALL:])
        results = (*measure(dataset), *measure(Unweighted(**vars(dataset))))
        weighted, few, plain, plain_few = (f"{each:7.1%}" for each in results)
        print(f"{share:4.0%}   {counts:22}  {weighted:>13} {few}    {plain:>15} {plain_few}")


if __name__ == "__main__":
    main()
