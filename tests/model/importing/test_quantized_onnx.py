"""ONNX files that are quantised already: their scales are taken, not calibrated anew."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model.importing.conversion import Conversion
from model.importing.importer import read_model
from model.importing.preprocessing import Preprocessing
from model.int8 import reference

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
