"""`.keras` files as float graphs: against what Keras computed, and what must be refused."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.errors import ModelError
from model.importing.formulas import recognize
from model.importing.importer import read_model
from model.importing.simplification import simplify, takes_bytes

h5py = pytest.importorskip("h5py")

DATA = Path(__file__).parent / "data"


@pytest.mark.parametrize("name", ["picture", "sequence"])
def test_a_network_computes_what_keras_computes(name: str) -> None:
    graph, layout = read_model(DATA / f"{name}.keras")
    with np.load(DATA / "keras.npz") as arrays:
        x, y = arrays[f"{name}_x"], arrays[f"{name}_y"]
    x = x.reshape(len(x), *graph.shapes[0])
    assert layout == "NHWC"
    np.testing.assert_allclose(graph.run(x)[0], y, atol=1e-5)
    nodes = len(graph.nodes)
    recognize(graph)
    simplify(graph)
    assert len(graph.nodes) < nodes
    np.testing.assert_allclose(graph.run(x)[0], y, atol=1e-5)


def test_scaling_inside_is_noticed() -> None:
    assert takes_bytes(read_model(DATA / "picture.keras")[0])
    assert not takes_bytes(read_model(DATA / "digits.keras")[0])


def changed(path: Path, change: Any) -> Path:
    """A copy of the digits' file whose configuration `change` has altered in place."""
    with zipfile.ZipFile(DATA / "digits.keras") as archive:
        config = json.loads(archive.read("config.json"))
        weights = archive.read("model.weights.h5")
    change(config)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("model.weights.h5", weights)
    return path


def layer(config: dict, number: int) -> dict:
    return config["config"]["layers"][number]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.update(class_name="Model2"), "Model2 models are not supported"),
        (lambda c: layer(c, 1).update(class_name="LSTM"), " (LSTM): is not supported"),
        (
            lambda c: layer(c, 1)["config"].update(data_format="channels_first"),
            " (Conv2D): channels first",
        ),
        (lambda c: layer(c, 1)["config"].update(padding="odd"), "padding 'odd'"),
        (lambda c: layer(c, 1)["config"].update(strides=[0, 1]), "strides (0, 1)"),
        (lambda c: layer(c, 3)["config"].update(threshold=0.5), "a threshold is not supported"),
        (lambda c: layer(c, 5)["config"].update(activation="cubic"), "activation cubic"),
        (lambda c: layer(c, 0)["config"].update(batch_shape=[None, None, 8, 1]), "given sizes"),
        (
            lambda c: layer(c, 0)["config"].update(batch_shape=[None, 8, 8, 2]),
            "weights for 1 input",
        ),
        (lambda c: c["config"].pop("layers"), "its configuration makes no sense"),
        (lambda c: c["config"].update(layers=[[1]]), "its configuration makes no sense"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(tmp_path: Path, change: Any, message: str) -> None:
    path = changed(tmp_path / "model.keras", change)
    with pytest.raises(ModelError) as caught:
        read_model(path)
    text = str(caught.value)
    assert message in text and text.startswith(f"{path}: ") and "\n" not in text


def test_links_out_of_the_file_are_refused(tmp_path: Path) -> None:
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        file["layers/conv2d"] = h5py.ExternalLink("/etc/hostname", "/")
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(DATA / "digits.keras") as source, zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", source.read("config.json"))
        archive.writestr("model.weights.h5", content.getvalue())
    with pytest.raises(ModelError, match="its weights conv2d lie elsewhere"):
        read_model(path)


def test_sizes_beyond_all_bounds_are_refused_in_one_line(tmp_path: Path) -> None:
    with zipfile.ZipFile(DATA / "digits.keras") as archive:
        config, weights = (archive.read(name) for name in ("config.json", "model.weights.h5"))
    path = tmp_path / "model.keras"
    for place in range(96):
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("config.json", config)
            archive.writestr("model.weights.h5", weights[:place] + b"U" + weights[place + 1 :])
        try:
            read_model(path)
        except ModelError as refusal:
            assert "\n" not in str(refusal)


def test_damaged_files_are_refused_in_one_line(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    with zipfile.ZipFile(DATA / "digits.keras") as archive:
        parts = {name: archive.read(name) for name in ("config.json", "model.weights.h5")}
    path = tmp_path / "model.keras"
    for trial in range(120):
        data = {name: bytearray(content) for name, content in parts.items()}
        target = data["config.json" if trial % 2 else "model.weights.h5"]
        if trial % 3:
            for place in rng.integers(0, len(target), 3):
                target[place] = int(rng.integers(256))
        else:
            del target[int(rng.integers(len(target))) :]
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in data.items():
                archive.writestr(name, bytes(content))
        try:
            read_model(path)
        except ModelError as refusal:
            assert "\n" not in str(refusal)
