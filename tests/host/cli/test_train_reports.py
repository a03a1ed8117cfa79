"""`host train` on one's own data: what it says of the classes, and one line for what is wrong."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from PIL import Image

from host import cli
from host.cli.class_report import as_data, as_text
from host.cli.common import loading
from model.datasets import datasets
from model.datasets.datasets import Dataset


@pytest.fixture
def folder(tmp_path):
    """Bright and dark pictures, twelve and three, with some noise."""
    rng = np.random.default_rng(0)
    for label, base, count in (("bright", 180, 30), ("dark", 20, 5)):
        (tmp_path / "pictures" / label).mkdir(parents=True)
        for index in range(count):
            pixels = base + rng.integers(0, 60, (20, 24, 3))
            picture = Image.fromarray(pixels.astype(np.uint8))
            picture.save(tmp_path / "pictures" / label / f"{index}.png")
    return tmp_path / "pictures"


def test_json(host, folder, tmp_path):
    report = host("train", folder, "-o", tmp_path / "m.tflite", "--epochs", 60, "--json")
    assert report["classes"] == [
        {"label": "bright", "train": 24, "test": 6, "right": 1.0},
        {"label": "dark", "train": 4, "test": 1, "right": 1.0},
    ]
    assert report["confusion"] == [[6, 0], [0, 1]]
    assert report["class_weights"] == pytest.approx([28 / 48, 28 / 8])
    assert report["mean_class_accuracy"] == 1.0
    assert report["notes"] == []


def test_text_and_notes(host, folder, tmp_path, capsys):
    (folder / "dark" / "notes.txt").write_text("")
    words = ["train", str(folder), "-o", str(tmp_path / "m.tflite"), "--epochs", "60"]
    assert cli.main(words) == 0
    out, err = capsys.readouterr()
    assert "note: 1 file is left out, no picture by the name: dark/notes.txt" in err
    lines = out.splitlines()
    assert lines[0].split() == "class to learn to test right taken for: bright dark".split()
    assert lines[1].split() == ["bright", "24", "6", "100.0%", "6", "."]
    assert lines[2].split() == ["dark", "4", "1", "100.0%", ".", "1"]
    assert "counted 0.58 to 3.50 times" in out
    assert "mean over the classes: 100.00% right" in out


def test_reading_many_pictures_is_shown_on_a_terminal(folder, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "100")
    with loading() as show:
        assert capsys.readouterr().err == ""
        datasets.load(folder, show)
    out, err = capsys.readouterr()
    assert out == "" and "Reading pictures" in err and "35/35" in err


def test_many_classes_are_told_by_their_mistakes():
    count = 25
    labels = tuple(f"class number {index}" for index in range(count))
    x, y = np.zeros((count, 4, 4, 1), np.uint8), np.arange(count)
    dataset = Dataset("many", x, y, x, y, labels)
    matrix = np.diag(np.full(count, 7))
    matrix[3, 5] = 2
    text = as_text(as_data(dataset, matrix))
    assert "class number 3 taken for class number 5: 2 times" in text
    assert "taken for:" not in text and max(map(len, text.splitlines())) < 100
    few = as_text(as_data(Dataset("few", x[:2], y[:2], x[:2], y[:2], labels[:2]), matrix[:2, :2]))
    assert "class n…" in few


X = np.random.default_rng(0).integers(0, 256, (20, 4, 4)).astype(np.uint8)
Y = np.arange(20) % 2
BROKEN = X.astype(np.float32)
BROKEN[0, 0, 0] = np.nan
BAD = {
    "NaN": ({"x": BROKEN, "y": Y}, "pixels are float32, 1 of them NaN or infinite; uint8"),
    "floats": ({"x": X / 255, "y": Y}, "pixels are float64; uint8"),
    "shorts": ({"x": X.astype(np.int16), "y": Y}, "pixels are int16; uint8"),
    "truths": ({"x": X > 100, "y": Y}, "pixels are bool; uint8"),
    "class NaN": ({"x": X, "y": Y * np.nan}, "classes are float64; integers from 0"),
    "class names": ({"x": X, "y": Y.astype(str)}, "classes are <U21; integers from 0"),
    "huge class": ({"x": X, "y": Y * 10**15}, "class 1000000000000000 is out of range"),
    "no label": ({"x": X, "y": Y, "labels": ["a"]}, "class 1 has no label; there are 1"),
    "label twice": ({"x": X, "y": Y, "labels": ["a", "a"]}, "two classes are named 'a'"),
    "label empty": ({"x": X, "y": Y, "labels": ["a", ""]}, "'' is no line of plain text"),
    "label lines": ({"x": X, "y": Y, "labels": ["a", "b\nc"]}, "is no line of plain text"),
    "label numbers": ({"x": X, "y": Y, "labels": [1, 2]}, "labels are int64; strings"),
    "all the same": ({"x": X * 0, "y": Y}, "all pictures are the same; there is nothing to learn"),
    "one class": ({"x": X, "y": Y * 0}, "one class only"),
    "empty class": ({"x": X, "y": Y * 2}, "class 1 has 0 pictures; at least 2 are needed"),
    "lonely": ({"x": X, "y": np.eye(20, dtype=int)[0]}, "class 1 has 1 picture; at least 2"),
    "mixed sizes": (
        {"x": np.array([X[0], X[0, :3]], object), "y": Y[:2]},
        "as pictures of mixed sizes make it",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arrays(host, case, tmp_path):
    arrays, reason = BAD[case]
    np.savez(tmp_path / "bad.npz", **arrays)
    message = host("train", tmp_path / "bad.npz", "-o", tmp_path / "m.tflite", fails=1)
    assert reason in message and "bad.npz" in message
    assert not (tmp_path / "m.tflite").exists()


def test_classes_as_a_column_and_labels_as_bytes(host, tmp_path):
    labels = np.array([b"no", b"yes"])
    np.savez(tmp_path / "a.npz", x=X, y=Y[:, np.newaxis].astype(np.uint64), labels=labels)
    words = ("train", tmp_path / "a.npz", "-o", tmp_path / "m.tflite", "--epochs", 1, "--json")
    assert [each["label"] for each in host(*words)["classes"]] == ["no", "yes"]


def test_bad_folders(host, folder, tmp_path):
    words = ("-o", tmp_path / "m.tflite")
    (folder / "empty").mkdir()
    assert "empty: no pictures in it" in host("train", folder, *words, fails=1)
    (folder / "empty" / "bad.jpg").write_bytes(b"\xff\xd8\xff")
    assert "bad.jpg: this is no picture" in host("train", folder, *words, fails=1)
    message = host("train", folder / "dark", *words, fails=1)
    assert "no subfolders; a subfolder for each of two classes or more is needed" in message


@pytest.mark.parametrize("seed", ["-1", "x", "1.5", ""])
def test_bad_seeds(host, seed, tmp_path):
    words = ("-o", tmp_path / "m.tflite", f"--seed={seed}")
    assert "must be a whole number from 0" in host("train", "patterns", *words, fails=2)
    assert "must be a whole number from 0" in host("demo", f"--seed={seed}", fails=2)
