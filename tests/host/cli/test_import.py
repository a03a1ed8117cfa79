"""`host import`: what it prints and writes, and one line for everything that can go wrong."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.datasets import datasets
from model.int8 import reference, tflite
from tests.host.fake_board import FakePort
from tests.model.importing.onnx_files import write

pytest.importorskip("onnx")

DATA = Path(__file__).parents[2] / "model" / "importing" / "data"
DIGITS = str(DATA / "digits.onnx")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "my.tflite"


def test_a_classifier_of_digits(host, file: Path) -> None:
    told = host("import", DIGITS, "--data", "digits", "-o", str(file), "--json")
    assert told["layout"] == "NCHW"
    assert [each["op"] for each in told["operators"]][:2] == ["CONV_2D", "MAX_POOL_2D"]
    assert told["float_accuracy"] > 0.95
    assert told["int8_accuracy"] > told["float_accuracy"] - 0.01
    assert told["agreement"] > 0.98 and told["snr_db"] > 30 and told["notes"] == []
    graph = tflite.load(file)
    assert graph.labels == tuple("0123456789") and graph.name == "my"
    samples = datasets.samples("digits")
    answers = reference.predict(graph, samples.x).reshape(len(samples.x), -1).argmax(axis=1)
    assert (answers == samples.y).mean() == told["int8_accuracy"]


def test_a_normalisation_that_is_named(host, file: Path) -> None:
    words = ("import", str(DATA / "digits_normalised.onnx"), "--data", "digits", "-o", str(file))
    told = host(*words, "--mean", "0.3", "--std", "0.4", "--json")
    assert told["float_accuracy"] > 0.95 and told["int8_accuracy"] > 0.95
    assert told["input"]["scale"] == pytest.approx(1 / (255 * 0.4))
    text = host(*words, "--range", "-0.75", "1.75")
    assert "NCHW, " in text and "signal to noise" in text and f"{file} is written" in text


def test_accuracy_near_chance_is_told(host, file: Path, tmp_path: Path) -> None:
    digits = datasets.load("digits")
    data = tmp_path / "wrong.npz"
    np.savez(data, x=digits.x_test, y=(digits.y_test + 5) % 10)
    told = host("import", DIGITS, "--data", str(data), "-o", str(file), "--json")
    assert any("near chance: is the normalisation right" in note for note in told["notes"])


def test_a_folder_of_pictures_and_labels(host, file: Path, tmp_path: Path) -> None:
    digits = datasets.load("digits")
    for label in range(10):
        folder = tmp_path / "pictures" / f"{label}"
        folder.mkdir(parents=True)
        for number, picture in enumerate(digits.x_test[digits.y_test == label][:6]):
            large = Image.fromarray(picture[..., 0]).resize((24, 24))
            large.convert("RGB").save(folder / f"{number}.png")
    names = "zero,one,two,three,four,five,six,seven,eight,nine"
    told = host(
        "import",
        DIGITS,
        "--data",
        str(tmp_path / "pictures"),
        "-o",
        str(file),
        "--json",
        "--labels",
        names,
    )
    assert told["count"] == 10 and told["float_accuracy"] >= 0.7
    assert tflite.load(file).labels == tuple(names.split(","))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("gone.onnx", "--data", "digits"), "gone.onnx: there is no such file"),
        ((__file__, "--data", "digits"), "or no ONNX model: it is a text file ("),
        ((DIGITS, "--data", "patterns"), "but the model takes 8x8x1"),
        ((DIGITS, "--data", "nothing"), "no data set 'nothing'"),
        ((DIGITS, "--data", "digits", "--labels", "a,b"), "2 names; the model has 10 outputs"),
        ((DIGITS, "--data", "digits", "--mean", "1", "2"), "2 numbers for mean"),
        ((DIGITS, "--data", "digits", "--std", "0"), "std of 0: a deviation is above 0"),
        ((DIGITS, "--data", "digits", "--std", "-1"), "std of -1: a deviation is above 0"),
        ((DIGITS, "--data", "digits", "--range", "1", "1"), "black and white are the same"),
        ((DIGITS, "--data", "digits", "--range", "0", "1", "--mean", "1"), "stands in place of"),
        ((DIGITS, "--data", "digits", "--tensor", "q"), "has no output q; its outputs are"),
    ],
)
def test_errors_are_one_line(host, file: Path, words: tuple[str, ...], message: str) -> None:
    told = host("import", *words, "-o", str(file), fails=1)
    assert message in told and "\n" not in told
    assert not file.exists()


def test_what_is_no_onnx_needs_no_package(host, file: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    told = host("import", __file__, "--data", "digits", "-o", str(file), fails=1)
    assert "is no ONNX model: it is a text file (" in told
    assert "pip install" in host("import", DIGITS, "--data", "digits", "-o", str(file), fails=1)


def test_inputs_that_are_real_numbers(host, file: Path, tmp_path: Path) -> None:
    digits = datasets.load("digits")
    data = tmp_path / "real.npz"
    np.savez(data, x=digits.x_test.astype(np.float32) / 255, y=digits.y_test)
    words = ("import", DIGITS, "--data", str(data), "-o", str(file))
    assert host(*words, "--json")["int8_accuracy"] > 0.95
    assert "real numbers, not pixels" in host(*words, "--mean", "0.5", fails=1)


def test_few_inputs_are_told(host, file: Path, tmp_path: Path) -> None:
    data = tmp_path / "few.npz"
    np.savez(data, x=datasets.load("digits").x_test[:3])
    told = host("import", DIGITS, "--data", str(data), "-o", str(file), "--json")
    assert any(note.startswith("3 inputs say little") for note in told["notes"])


def test_what_has_no_int8_form_names_file_and_node(host, file: Path, tmp_path: Path) -> None:
    path = write(tmp_path / "m.onnx", [("Softplus", "x", "y")], {}, (1, 4))
    data = tmp_path / "x.npz"
    np.savez(data, x=np.random.default_rng(0).random((30, 4)).astype(np.float32))
    told = host("import", str(path), "--data", str(data), "-o", str(file), fails=1)
    assert f"{path}: node the_Softplus (softplus): has no int8 form" in told


def test_keras(host, file: Path) -> None:
    pytest.importorskip("h5py")
    words = ("import", str(DATA / "digits.keras"), "--data", "digits", "-o", str(file))
    told = host(*words, "--json")
    assert told["layout"] == "NHWC" and told["operators"][-1]["op"] == "SOFTMAX"
    assert told["float_accuracy"] > 0.95 and told["int8_accuracy"] > 0.95


def test_learning_on(host, file: Path, tmp_path: Path) -> None:
    words = ("import", DIGITS, "--data", "digits", "-o", str(file), "--epochs", "1", "--json")
    told = host(*words)
    held_out = told["held_out_accuracy"]
    assert held_out["after"] > 0.9 and told["int8_accuracy"] > 0.93
    assert host(*words)["int8_accuracy"] == told["int8_accuracy"]  # the same seed, the same network
    digits = datasets.load("digits")
    np.savez(tmp_path / "x.npz", x=digits.x_test)
    words = ("import", DIGITS, "--data", str(tmp_path / "x.npz"), "-o", str(file), "--epochs", "1")
    assert "learning needs classes (y)" in host(*words, fails=1)
    assert "must be above 0" in host(*words, "--rate", "-1", fails=1)


def test_from_a_float_network_to_the_board(host, file: Path, connect, fake_board) -> None:
    """What was imported runs on the engine, layer by layer as the reference says."""
    host("import", DIGITS, "--data", "digits", "-o", str(file))
    connect(FakePort(fake_board))
    host("upload-weights", str(file), "--port", "p")
    words = ("verify", str(file), "--port", "p", "--data", "digits", "--count", "2", "--layers")
    assert host(*words, "--json")["mismatches"] == 0


def test_sizes_that_a_model_leaves_open_come_from_the_data(
    host, file: Path, tmp_path: Path
) -> None:
    import onnx

    model = onnx.load(DATA / "digits.onnx")
    for axis, name in ((0, "n"), (2, "h"), (3, "w")):
        model.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = name
    path = tmp_path / "open.onnx"
    onnx.save(model, path)
    words = ("import", str(path), "-o", str(file), "--data")
    assert "must come from an .npz of pictures" in host(*words, "digits", fails=1)
    digits = datasets.load("digits")
    np.savez(tmp_path / "x.npz", x=digits.x_test, y=digits.y_test)
    assert host(*words, str(tmp_path / "x.npz"), "--json")["float_accuracy"] > 0.95
