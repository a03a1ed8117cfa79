"""`host train paper`: the files it writes, and what it says."""

from __future__ import annotations

import csv
import sys

import numpy as np
import pytest
from PIL import Image

from model import paper

PICTURES = {"image.png", "filters.png", "nodes.png", "output.png", "statistics.png"}


def _rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_files(host, tmp_path):
    folder = tmp_path / "new" / "paper"
    report = host("train", "paper", "-o", folder, "--json")
    assert {"rule", "iterations", "right", "error", "filters", "weights", "steps"} <= set(report)
    assert (report["rule"], report["iterations"], report["right"]) == ("paper", 1000, 1)
    assert sorted(report["files"]) == sorted(path.name for path in folder.iterdir())
    assert set(report["files"]) >= PICTURES
    record = paper.run()
    iterations = _rows(folder / "iterations.csv")
    assert [int(row["iteration"]) for row in iterations] == list(range(1, 1001))
    for name, values in (("filter", record.filters_used), ("weight", record.weights_left)):
        flat = values.reshape(1000, -1)
        for which, expected in (("minimum", flat.min(1)), ("maximum", flat.max(1))):
            written = [float(row[f"{name}_{which}"]) for row in iterations]
            assert np.allclose(written, expected, rtol=1e-8, atol=1e-12)
        written = [float(row[f"{name}_average"]) for row in iterations]
        assert np.allclose(written, flat.mean(1), rtol=1e-8, atol=1e-12)
    final = _rows(folder / "weights_final.csv")
    written = [[float(row[f"class_{k}"]) for k in range(4)] for row in final]
    assert np.allclose(written, record.weights[-1], atol=1e-8)
    filters = _rows(folder / "filters_final.csv")
    assert len(filters) == 27
    row = filters[14]
    value = record.filters[-1][int(row["row"]), int(row["column"]), int(row["filter"])]
    assert float(row["value"]) == pytest.approx(value, abs=1e-8)
    initial = _rows(folder / "weights_initial.csv")
    assert float(initial[0]["class_0"]) == 0.526


@pytest.mark.parametrize("words", [(), ("--shapes",), ("--shapes", "--rule", "gradient")])
def test_pictures(host, tmp_path, words):
    report = host("train", "paper", "-o", tmp_path, "--epochs", 20, *words, "--json")
    assert report["iterations"] == 20
    for name in PICTURES:
        with Image.open(tmp_path / name) as drawn:
            assert min(drawn.size) > 200
            assert len(np.unique(np.asarray(drawn.convert("L")))) > 2


def test_text(host, tmp_path):
    text = host("train", "paper", "-o", tmp_path)
    assert "-0.772" in text
    assert "1 of 1 picture right, squared error 0.6234 before, 5.19e-05 after" in text
    assert f"14 files in {tmp_path}" in text


def test_what_makes_no_sense_is_refused(host, tmp_path):
    (tmp_path / "file").write_text("text")
    assert "it is no folder" in host("train", "paper", "-o", tmp_path / "file", fails=1)
    words = ("train", "paper", "-o", tmp_path / "new.tflite")
    assert "writes a folder, and no model" in host(*words, fails=1)
    words = ("train", "paper", "-o", tmp_path / "new")
    assert "--seed means nothing to `host train paper`" in host(*words, "--seed", 1, fails=1)
    assert "invalid choice: 'magic'" in host(*words, "--rule", "magic", fails=2)
    assert "whole number from 1" in host(*words, "--epochs", 0, fails=2)
    assert not (tmp_path / "new").exists()
    words = ("train", "patterns", "-o", tmp_path / "new")
    for option in (("--rule", "gradient"), ("--shapes",)):
        assert f"{option[0]} means nothing" in host(*words, *option, fails=1)


def test_without_matplotlib_one_line_says_what_to_install(host, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    message = host("train", "paper", "-o", tmp_path, "--epochs", 2, fails=1)
    assert "pip install matplotlib" in message
