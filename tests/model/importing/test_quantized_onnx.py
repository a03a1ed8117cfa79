"""ONNX files that are quantised already: their scales are taken, not calibrated anew."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model.errors import ModelError
from model.importing.conversion import Conversion
from model.importing.importer import read_model
from model.importing.preprocessing import Preprocessing
from model.int8 import reference
from tests.model.importing.onnx_files import model, write

onnx = pytest.importorskip("onnx")

SCALES = {"x": 0.004, "y": 0.05}
ZEROS = {"x": -127, "y": -128}


def files(tmp_path: Path) -> tuple[Path, Path]:
    """The same convolution and ReLU, with QuantizeLinear around, and as a QLinearConv."""
    from onnx import TensorProto, helper, numpy_helper, save

    rng = np.random.default_rng(0)
    weights = rng.integers(-127, 128, (4, 2, 3, 3)).astype(np.int8)
    weight_scale = rng.uniform(0.001, 0.01, 4).astype(np.float32)
    bias = rng.integers(-3000, 3000, 4).astype(np.int32)
    constants = {
        "xs": np.float32(SCALES["x"]),
        "xz": np.int8(ZEROS["x"]),
        "ys": np.float32(SCALES["y"]),
        "yz": np.int8(ZEROS["y"]),
        "w": weights,
        "ws": weight_scale,
        "wz": np.zeros(4, np.int8),
        "b": bias,
        "bs": np.float32(SCALES["x"]) * weight_scale,
        "bz": np.zeros(4, np.int32),
    }
    around = [
        helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "xs", "xz"], ["xd"]),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wd"], axis=0),
        helper.make_node("DequantizeLinear", ["b", "bs", "bz"], ["bd"], axis=0),
        helper.make_node("Conv", ["xd", "wd", "bd"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("QuantizeLinear", ["r", "ys", "yz"], ["yq"]),
        helper.make_node("DequantizeLinear", ["yq", "ys", "yz"], ["y"]),
    ]
    operator = [
        helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["q"]),
        helper.make_node(
            "QLinearConv",
            ["q", "xs", "xz", "w", "ws", "wz", "ys", "yz", "b"],
            ["yq"],
            pads=[1, 1, 1, 1],
        ),
        helper.make_node("DequantizeLinear", ["yq", "ys", "yz"], ["y"]),
    ]
    paths = []
    for name, nodes in (("around", around), ("operator", operator)):
        graph = helper.make_graph(
            nodes,
            "test",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 2, 6, 5))],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
            [numpy_helper.from_array(np.asarray(each), key) for key, each in constants.items()],
        )
        path = tmp_path / f"{name}.onnx"
        save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)]), path)
        paths.append(path)
    return paths[0], paths[1]


def test_scales_are_taken_as_they_are(tmp_path: Path) -> None:
    from onnx.reference import ReferenceEvaluator

    rng = np.random.default_rng(1)
    x = rng.random((12, 6, 5, 2)).astype(np.float32)
    results = []
    for path in files(tmp_path):
        source, _ = read_model(path)
        if path.stem == "around":
            evaluator = ReferenceEvaluator(onnx.load(path))
            for each, found in zip(np.moveaxis(x, -1, 1), source.run(x)[0]):
                (want,) = evaluator.run(None, {"x": each[np.newaxis]})
                # Rounding may fall the other way where a sum is half way.
                np.testing.assert_allclose(np.moveaxis(found, -1, 0), want[0], atol=0.051)
                assert (np.abs(np.moveaxis(found, -1, 0) - want[0]) > 0.01).mean() < 0.02
        conversion = Conversion(source, None, x)
        graph = conversion.export("m")
        (operator,) = graph.operators
        for index, name in ((operator.inputs[0], "x"), (operator.outputs[0], "y")):
            affine = graph.tensors[index].quantization
            assert affine is not None
            assert affine.scale[0] == np.float32(SCALES[name])
            assert affine.zero_point[0] == ZEROS[name]
        stored = graph.tensors[operator.inputs[1]]
        assert stored.data is not None
        results.append((stored.data, reference.predict(graph, conversion.stored(x))))
        assert conversion.compare(graph, x, None).snr_db > 40
    np.testing.assert_array_equal(results[0][0], results[1][0])
    np.testing.assert_array_equal(results[0][1], results[1][1])


def test_pixels_of_another_scale_are_requantised_first(tmp_path: Path) -> None:
    source, _ = read_model(files(tmp_path)[0])
    x = np.random.default_rng(1).integers(0, 256, (12, 6, 5, 2)).astype(np.uint8)
    conversion = Conversion(source, Preprocessing.of(2), x)
    graph = conversion.export("m")
    assert [each.kind.value for each in graph.operators] == ["QUANTIZE", "CONV_2D"]
    assert conversion.compare(graph, x, None).snr_db > 35


def affine(prefix: str, scale: float, zero: int) -> dict[str, np.ndarray]:
    return {f"{prefix}s": np.float32(scale), f"{prefix}z": np.uint8(zero)}


def rounded(value: str, prefix: str, result: str) -> list[tuple[str, str, str]]:
    """Through uint8 and back, as two nodes."""
    return [
        ("QuantizeLinear", f"{value} {prefix}s {prefix}z", f"{result}_q"),
        ("DequantizeLinear", f"{result}_q {prefix}s {prefix}z", result),
    ]


WEIGHTS = np.random.default_rng(2).integers(-127, 128, (12, 5)).astype(np.int8)
SCALE = np.float32(0.01)
CONSTANTS: dict[str, np.ndarray] = {
    **affine("x", 0.02, 120),
    **affine("t", 1 / 128, 128),
    **affine("y", 0.07, 100),
    "w": WEIGHTS,
    "ws": np.float32(SCALE),
    "wz": np.int8(0),
    "b": np.arange(-200, 300, 100, dtype=np.int32),
    # The same weights turned, with a scale for each output
    "turned": WEIGHTS.T,
    "each": SCALE * np.arange(1, 6, dtype=np.float32) / 3,
    "none": np.zeros(5, np.int8),
    "steps": np.float32(0.02) * SCALE * np.arange(1, 6, dtype=np.float32) / 3,
    "no": np.zeros(5, np.int32),
}

# Operators of whole numbers, and the same computation with real numbers, rounded between.
PAIRS = {
    "matmul": (
        [("QuantizeLinear", "x xs xz", "q"), ("QLinearMatMul", "q xs xz w ws wz ys yz", "p")],
        [
            ("DequantizeLinear", "w ws wz", "v"),
            *rounded("x", "x", "a"),
            ("MatMul", "a v", "r"),
            *rounded("r", "y", "y"),
        ],
    ),
    "gemm": (
        [
            ("QuantizeLinear", "x xs xz", "q"),
            ("com.microsoft:QGemm", "q xs xz turned each none b ys yz", "p", {"transB": 1}),
        ],
        [
            ("DequantizeLinear", "turned each none", "v", {"axis": 0}),
            ("DequantizeLinear", "b steps no", "c", {"axis": 0}),
            *rounded("x", "x", "a"),
            ("Gemm", "a v c", "r", {"transB": 1}),
            *rounded("r", "y", "y"),
        ],
    ),
    "add": (
        [
            ("QuantizeLinear", "x xs xz", "q"),
            ("DequantizeLinear", "q xs xz", "a"),
            ("Tanh", "a", "t"),
            ("QuantizeLinear", "t ts tz", "u"),
            ("com.microsoft:QLinearAdd", "q xs xz u ts tz ys yz", "p"),
        ],
        [
            *rounded("x", "x", "a"),
            ("Tanh", "a", "t"),
            *rounded("t", "t", "u"),
            ("Add", "a u", "r"),
            *rounded("r", "y", "y"),
        ],
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_whole_numbers_compute_what_real_ones_do(name: str, tmp_path: Path) -> None:
    from onnx.reference import ReferenceEvaluator

    whole, real = PAIRS[name]
    nodes = [*whole, ("DequantizeLinear", "p ys yz", "y")]
    source, _ = read_model(write(tmp_path / "m.onnx", nodes, CONSTANTS, (1, 12)))
    x = np.random.default_rng(3).normal(size=(20, 12)).astype(np.float32)
    evaluator = ReferenceEvaluator(model(real, CONSTANTS, (1, 12)))
    want = np.concatenate([evaluator.run(None, {"x": each[np.newaxis]})[0] for each in x])
    (found,) = source.run(x)
    # Rounding may fall the other way where a sum is half way.
    np.testing.assert_allclose(found, want, atol=0.0701)
    assert (np.abs(found - want) > 0.01).mean() < 0.02
    conversion = Conversion(source, None, x)
    graph = conversion.export("m")
    quantization = graph.tensors[graph.outputs[0]].quantization
    assert quantization is not None
    assert quantization.scale[0] == np.float32(0.07) and quantization.zero_point[0] == -28
    assert conversion.compare(graph, x, None).snr_db > 25


@pytest.mark.parametrize(
    ("constants", "message"),
    [
        ({"xs": np.ones(2, np.float32)}, "one scale, and a zero point of int8 or uint8"),
        ({"xz": np.int16(0)}, "one scale, and a zero point of int8 or uint8"),
        ({"xs": np.float32(0)}, "scale 0.0"),
    ],
)
def test_scales_that_cannot_be(constants: dict, message: str, tmp_path: Path) -> None:
    nodes = [("QuantizeLinear", "x xs xz", "q"), ("DequantizeLinear", "q xs xz", "y")]
    path = write(tmp_path / "m.onnx", nodes, {**affine("x", 1, 0), **constants}, (1, 12))
    with pytest.raises(ModelError, match=message):
        read_model(path)
