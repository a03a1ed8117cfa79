"""Classes of different sizes: weights, the loss with them, and what they are good for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from model.datasets import datasets
from model.datasets.datasets import Dataset
from model.training import recipes
from model.training.evaluation import confusion_matrix, mean_recall, most_confused, recalls
from model.training.loss import softmax_cross_entropy


def _dataset(counts: list[int]) -> Dataset:
    y = np.repeat(np.arange(len(counts)), counts)
    x = np.zeros((len(y), 4, 4, 1), np.uint8)
    labels = tuple(map(str, range(len(counts))))
    return Dataset("made", x, y, x[:2], np.array([0, 2]), labels)


def test_all_classes_weigh_the_same():
    dataset = _dataset([10, 40, 50])
    assert dataset.class_counts.tolist() == [10, 40, 50]
    assert dataset.test_counts.tolist() == [1, 0, 1]
    weights = dataset.class_weights
    assert weights is not None and weights.dtype == np.float32
    assert weights * dataset.class_counts == pytest.approx([100 / 3] * 3)


def test_a_class_without_pictures_does_no_harm():
    weights = _dataset([10, 0, 30]).class_weights
    assert weights is not None
    assert weights[[0, 2]] == pytest.approx([2, 2 / 3])
    assert np.isfinite(weights).all()


@pytest.mark.parametrize("counts", [[10, 10], [100, 149], [2, 2, 2], [5, 0, 5]])
def test_classes_of_about_one_size_need_no_weights(counts):
    assert _dataset(counts).class_weights is None


def test_weighted_loss_and_its_slope():
    rng = np.random.default_rng(0)
    z, labels, weights = (
        rng.normal(size=(6, 3)),
        np.array([0, 1, 2, 2, 1, 0]),
        np.array([0.5, 1, 4]),
    )
    loss, gradient = softmax_cross_entropy(z, labels, weights)
    alone = [softmax_cross_entropy(z[k : k + 1], labels[k : k + 1])[0] for k in range(6)]
    assert loss == pytest.approx(np.dot(alone, weights[labels]))
    for index in np.ndindex(z.shape):
        losses = []
        for step in (1e-6, -1e-6):
            moved = z.copy()
            moved[index] += step
            losses.append(softmax_cross_entropy(moved, labels, weights)[0])
        assert gradient[index] == pytest.approx((losses[0] - losses[1]) / 2e-6, abs=1e-7)
    ones = softmax_cross_entropy(z, labels, np.ones(3))
    plain = softmax_cross_entropy(z, labels)
    assert ones[0] == plain[0] and np.array_equal(ones[1], plain[1])


class _Unweighted(Dataset):
    class_weights = None


def test_weights_help_the_small_classes():
    """Five digits with a tenth of their pictures: the worst of them gain most."""
    digits = datasets.load("digits")
    rng = np.random.default_rng(1)
    kept = (digits.y_train < 5) | (rng.random(len(digits.y_train)) < 0.1)
    dataset = replace(digits, x_train=digits.x_train[kept], y_train=digits.y_train[kept])
    plain = _Unweighted(**vars(dataset))
    small = []
    for each in (dataset, plain):
        scores = recipes.train(each, epochs=15).scores
        matrix = confusion_matrix(scores, each.y_test, 10)
        small.append(recalls(matrix)[5:].mean())
    weighted, unweighted = small
    assert weighted > unweighted + 0.05


def test_confusion_matrix():
    scores = np.array([[9, 1, 0], [1, 1, 0], [0, 5, 9], [0, 3, 1], [0, 0, 1]])
    matrix = confusion_matrix(scores, np.array([0, 0, 1, 1, 1]), 3)
    assert matrix.tolist() == [[2, 0, 0], [0, 1, 2], [0, 0, 0]]
    assert recalls(matrix)[:2] == pytest.approx([1, 1 / 3])
    assert np.isnan(recalls(matrix)[2])
    assert mean_recall(matrix) == pytest.approx(2 / 3)
    assert most_confused(matrix, 5) == [(1, 2, 2)]
    assert most_confused(np.array([[1, 2, 3], [4, 0, 5], [6, 0, 0]]), 2) == [(2, 0, 6), (1, 2, 5)]
