"""ONNX operators, a file each: against ONNX's reference evaluator in float, and TFLM in int8."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.errors import ModelError
from model.importing.conversion import Conversion
from model.importing.formulas import recognize
from model.importing.importer import read_model
from model.importing.onnx.constants import constant
from model.importing.onnx.file import read_onnx
from model.importing.simplification import simplify
from model.int8 import reference
from tests.model.importing.onnx_files import model, write
from tests.model.int8 import oracle

pytest.importorskip("onnx")

RNG = np.random.default_rng(0)
PICTURE = (1, 4, 6, 5)
SEQUENCE = (1, 4, 9)
VECTOR = (1, 12)


def numbers(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape).astype(np.float32)


def whole(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def positive(*shape: int) -> np.ndarray:
    return RNG.uniform(0.2, 1.5, shape).astype(np.float32)


CONV = {"w": numbers(6, 4, 3, 3), "b": numbers(6)}
NORM = {"s": positive(4), "b": numbers(4), "m": numbers(4), "v": positive(4)}
NORMALIZE = ("BatchNormalization", "x s b m v", "y")
NOTHING = np.zeros(0, np.float32)

CASES: dict[str, tuple[Any, ...]] = {
    # Windows
    "conv, same": ([("Conv", "x w b", "y", {"auto_pad": "SAME_UPPER", "strides": [2, 2]})], CONV),
    "conv, lower": ([("Conv", "x w b", "y", {"auto_pad": "SAME_LOWER", "strides": [2, 2]})], CONV),
    "conv, valid": ([("Conv", "x w", "y", {"auto_pad": "VALID"})], {"w": CONV["w"]}),
    "conv, depthwise twice": (
        [("Conv", "x w", "y", {"group": 4})],
        {"w": numbers(8, 1, 3, 2)},
    ),
    "conv of a sequence": (
        [("Conv", "x w b", "y", {"pads": [2, 0], "dilations": [2]})],
        {"w": numbers(5, 4, 3), "b": numbers(5)},
        SEQUENCE,
    ),
    "conv of channels in another order": (
        [
            ("Split", "x", "p q", {"axis": 1, "num_outputs": 2}),
            ("Concat", "q p", "t", {"axis": 1}),
            ("Conv", "t w", "y", {"group": 2}),
        ],
        {"w": numbers(6, 2, 3, 3)},
    ),
    "transposed": (
        [("ConvTranspose", "x w b", "y", {"strides": [2, 2]})],
        {"w": numbers(4, 3, 3, 3), "b": numbers(3)},
    ),
    "transposed, cut": (
        [("ConvTranspose", "x w", "y", {"strides": [2, 2], "pads": [1, 1, 1, 1]})],
        {"w": numbers(4, 3, 4, 3)},
    ),
    "transposed, longer": (
        [
            (
                "ConvTranspose",
                "x w",
                "y",
                {"strides": [2, 3], "pads": [0, 2, 1, 0], "output_padding": [1, 1]},
            )
        ],
        {"w": numbers(4, 3, 3, 3)},
    ),
    "transposed, same": (
        [("ConvTranspose", "x w", "y", {"auto_pad": "SAME_UPPER", "strides": [2, 2]})],
        {"w": numbers(4, 3, 3, 3)},
    ),
    "transposed sequence": (
        [("ConvTranspose", "x w", "y", {"strides": [2]})],
        {"w": numbers(4, 3, 3)},
        SEQUENCE,
    ),
    "max pool, ceil": (
        [("MaxPool", "x", "y", {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1})],
        {},
    ),
    "average pool, padding counts": (
        [
            (
                "AveragePool",
                "x",
                "y",
                {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1},
            )
        ],
        {},
    ),
    "average pool, padding counts not": (
        [
            (
                "AveragePool",
                "x",
                "y",
                {"kernel_shape": [3, 3], "pads": [0, 1, 1, 0], "strides": [2, 2]},
            )
        ],
        {},
    ),
    "global average": ([("GlobalAveragePool", "x", "p"), ("Flatten", "p", "y")], {}),
    "global greatest": ([("GlobalMaxPool", "x", "y")], {}),
    "resize by scales": (
        [
            (
                "Resize",
                "x r s",
                "y",
                {
                    "mode": "nearest",
                    "coordinate_transformation_mode": "asymmetric",
                    "nearest_mode": "floor",
                },
            )
        ],
        {"r": NOTHING, "s": np.array([1, 1, 2, 3], np.float32)},
    ),
    "resize a sequence": (
        [("Resize", "x r s", "y", {"mode": "linear"})],
        {"r": NOTHING, "s": np.array([1, 1, 2], np.float32)},
        SEQUENCE,
    ),
    "resize of named axes": (
        [("Resize", "x r r s", "y", {"mode": "linear", "axes": [2, 3]})],
        {"r": NOTHING, "s": whole(9, 7)},
    ),
    "upsample": (
        [("Upsample", "x s", "y", {"mode": "nearest"})],
        {"s": np.array([1, 1, 2, 2], np.float32)},
        PICTURE,
        9,
    ),
    "pad": ([("Pad", "x p v", "y")], {"p": whole(0, 1, 0, 2, 0, 0, 1, 0), "v": np.float32(0.7)}),
    "pad of named axes": (
        [("Pad", "x p _ a", "y")],
        {"p": whole(1, 2, 0, 1), "a": whole(-1, 2)},
    ),
    "pad, then average": (
        [
            ("Pad", "x p", "t"),
            ("AveragePool", "t", "y", {"kernel_shape": [2, 2], "strides": [2, 2]}),
        ],
        {"p": whole(0, 0, 1, 0, 0, 0, 1, 1)},
    ),
    "pad a vector": ([("Pad", "x p", "y")], {"p": whole(0, 2, 0, 1)}, VECTOR),
    # Matrices
    "gemm": (
        [("Gemm", "x w b", "y", {"alpha": 0.5, "beta": 2.0, "transB": 1})],
        {"w": numbers(5, 12), "b": numbers(5)},
        VECTOR,
    ),
    "gemm, one bias": ([("Gemm", "x w b", "y")], {"w": numbers(12, 5), "b": numbers(1)}, VECTOR),
    "matmul of pictures": ([("MatMul", "x w", "y")], {"w": numbers(5, 3)}),
    "matmul of a sequence": ([("MatMul", "x w", "y")], {"w": numbers(9, 3)}, SEQUENCE),
    # Element by element
    "normalise": ([NORMALIZE], NORM),
    "normalise before a conv": (
        [("BatchNormalization", "x s b m v", "t"), ("Conv", "t w", "y")],
        {**NORM, "w": CONV["w"]},
    ),
    "normalise before a depthwise conv": (
        [("BatchNormalization", "x s b m v", "t"), ("Conv", "t w", "y", {"group": 4})],
        {**NORM, "w": numbers(8, 1, 3, 3)},
    ),
    "affine in front of a flattening": (
        [("Mul", "x s", "t"), ("Flatten", "t", "f"), ("Gemm", "f w", "y")],
        {"s": numbers(4, 1, 1), "w": numbers(120, 5)},
    ),
    "by element": (
        [("Mul", "x s", "t"), ("Add", "t b", "y")],
        {"s": positive(6, 5), "b": numbers(4, 6, 5)},
    ),
    "by element, times": ([("Mul", "x s", "y")], {"s": positive(1, 4, 6, 5)}),
    "by element, plus": ([("Add", "x b", "y")], {"b": numbers(6, 1)}),
    "subtract": ([("Sub", "x c", "y")], {"c": numbers(4, 1, 1)}),
    "subtract from": ([("Sub", "c x", "y")], {"c": numbers(1)}),
    "divide": ([("Div", "x c", "y")], {"c": positive(4, 1, 1)}),
    "sum of three": ([("Tanh", "x", "t"), ("Sum", "x t x", "y")], {}),
    "greatest of three": ([("Tanh", "x", "t"), ("Max", "x t c", "y")], {"c": np.float32(-0.5)}),
    "least": ([("Min", "x c", "y")], {"c": np.float32(0.5)}),
    "of a smaller one": (
        [("GlobalAveragePool", "x", "g"), ("Sigmoid", "g", "s"), ("Mul", "s x", "y")],
        {},
    ),
    "of two orders": (
        [
            ("Reshape", "x s", "a"),
            ("Transpose", "a", "b", {"perm": [0, 2, 1]}),
            ("Reshape", "b t", "c"),
            ("Add", "x c", "y"),
        ],
        {"s": whole(1, 6, 20), "t": whole(1, 4, 6, 5)},
    ),
    "clip": ([("Clip", "x l h", "y")], {"l": np.float32(-0.5), "h": np.float32(0.8)}),
    "clip, old": ([("Clip", "x", "y", {"min": -1.0, "max": 3.4e38})], {}, PICTURE, 6),
    "clip of a pool": (
        [
            ("Conv", "x w b", "c"),
            ("MaxPool", "c", "p", {"kernel_shape": [2, 2]}),
            ("Relu", "p", "y"),
        ],
        CONV,
    ),
    "hard sigmoid": ([("HardSigmoid", "x", "y", {"alpha": 0.25})], {}),
    "gelu": ([("Gelu", "x", "y")], {}),
    "gelu by tanh": ([("Gelu", "x", "y", {"approximate": "tanh"})], {}),
    "silu": ([("Sigmoid", "x", "s"), ("Mul", "x s", "y")], {}),
    "leaky relu spelt out": (
        [("Mul", "x c", "t"), ("Max", "x t", "y")],
        {"c": np.float32(0.2)},
    ),
    "negative": ([("Neg", "x", "y")], {}),
    "absolute": ([("Abs", "x", "y")], {}),
    "square": ([("Pow", "x e", "y")], {"e": np.float32(2)}),
    "cube": ([("Pow", "x e", "y")], {"e": np.float32(3)}),
    "prelu": ([("PRelu", "x s", "y")], {"s": positive(4, 1, 1)}),
    "prelu of one slope": ([("PRelu", "x s", "y")], {"s": positive(1)}),
    "prelu by element": ([("PRelu", "x s", "y")], {"s": positive(4, 6, 5)}),
    "elu": ([("Elu", "x", "y")], {}),
    "softmax": ([("Softmax", "x", "y")], {}, VECTOR),
    "softmax of channels": ([("Softmax", "x", "y", {"axis": 1})], {}),
    "logarithm of softmax": ([("LogSoftmax", "x", "y")], {}, VECTOR),
    # Parts and order
    "flatten behind one": (
        [("GlobalMaxPool", "x", "t"), ("Flatten", "t", "y", {"axis": 2})],
        {},
        (1, 1, 6, 5),
    ),
    "reshape, a 0 and a rest": ([("Reshape", "x s", "y")], {"s": whole(0, 2, -1, 5)}),
    "turned and flattened": (
        [
            ("Transpose", "x", "t", {"perm": [0, 2, 3, 1]}),
            ("Flatten", "t", "f"),
            ("Gemm", "f w", "y"),
        ],
        {"w": numbers(120, 5)},
    ),
    "turned sequence": ([("Transpose", "x", "y", {"perm": [0, 2, 1]})], {}, SEQUENCE),
    "squeeze": ([("GlobalMaxPool", "x", "t"), ("Squeeze", "t", "y")], {}, (2, 4, 6, 5)),
    "squeeze of named axes": (
        [("GlobalMaxPool", "x", "t"), ("Squeeze", "t a", "y")],
        {"a": whole(-1, 2)},
    ),
    "unsqueeze": (
        [("Unsqueeze", "x a", "t"), ("Conv", "t w", "y")],
        {"a": whole(2), "w": numbers(3, 4, 1, 3)},
        SEQUENCE,
    ),
    "unsqueeze, old": ([("Unsqueeze", "x", "y", {"axes": [1]})], {}, VECTOR, 7),
    "joined channels": ([("Tanh", "x", "t"), ("Concat", "x t", "y", {"axis": 1})], {}),
    "joined rows": ([("Tanh", "x", "t"), ("Concat", "x t x", "y", {"axis": -2})], {}),
    "joined vectors": ([("Tanh", "x", "t"), ("Concat", "t x", "y", {"axis": -1})], {}, VECTOR),
    "joined blocks": (
        [
            ("Reshape", "x s", "r"),
            ("Tanh", "r", "t"),
            ("Concat", "r t", "c", {"axis": 2}),
            ("Flatten", "c", "y"),
        ],
        {"s": whole(1, 2, 2, 6, 5)},
    ),
    "joined in two orders": (
        [
            ("Split", "x", "p q", {"axis": 1, "num_outputs": 2}),
            ("Concat", "q p", "t", {"axis": 1}),
            ("Concat", "x t", "y", {"axis": 2}),
        ],
        {},
    ),
    "joined alone": ([("Concat", "x", "t", {"axis": 1}), ("Tanh", "t", "y")], {}),
    "slice": (
        [("Slice", "x s e a t", "y")],
        {"s": whole(1, 0), "e": whole(9, 4), "a": whole(2, 1), "t": whole(2, 2)},
    ),
    "slice, old": (
        [("Slice", "x", "y", {"starts": [1], "ends": [-1], "axes": [3]})],
        {},
        PICTURE,
        9,
    ),
    "slice of a vector": ([("Slice", "x s e", "y")], {"s": whole(0, 3), "e": whole(1, 9)}, VECTOR),
    "slice of a vector in steps": (
        [("Slice", "x s e a t", "y")],
        {"s": whole(1), "e": whole(12), "a": whole(1), "t": whole(3)},
        VECTOR,
    ),
    "slice of blocks": (
        [("Reshape", "x s", "r"), ("Slice", "r b e a", "c"), ("Flatten", "c", "y")],
        {"s": whole(1, 2, 2, 6, 5), "b": whole(1, 2), "e": whole(2, 5), "a": whole(2, 3)},
    ),
    "slice, all": (
        [("Slice", "x s e", "t"), ("Tanh", "t", "y")],
        {"s": whole(0, 0), "e": whole(9, 9)},
    ),
    "split by sizes": ([("Split", "x n", "t y", {"axis": -1})], {"n": whole(2, 3)}),
    "split, old": ([("Split", "x", "t y", {"axis": 2, "split": [1, 5]})], {}, PICTURE, 11),
    "gather one": ([("Gather", "x i", "y", {"axis": 2})], {"i": np.array(-2)}),
    "gather neighbours": ([("Gather", "x i", "y", {"axis": 1})], {"i": whole(1, 2)}),
    "mean": ([("ReduceMean", "x a", "y", {"keepdims": 0})], {"a": whole(-1, -2)}),
    "mean of a vector": ([("ReduceMean", "x a", "y")], {"a": whole(1)}, VECTOR),
    "sum of a sequence": ([("ReduceSum", "x a", "y", {"keepdims": 0})], {"a": whole(2)}, SEQUENCE),
    "least of channels": ([("ReduceMin", "x a", "y")], {"a": whole(1)}),
    "greatest of all": ([("ReduceMax", "x a", "y")], {"a": whole(1, 2, 3)}),
    "no axes, nothing": (
        [("ReduceMean", "x", "t", {"noop_with_empty_axes": 1}), ("Tanh", "t", "y")],
        {},
    ),
    # Shapes that are worked out
    "shape of the input": (
        [
            ("Shape", "x", "s", {"start": 0, "end": 1}),
            ("Concat", "s m", "t", {"axis": 0}),
            ("Reshape", "x t", "y"),
        ],
        {"m": whole(-1)},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_float_is_what_onnx_says_and_int8_what_tflm_computes(name: str, tmp_path: Path) -> None:
    from onnx.reference import ReferenceEvaluator

    nodes, constants, *rest = CASES[name]
    shape = rest[0] if rest else PICTURE
    opset = rest[1] if len(rest) > 1 else 20
    path = write(tmp_path / "m.onnx", nodes, constants, shape, opset)
    x = RNG.normal(size=(24, *shape[1:])).astype(np.float32)
    evaluator = ReferenceEvaluator(model(nodes, constants, shape, opset))
    batches = x.reshape(-1, *shape)
    want = np.concatenate([evaluator.run(None, {"x": batch})[0] for batch in batches])
    if name == "logarithm of softmax":
        want = np.exp(want)
    graph, layout = read_model(path)
    ours = np.moveaxis(x, 1, -1) if layout == "NCHW" else x
    ours = ours.reshape(len(x), *graph.shapes[0])
    if want.ndim == 4 and any("height x width" in note for note in graph.notes):
        want = np.moveaxis(want, 1, -1)
    for _ in range(2):
        (found,) = graph.run(ours)
        np.testing.assert_allclose(found.ravel(), want.ravel(), rtol=1e-4, atol=2e-5)
        recognize(graph)
        simplify(graph)
    conversion = Conversion(graph, None, ours)
    exported = conversion.export("m")
    assert conversion.compare(exported, ours, None).snr_db > 25
    stored = conversion.stored(ours[:3])
    computed = reference.run(exported, stored, "all")
    for tensor, values in oracle.run(exported, stored).items():
        np.testing.assert_array_equal(computed[tensor], values)


def test_groups_of_a_transposed_convolution(tmp_path: Path) -> None:
    """Against its groups one by one: the evaluator knows no groups here."""
    w = numbers(4, 3, 2, 2)
    grouped = [("ConvTranspose", "x w", "y", {"group": 2, "strides": [1, 2]})]
    graph, _ = read_model(write(tmp_path / "g.onnx", grouped, {"w": w}, PICTURE))
    one_by_one = [
        ("Split", "x", "p q", {"axis": 1, "num_outputs": 2}),
        ("ConvTranspose", "p v", "a", {"strides": [1, 2]}),
        ("ConvTranspose", "q w", "b", {"strides": [1, 2]}),
        ("Concat", "a b", "y", {"axis": 1}),
    ]
    path = write(tmp_path / "o.onnx", one_by_one, {"v": w[:2], "w": w[2:]}, PICTURE)
    x = RNG.normal(size=(2, 6, 5, 4)).astype(np.float32)
    np.testing.assert_allclose(graph.run(x)[0], read_model(path)[0].run(x)[0], atol=1e-5)


def test_before_version_7_an_attribute_says_where_a_constant_lies(tmp_path: Path) -> None:
    b = numbers(4)
    old = [("Add", "x b", "y", {"broadcast": 1, "axis": 1})]
    shape = (1, 4, 4, 4)
    graph, _ = read_model(write(tmp_path / "o.onnx", old, {"b": b}, shape, 6))
    new = [("Add", "x b", "y")]
    path = write(tmp_path / "n.onnx", new, {"b": b.reshape(4, 1, 1)}, shape)
    x = RNG.normal(size=(2, 4, 4, 4)).astype(np.float32)
    np.testing.assert_array_equal(graph.run(x)[0], read_model(path)[0].run(x)[0])
    of_two = [("Tanh", "x", "t"), ("Add", "x t", "y", {"broadcast": 1, "axis": 1})]
    with pytest.raises(ModelError, match=r"\(Add\): of two activations is not supported"):
        read_model(write(tmp_path / "t.onnx", of_two, {}, shape, 6))


def test_several_outputs(tmp_path: Path) -> None:
    nodes = [("Split", "x", "a b", {"axis": 1, "num_outputs": 2}), ("Tanh", "a", "y")]
    path = write(tmp_path / "m.onnx", nodes, {}, PICTURE, outputs=("y", "b"))
    graph, _ = read_model(path)
    x = RNG.normal(size=(2, 6, 5, 4)).astype(np.float32)
    first, second = graph.run(x)
    np.testing.assert_allclose(first, np.tanh(x[..., :2]), atol=1e-6)
    np.testing.assert_array_equal(second, x[..., 2:])


REFUSED: dict[str, tuple[Any, ...]] = {
    "this operator of odd.domain is not supported": ([("odd.domain:Relu", "x", "y")], {}),
    "(LSTM): this operator is not supported": ([("LSTM", "x w w", "y")], {"w": numbers(1, 4, 4)}),
    "3-D windows on shape 4x6x5": (
        [("MaxPool", "x", "y", {"kernel_shape": [1, 1, 1]})],
        {},
    ),
    "has no kernel_shape": ([("MaxPool", "x", "y", {"strides": [1, 1]})], {}),
    "strides [1] for 2 dimensions": (
        [("Conv", "x w", "y", {"strides": [1]})],
        {"w": CONV["w"]},
    ),
    "padding below 0": ([("Conv", "x w", "y", {"pads": [-1, 0, 0, 0]})], {"w": CONV["w"]}),
    "3 biases for 6 channels": ([("Conv", "x w b", "y")], {"w": CONV["w"], "b": numbers(3)}),
    "on 2-D data": ([("Conv", "x w", "y")], {"w": numbers(6, 4, 3)}),
    "weights of type int8": ([("Conv", "x w", "y")], {"w": np.ones((6, 4, 3, 3), np.int8)}),
    "weights of shape 3x4x3x3 in 1 groups": (
        [("ConvTranspose", "x w", "y")],
        {"w": numbers(3, 4, 3, 3)},
    ),
    "dilation of a transposed convolution": (
        [("ConvTranspose", "x w", "y", {"dilations": [2, 2]})],
        {"w": numbers(4, 3, 3, 3)},
    ),
    "mode cubic is not supported": (
        [("Resize", "x r s", "y", {"mode": "cubic"})],
        {"r": NOTHING, "s": np.array([1, 1, 2, 2], np.float32)},
    ),
    "coordinate_transformation_mode tf_crop": (
        [("Resize", "x r s", "y", {"coordinate_transformation_mode": "tf_crop_and_resize"})],
        {"r": NOTHING, "s": np.array([1, 1, 2, 2], np.float32)},
    ),
    "nearest_mode ceil is not supported": (
        [("Resize", "x r s", "y", {"nearest_mode": "ceil"})],
        {"r": NOTHING, "s": np.array([1, 1, 2, 2], np.float32)},
    ),
    "(Resize): changes the batch": (
        [("Resize", "x r s", "y")],
        {"r": NOTHING, "s": np.array([2, 1, 2, 2], np.float32)},
    ),
    "from 4x6x5 to 8x12x10": (
        [("Resize", "x r s", "y")],
        {"r": NOTHING, "s": np.array([1, 2, 2, 2], np.float32)},
    ),
    "its scales must be constant": ([("Resize", "x _ x", "y")], {}),
    "mode reflect is not supported": (
        [("Pad", "x p", "y", {"mode": "reflect"})],
        {"p": whole(0, 0, 1, 1, 0, 0, 1, 1)},
    ),
    "pads [1, 1] for axes": ([("Pad", "x p", "y")], {"p": whole(1, 1)}),
    "pads [1, 0, 0, 0, 0, 0, 0, 0] are not": (
        [("Pad", "x p", "y")],
        {"p": whole(1, 0, 0, 0, 0, 0, 0, 0)},
    ),
    "(ReduceMean): over the batch": ([("ReduceMean", "x a", "y")], {"a": whole(0)}),
    "axes (7,) of 4": ([("ReduceMean", "x a", "y")], {"a": whole(7)}),
    "transA is not supported": (
        [("Gemm", "x w", "y", {"transA": 1})],
        {"w": numbers(12, 5)},
        VECTOR,
    ),
    "weights 12x5 on shape 4x6x5": ([("Gemm", "x w", "y")], {"w": numbers(12, 5)}),
    "weights for 7 inputs on 12": ([("MatMul", "x w", "y")], {"w": numbers(7, 5)}, VECTOR),
    "3 biases for 5 outputs": (
        [("Gemm", "x w b", "y")],
        {"w": numbers(12, 5), "b": numbers(3)},
        VECTOR,
    ),
    "with an array of shape 2x5x3": ([("MatMul", "x w", "y")], {"w": numbers(2, 5, 3)}),
    "(Div): of two activations": ([("Div", "x x", "y")], {}),
    "(Div): divides by 0": ([("Div", "x c", "y")], {"c": np.float32(0)}),
    "(Div): with this constant": ([("Div", "c x", "y")], {"c": np.float32(1)}),
    "(Max): with this constant": ([("Max", "x c", "y")], {"c": numbers(4, 1, 1)}),
    "a constant of shape 2x1x1x1": ([("Mul", "x c", "y")], {"c": numbers(2, 1, 1, 1)}),
    "of shapes 4x6x5 and 30x4": (
        [("Reshape", "x s", "t"), ("Add", "x t", "y")],
        {"s": whole(1, 30, 4)},
    ),
    "with exponent [0.5]": ([("Pow", "x e", "y")], {"e": np.float32(0.5)}),
    "a constant of shape 7 on": ([("PRelu", "x s", "y")], {"s": numbers(7)}),
    "(Flatten): axis 2": ([("Flatten", "x", "y", {"axis": 2})], {}),
    "to [0, 0, 0, 0, 0]": ([("Reshape", "x s", "y")], {"s": whole(0, 0, 0, 0, 0)}),
    "shape 1x4x6x5 to [1, 7]": ([("Reshape", "x s", "y")], {"s": whole(1, 7)}),
    "(Squeeze): touches the batch": ([("Squeeze", "x a", "y")], {"a": whole(0)}),
    "(Concat): axis 0": ([("Concat", "x x", "y", {"axis": 0})], {}),
    "(Slice): touches the batch": (
        [("Slice", "x s e a", "y")],
        {"s": whole(1), "e": whole(2), "a": whole(0)},
    ),
    "(Slice): backwards": (
        [("Slice", "x s e a t", "y")],
        {"s": whole(5), "e": whole(0), "a": whole(2), "t": whole(-1)},
    ),
    "(Slice): takes nothing": (
        [("Slice", "x s e a", "y")],
        {"s": whole(3), "e": whole(2), "a": whole(2)},
    ),
    "its bounds must be constant": ([("Slice", "x x x", "y")], {}),
    "says not where it begins": ([("Slice", "x _ _", "y")], {}),
    "axes and steps are not as many": (
        [("Slice", "x s e a", "y")],
        {"s": whole(1, 1), "e": whole(2), "a": whole(2)},
    ),
    "axis 9, step 1": (
        [("Slice", "x s e a", "y")],
        {"s": whole(1), "e": whole(2), "a": whole(9)},
    ),
    "(Split): axis 0": ([("Split", "x", "y z", {"axis": 0})], {}),
    "4 into [1, 1]": ([("Split", "x n", "y z", {"axis": 1})], {"n": whole(1, 1)}),
    "places that are no neighbours": ([("Gather", "x i", "y", {"axis": 1})], {"i": whole(2, 0)}),
    "axis 0 with indices": ([("Gather", "x i", "y", {"axis": 0})], {"i": np.array(0)}),
    "in an order that no transposition": (
        [
            ("MaxPool", "x", "p", {"kernel_shape": [2, 2]}),
            ("Flatten", "x", "f"),
            ("Flatten", "p", "g"),
            ("Concat", "f g", "t", {"axis": 1}),
            ("Pad", "t n", "y"),
        ],
        {"n": whole(0, 1, 0, 1)},
    ),
    "of shapes 4x1x5 and 4x6x1": (
        [
            ("ReduceMax", "x a", "t"),
            ("ReduceMax", "x b", "u"),
            ("Add", "t u", "y"),
        ],
        {"a": whole(2), "b": whole(3)},
    ),
    "is a second result": ([("Dropout", "x", "t m"), ("Mul", "t m", "y")], {}),
    "output y is the input itself": ([("Identity", "x", "y")], {}),
    "a logarithm inside of the network": (
        [("LogSoftmax", "x", "t"), ("Exp", "t", "y")],
        {},
        VECTOR,
    ),
    "input x has shape [1, ?, 6, 5]": ([("Tanh", "x", "y")], {}, (1, "n", 6, 5)),
    "input x has shape [1]": ([("Tanh", "x", "y")], {}, (1,)),
    "a weight or constant is not finite": ([("Mul", "x c", "y")], {"c": np.float32(np.inf)}),
    "has 159999984 elements": ([("Pad", "x p", "y")], {"p": whole(0, 0, 0, 0, 0, 0, 0, 6666661)}),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_cannot_be_is_refused_in_one_line(message: str, tmp_path: Path) -> None:
    nodes, constants, *rest = REFUSED[message]
    path = write(tmp_path / "m.onnx", nodes, constants, rest[0] if rest else PICTURE)
    with pytest.raises(ModelError) as caught:
        read_model(path)
    text = str(caught.value)
    assert message in text and text.startswith(f"{path}: ") and "\n" not in text


COMPUTED: dict[str, tuple[Any, ...]] = {
    "Add": ({"a": numbers(2, 3), "b": numbers(3)},),
    "Cast": ({"a": numbers(3) * 9}, {"to": 7}),
    "Ceil": ({"a": numbers(3)},),
    "Concat": ({"a": numbers(2, 3), "b": numbers(2, 1)}, {"axis": 1}),
    "ConstantOfShape": ({"a": whole(2, 3)},),
    "Div": ({"a": whole(-7, 7), "b": whole(2, 2)},),
    "Equal": ({"a": whole(1, 2), "b": whole(1, 3)},),
    "Exp": ({"a": numbers(3)},),
    "Expand": ({"a": numbers(3, 1), "b": whole(2, 1, 4)},),
    "Flatten": ({"a": numbers(2, 3, 4)}, {"axis": 2}),
    "Floor": ({"a": numbers(3)},),
    "Gather": ({"a": numbers(3, 4), "b": whole(2, 0)}, {"axis": 1}),
    "Greater": ({"a": numbers(3), "b": numbers(3)},),
    "Less": ({"a": numbers(3), "b": numbers(3)},),
    "Log": ({"a": positive(3)},),
    "Mod": ({"a": whole(-7, 7), "b": whole(3, 3)},),
    "Mul": ({"a": numbers(3), "b": numbers(1)},),
    "Neg": ({"a": numbers(3)},),
    "Not": ({"a": np.array([True, False])},),
    "Pow": ({"a": positive(3), "b": np.float32(0.5)},),
    "Range": ({"a": np.array(1), "b": np.array(9), "c": np.array(3)},),
    "Reciprocal": ({"a": positive(3)},),
    "ReduceMax": ({"a": numbers(3, 4), "b": whole(1)}, {"keepdims": 0}),
    "ReduceProd": ({"a": numbers(3, 4)},),
    "Reshape": ({"a": numbers(3, 4), "b": whole(0, 2, -1)},),
    "Shape": ({"a": numbers(3, 4, 5)}, {"start": 1}),
    "Size": ({"a": numbers(3, 4)},),
    "Slice": (
        {
            "a": numbers(5, 6),
            "b": whole(4, 1),
            "c": whole(-9, 9),
            "d": whole(0, 1),
            "e": whole(-2, 3),
        },
    ),
    "Sqrt": ({"a": positive(3)},),
    "Squeeze": ({"a": numbers(1, 3, 1), "b": whole(-1)},),
    "Sub": ({"a": numbers(3), "b": numbers(3)},),
    "Tile": ({"a": numbers(2, 3), "b": whole(2, 1)},),
    "Transpose": ({"a": numbers(2, 3)},),
    "Unsqueeze": ({"a": numbers(2, 3), "b": whole(0, 3)},),
    "Where": ({"a": np.array([True, False]), "b": numbers(2), "c": numbers(2)},),
    "DequantizeLinear": (
        {"a": np.array([[1, -5], [7, 9]], np.int8), "b": positive(2), "c": np.zeros(2, np.int8)},
        {"axis": 0},
    ),
}


@pytest.mark.parametrize("op", COMPUTED)
def test_constants_are_what_onnx_says(op: str, tmp_path: Path) -> None:
    from onnx.reference import ReferenceEvaluator

    arrays, *rest = COMPUTED[op]
    arguments = ([(op, " ".join(arrays), "y", *rest)], arrays, PICTURE)
    (want,) = ReferenceEvaluator(model(*arguments)).run(None, {"x": np.zeros(PICTURE)})
    source = read_onnx(write(tmp_path / "m.onnx", *arguments))
    (node,) = source.nodes
    found = constant(node, [source.constants[name] for name in node.inputs])
    assert found.shape == want.shape
    np.testing.assert_allclose(found, want, rtol=1e-6)


@pytest.mark.parametrize(
    ("op", "arrays", "attributes", "message"),
    [
        ("Einsum", {"a": numbers(2)}, {"equation": "i"}, "is not supported"),
        ("Cast", {"a": numbers(2)}, {"to": 8}, "to element type 8 is not supported"),
        ("ConstantOfShape", {"a": whole(1 << 20, 1 << 20)}, {}, "numbers are possible"),
        ("Expand", {"a": numbers(2, 1), "b": whole(1 << 40)}, {}, "numbers are possible"),
        ("Tile", {"a": numbers(2), "b": whole(1 << 40)}, {}, "numbers are possible"),
        ("Range", {"a": np.array(0), "b": np.array(1 << 40), "c": np.array(1)}, {}, "possible"),
        ("Reshape", {"a": numbers(2), "b": whole(3)}, {}, "cannot be computed"),
        ("Concat", {"a": numbers(2)}, {}, "cannot be computed"),
        ("Constant", {}, {}, "has no value"),
        (
            "DequantizeLinear",
            {"a": whole(1, 2), "b": positive(3)},
            {"axis": 0},
            "3 scales for axis",
        ),
    ],
)
def test_constants_that_cannot_be(
    op: str, arrays: dict, attributes: dict, message: str, tmp_path: Path
) -> None:
    nodes = [(op, " ".join(arrays), "made", attributes), ("Add", "x made", "y")]
    with pytest.raises(ModelError, match=message) as caught:
        read_model(write(tmp_path / "m.onnx", nodes, arrays, PICTURE))
    assert "\n" not in str(caught.value)
