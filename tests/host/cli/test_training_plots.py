"""`host train --plots`: every picture, for every kind of network and data."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from model.datasets.datasets import Dataset
from model.plots.training import draw_training
from model.training import recipes

ALWAYS = {"curves.png", "feature_maps.png", "confusion.png", "weights.png"}


def _check(path) -> None:
    """A picture of a readable size with something on it."""
    with Image.open(path) as picture:
        assert min(picture.size) > 200 and max(picture.size) < 4000
        grey = np.asarray(picture.convert("L"))
    assert len(np.unique(grey)) > 10
    assert 0.002 < (grey < 200).mean() < 0.9


@pytest.mark.parametrize(
    ("name", "filters"),
    [("patterns", {"filters_conv1.png"}), ("digits", {"filters_conv1.png", "filters_conv2.png"})],
)
def test_plots(host, tmp_path, name, filters):
    folder = tmp_path / "new" / "plots"
    words = ("train", name, "-o", tmp_path / "m.tflite", "--epochs", 2, "--plots", folder)
    report = host(*words, "--json")
    assert set(report["plots"]) == ALWAYS | filters
    assert {path.name for path in folder.iterdir()} == ALWAYS | filters
    for path in folder.iterdir():
        _check(path)
    assert f"{len(ALWAYS | filters)} plots in {folder}" in host(*words)


@pytest.mark.parametrize(
    ("shape", "classes"), [((2, 2, 1), 2), ((4, 4, 1), 30), ((33, 35, 3), 3), ((8, 12, 2), 2)]
)
def test_any_pictures_and_classes(tmp_path, shape, classes):
    rng = np.random.default_rng(0)
    y = np.arange(3 * classes) % classes
    x = rng.integers(0, 256, (len(y), *shape)).astype(np.uint8)
    # A script that no font here has, a formula that is none, a very long name.
    labels = ("林檎", "$\\frac{$ and $5", "a name that is longer than any axis has room for")
    labels = (*labels, *(f"class {index}" for index in range(classes)))[:classes]
    dataset = Dataset("$x^", x, y, x, y, labels)
    files = draw_training(dataset, recipes.train(dataset, epochs=1), tmp_path)
    assert {path.name for path in files} >= ALWAYS
    for path in files:
        _check(path)


def test_same_training_with_and_without_plots(host, tmp_path):
    plain, plotted = tmp_path / "a.tflite", tmp_path / "b.tflite"
    host("train", "patterns", "-o", plain, "--epochs", 2)
    host("train", "patterns", "-o", plotted, "--epochs", 2, "--plots", tmp_path / "plots")
    assert plain.read_bytes() == plotted.read_bytes()


def test_a_folder_that_cannot_be_written_is_refused_before_the_work(host, tmp_path):
    (tmp_path / "file").write_text("text")
    words = ("train", "patterns", "-o", tmp_path / "m.tflite", "--plots", tmp_path / "file")
    assert "it is no folder" in host(*words, fails=1)
    assert not (tmp_path / "m.tflite").exists()
    words = ("train", "paper", "-o", tmp_path / "paper", "--plots", tmp_path / "plots")
    assert "--plots means nothing to `host train paper`" in host(*words, fails=1)
