"""Single Keras layers, in files made here, against what their documentation says they compute."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.errors import ModelError
from model.importing.float_graph import FloatGraph
from model.importing.importer import read_model

h5py = pytest.importorskip("h5py")

RNG = np.random.default_rng(0)
PICTURE = (6, 5, 4)
SEQUENCE = (8, 4)


def numbers(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape)


KERNEL, SPREAD = numbers(3, 3, 4, 2), numbers(4)
VARIANCE = RNG.uniform(0.5, 2, 4)


def layer(kind: str, config: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"class_name": kind, "config": {"name": f"the_{kind}", **(config or {})}, **more}


def saved(path: Path, config: dict[str, Any], weights: dict[str, list[np.ndarray]]) -> Path:
    content = io.BytesIO()
    with h5py.File(content, "w") as file:
        for name, variables in weights.items():
            for place, values in enumerate(variables):
                file[f"layers/{name}/vars/{place}"] = values
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", json.dumps(config))
        archive.writestr("model.weights.h5", content.getvalue())
    return path


def sequential(*layers: dict[str, Any], shape: tuple[Any, ...] = PICTURE) -> dict[str, Any]:
    first = layer("InputLayer", {"batch_shape": [None, *shape]})
    return {"class_name": "Sequential", "config": {"layers": [first, *layers]}}


def read(folder: Path, kind: str, config: dict, weights: list, shape: tuple) -> FloatGraph:
    stem = {"Conv2DTranspose": "conv2d_transpose", "PReLU": "p_re_lu"}.get(kind)
    stem = stem or "".join(f"_{c.lower()}" if c.isupper() else c for c in kind)[1:]
    stem = stem.replace("2_d", "2d").replace("1_d", "1d")
    path = saved(folder / "m.keras", sequential(layer(kind, config), shape=shape), {stem: weights})
    return read_model(path)[0]


def softmax(x: np.ndarray) -> np.ndarray:
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def turned(x: np.ndarray) -> np.ndarray:
    """A transposed convolution by its definition: each pixel adds its kernel."""
    y = np.zeros((len(x), 13, 11, 2))
    kernel = KERNEL.transpose(0, 1, 3, 2)  # rows, columns, outputs, inputs
    for row in range(6):
        for column in range(5):
            y[:, 2 * row : 2 * row + 3, 2 * column : 2 * column + 3] += np.einsum(
                "nc,ijoc->nijo", x[:, row, column], kernel
            )
    return y


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "linear": lambda x: x,
    "sigmoid": sigmoid,
    "tanh": np.tanh,
    "softmax": softmax,
    "log_softmax": softmax,  # without the logarithm
    "hard_sigmoid": lambda x: np.clip(x / 6 + 0.5, 0, 1),
    "hard_silu": lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    "silu": lambda x: x * sigmoid(x),
    "elu": lambda x: np.where(x > 0, x, np.expm1(x)),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.2 * x),
    "softplus": lambda x: np.log1p(np.exp(x)),
    "softsign": lambda x: x / (1 + np.abs(x)),
    "mish": lambda x: x * np.tanh(np.log1p(np.exp(x))),
    "exponential": np.exp,
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name: str, tmp_path: Path) -> None:
    w, b = numbers(4, 3), numbers(3)
    path = saved(
        tmp_path / "m.keras",
        sequential(layer("Dense", {"activation": name}), shape=(4,)),
        {"dense": [w, b]},
    )
    graph, _ = read_model(path)
    x = RNG.normal(size=(5, 4)).astype(np.float32)
    np.testing.assert_allclose(graph.run(x)[0], ACTIVATIONS[name](x @ w + b), atol=1e-5)
    assert any("in place of its logarithm" in note for note in graph.notes) == ("log" in name)


CASES: dict[str, tuple[Any, ...]] = {
    # Kind, configuration, variables, what it computes; a sequence where a shape is last
    "dense of pixels": (
        "Dense",
        {},
        [KERNEL[0, 0], SPREAD[:2]],
        lambda x: x @ KERNEL[0, 0] + SPREAD[:2],
    ),
    "transposed": (
        "Conv2DTranspose",
        {"strides": [2, 2], "use_bias": False},
        [KERNEL.transpose(0, 1, 3, 2)],
        turned,
    ),
    "transposed, same": (
        "Conv2DTranspose",
        {"strides": [2, 2], "padding": "same"},
        [KERNEL.transpose(0, 1, 3, 2), SPREAD[:2]],
        lambda x: turned(x)[:, :12, :10] + SPREAD[:2],
    ),
    "normalise": (
        "BatchNormalization",
        {"axis": [3], "epsilon": 0.01},
        [SPREAD, SPREAD + 1, SPREAD - 1, VARIANCE],
        lambda x: (x - SPREAD + 1) / np.sqrt(VARIANCE + 0.01) * SPREAD + SPREAD + 1,
    ),
    "normalise, without scale": (
        "BatchNormalization",
        {"scale": False, "center": False},
        [SPREAD, VARIANCE],
        lambda x: (x - SPREAD) / np.sqrt(VARIANCE + 1e-3),
    ),
    "mean and variance": (
        "Normalization",
        {},
        [SPREAD, VARIANCE],
        lambda x: (x - SPREAD) / np.sqrt(VARIANCE),
    ),
    "mean and variance, inverted": (
        "Normalization",
        {"mean": SPREAD.tolist(), "variance": VARIANCE.tolist(), "invert": True},
        [],
        lambda x: x * np.sqrt(VARIANCE) + SPREAD,
    ),
    "rescale": ("Rescaling", {"scale": 0.5, "offset": -1}, [], lambda x: x * 0.5 - 1),
    "max pool": (
        "MaxPooling2D",
        {"pool_size": [2, 2]},
        [],
        lambda x: x[:, :, :4].reshape(-1, 3, 2, 2, 2, 4).max(axis=(2, 4)),
    ),
    "average pool, strides": (
        "AveragePooling2D",
        {"pool_size": 2, "strides": [4, 3]},
        [],
        lambda x: np.stack(
            [[x[:, r : r + 2, c : c + 2].mean(axis=(1, 2)) for c in (0, 3)] for r in (0, 4)]
        ).transpose(2, 0, 1, 3),
    ),
    "average of a sequence": (
        "AveragePooling1D",
        {"pool_size": [2], "padding": "same"},
        [],
        lambda x: x.reshape(-1, 4, 2, 4).mean(axis=2),
        SEQUENCE,
    ),
    "global": ("GlobalAveragePooling2D", {}, [], lambda x: x.mean(axis=(1, 2))),
    "global, kept": (
        "GlobalMaxPooling2D",
        {"keepdims": True},
        [],
        lambda x: x.max(axis=(1, 2), keepdims=True),
    ),
    "reshape": ("Reshape", {"target_shape": [-1, 8]}, [], lambda x: x.reshape(-1, 15, 8)),
    "permute": ("Permute", {"dims": [3, 1, 2]}, [], lambda x: x.transpose(0, 3, 1, 2)),
    "permute a sequence": (
        "Permute",
        {"dims": [2, 1]},
        [],
        lambda x: x.transpose(0, 2, 1),
        SEQUENCE,
    ),
    "pad": (
        "ZeroPadding2D",
        {"padding": [[1, 0], [0, 2]]},
        [],
        lambda x: np.pad(x, ((0, 0), (1, 0), (0, 2), (0, 0))),
    ),
    "pad alike": (
        "ZeroPadding2D",
        {"padding": 1},
        [],
        lambda x: np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0))),
    ),
    "pad a sequence": (
        "ZeroPadding1D",
        {"padding": [2, 1]},
        [],
        lambda x: np.pad(x, ((0, 0), (2, 1), (0, 0))),
        SEQUENCE,
    ),
    "crop a sequence": ("Cropping1D", {"cropping": 2}, [], lambda x: x[:, 2:-2], SEQUENCE),
    "crop": ("Cropping2D", {"cropping": [1, [2, 0]]}, [], lambda x: x[:, 1:-1, 2:]),
    "enlarge": ("UpSampling2D", {"size": [2, 3]}, [], lambda x: x.repeat(2, 1).repeat(3, 2)),
    "relu of all kinds": (
        "ReLU",
        {"max_value": 1.0, "negative_slope": 0.25},
        [],
        lambda x: np.minimum(np.where(x > 0, x, 0.25 * x), 1),
    ),
    "relu": ("ReLU", {"max_value": 0.5}, [], lambda x: np.clip(x, 0, 0.5)),
    "leaky": ("LeakyReLU", {"alpha": 0.1}, [], lambda x: np.where(x > 0, x, 0.1 * x)),
    "elu": ("ELU", {"alpha": 0.5}, [], lambda x: np.where(x > 0, x, 0.5 * np.expm1(x))),
    "prelu": ("PReLU", {}, [SPREAD.reshape(1, 1, 4)], lambda x: np.where(x > 0, x, SPREAD * x)),
    "prelu of a sequence": (
        "PReLU",
        {},
        [SPREAD.reshape(1, 4)],
        lambda x: np.where(x > 0, x, SPREAD * x),
        SEQUENCE,
    ),
    "softmax": ("Softmax", {"axis": 3}, [], softmax),
    "flatten": ("Flatten", {}, [], lambda x: x.reshape(len(x), -1)),
    "dropout, then tanh": ("Activation", {"activation": "tanh"}, [], np.tanh),
}


@pytest.mark.parametrize("name", CASES)
def test_a_layer_computes_what_its_documentation_says(name: str, tmp_path: Path) -> None:
    kind, config, weights, compute, *rest = CASES[name]
    shape = rest[0] if rest else PICTURE
    graph = read(tmp_path, kind, config, weights, shape)
    x = RNG.normal(size=(3, *shape)).astype(np.float32)
    want = compute(x.astype(np.float64))
    (found,) = graph.run(x.reshape(3, *graph.shapes[0]))
    np.testing.assert_allclose(found.reshape(want.shape), want, atol=1e-5)


def tensor(name: str) -> dict[str, Any]:
    return {"class_name": "__keras_tensor__", "config": {"keras_history": [name, 0, 0]}}


def node(*arguments: Any) -> list[dict[str, Any]]:
    return [{"args": list(arguments), "kwargs": {}}]


def functional(*layers: dict[str, Any], output: str, shape: tuple = PICTURE) -> dict[str, Any]:
    first = layer("InputLayer", {"batch_shape": [None, *shape], "name": "x"}, inbound_nodes=[])
    return {
        "class_name": "Functional",
        "config": {
            "layers": [*layers, first],
            "input_layers": ["x", 0, 0],
            "output_layers": [output, 0, 0],
        },
    }


def named(kind: str, name: str, *arguments: Any, **config: Any) -> dict[str, Any]:
    return layer(kind, {**config, "name": name}, name=name, inbound_nodes=node(*arguments))


JOINED: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "Add": np.add,
    "Subtract": np.subtract,
    "Multiply": np.multiply,
    "Maximum": np.maximum,
    "Minimum": np.minimum,
    "Average": lambda a, b: (a + b) / 2,
    "Concatenate": lambda a, b: np.concatenate([a, b], axis=1),
}


@pytest.mark.parametrize("shape", [PICTURE, SEQUENCE], ids=["picture", "sequence"])
@pytest.mark.parametrize("kind", JOINED)
def test_layers_of_two_inputs(kind: str, shape: tuple, tmp_path: Path) -> None:
    """Listed in the wrong order, as files may have them."""
    config = functional(
        named(kind, "y", [tensor("x"), tensor("t")], axis=1),
        named("Activation", "t", tensor("x"), activation="tanh"),
        output="y",
        shape=shape,
    )
    graph, _ = read_model(saved(tmp_path / "m.keras", config, {}))
    x = RNG.normal(size=(3, *shape)).astype(np.float32)
    want = JOINED[kind](x, np.tanh(x))
    (found,) = graph.run(x.reshape(3, *graph.shapes[0]))
    np.testing.assert_allclose(found.reshape(want.shape), want, atol=1e-6)


@pytest.mark.parametrize(
    ("kind", "compute"),
    [
        ("Add", lambda x: x + 2.5),
        ("Subtract", lambda x: x - 2.5),
        ("Multiply", lambda x: x * 2.5),
        ("TrueDivide", lambda x: x / 2.5),
    ],
)
def test_arithmetic_with_a_number(kind: str, compute: Callable, tmp_path: Path) -> None:
    config = functional(named(kind, "y", tensor("x"), 2.5), output="y")
    graph, _ = read_model(saved(tmp_path / "m.keras", config, {}))
    x = RNG.normal(size=(3, *PICTURE)).astype(np.float32)
    np.testing.assert_allclose(graph.run(x)[0], compute(x), rtol=1e-6)


REFUSED: dict[str, dict[str, Any]] = {
    "its configuration makes no sense": {"class_name": "Functional", "config": {"layers": 3}},
    "Model2 models are not supported": {"class_name": "Model2", "config": {}},
    "its output is its input": sequential(layer("Dropout")),
    "has no layers": {"class_name": "Sequential", "config": {"layers": []}},
    "has shape [None, None, 5, 4]: one to three given sizes": sequential(shape=(None, 5, 4)),
    "(LSTM): is not supported": sequential(layer("LSTM")),
    "layer the_Dense (Dense): has 0 variables only": sequential(layer("Dense")),
    "form a circle, or read what is not there": functional(
        named("ReLU", "y", tensor("z")), output="y"
    ),
    "(Add): has one input only": functional(named("Add", "y", [tensor("x")]), output="y"),
    "(ReLU): has no input": functional(named("ReLU", "y"), output="y"),
    "(Concatenate): axis 9": functional(
        named("Concatenate", "y", [tensor("x"), tensor("x")], axis=9), output="y"
    ),
    "pool_size of 'a'": sequential(layer("MaxPooling2D", {"pool_size": "a"})),
    "needs pictures, not shape 4": sequential(layer("MaxPooling2D"), shape=(4,)),
    "to [-1, -1]": sequential(layer("Reshape", {"target_shape": [-1, -1]})),
    "6x5x4 to 7 is not supported": sequential(layer("Reshape", {"target_shape": [7]})),
    "(Permute): dims [1, 1, 2]": sequential(layer("Permute", {"dims": [1, 1, 2]})),
    "(Softmax): axis 1 is not supported": sequential(layer("Softmax", {"axis": 1})),
    "axis 1 is not supported": sequential(layer("BatchNormalization", {"axis": 1})),
    "its statistics are missing": sequential(layer("BatchNormalization")),
    "interpolation lanczos3": sequential(
        layer("UpSampling2D", {"interpolation": "lanczos3", "size": 2})
    ),
    "(GlobalMaxPooling2D): on shape 4": sequential(layer("GlobalMaxPooling2D"), shape=(4,)),
    "a logarithm inside of the network": sequential(
        layer("Activation", {"activation": "log_softmax"}),
        layer("Activation", {"activation": "tanh"}),
        shape=(4,),
    ),
}
_nested: dict[str, Any] = sequential(layer("ReLU"))
for _ in range(25):
    _nested = {
        "class_name": "Sequential",
        "config": {"name": "m", "layers": [*sequential()["config"]["layers"], _nested]},
    }
REFUSED["models are nested too deep"] = _nested


@pytest.mark.parametrize("message", REFUSED)
def test_what_cannot_be_is_refused_in_one_line(message: str, tmp_path: Path) -> None:
    path = saved(tmp_path / "m.keras", REFUSED[message], {})
    with pytest.raises(ModelError) as caught:
        read_model(path)
    text = str(caught.value)
    assert message in text and text.startswith(f"{path}: ") and "\n" not in text


@pytest.mark.parametrize(
    ("kind", "config", "variables", "message"),
    [
        ("Dense", {}, [numbers(4)], "weights of shape 4"),
        ("Conv2D", {}, [numbers(4)], "a kernel of shape 4"),
        ("Conv2D", {"groups": 0}, [KERNEL, SPREAD[:2]], "0 groups"),
        ("Conv2D", {"dilation_rate": 0}, [KERNEL, SPREAD[:2]], "dilation (0, 0)"),
        ("Conv2DTranspose", {"output_padding": 1}, [KERNEL, SPREAD[:2]], "output padding are not"),
        ("Dense", {"activation": {"class_name": "odd"}}, [numbers(4, 2), numbers(2)], "odd is"),
        ("Dense", {}, [np.array([b"text"])], "weights of type"),
    ],
)
def test_weights_that_do_not_fit(
    kind: str, config: dict, variables: list, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ModelError) as caught:
        read(tmp_path, kind, config, variables, PICTURE)
    assert message in str(caught.value) and "\n" not in str(caught.value)
