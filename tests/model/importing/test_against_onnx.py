"""Single nodes with random attributes, against the reference evaluator of the package onnx."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.importing.formulas import recognize
from model.importing.importer import read_model
from model.importing.simplification import simplify

onnx = pytest.importorskip("onnx")

CHANNELS = 4


def numbers(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.normal(size=shape).astype(np.float32)


def whole(rng: np.random.Generator, low: int, high: int, count: int = 1) -> list[int]:
    """`count` whole numbers, `high` included."""
    return [int(each) for each in rng.integers(low, high + 1, count)]


Case = tuple[str, dict[str, Any], list[np.ndarray]]


def convolution(rng: np.random.Generator) -> Case:
    groups = int(rng.choice([1, 2, CHANNELS]))
    outputs = groups * int(rng.integers(1, 4))
    weights = numbers(rng, outputs, CHANNELS // groups, *whole(rng, 1, 3, 2))
    attributes = {
        "group": groups,
        "strides": whole(rng, 1, 3, 2),
        "dilations": whole(rng, 1, 2, 2),
        "pads": whole(rng, 0, 2, 4),
    }
    return "Conv", attributes, [weights, numbers(rng, outputs)]


def transposed(rng: np.random.Generator) -> Case:
    strides = whole(rng, 1, 3, 2)
    kernel = whole(rng, 2, 4, 2)
    attributes = {
        "strides": strides,
        "pads": whole(rng, 0, 1, 4),
        "output_padding": [int(rng.integers(0, stride)) for stride in strides],
    }
    return "ConvTranspose", attributes, [numbers(rng, CHANNELS, 3, *kernel), numbers(rng, 3)]


def pool(rng: np.random.Generator) -> Case:
    kernel = whole(rng, 2, 3, 2)
    attributes: dict[str, Any] = {
        "kernel_shape": kernel,
        "strides": whole(rng, 1, 3, 2),
        "pads": whole(rng, 0, 1, 4),
    }
    if rng.integers(2):
        return "MaxPool", attributes, []
    return "AveragePool", {**attributes, "count_include_pad": int(rng.integers(2))}, []


def pad(rng: np.random.Generator) -> Case:
    pads = np.array([0, *whole(rng, 0, 2, 3), 0, *whole(rng, 0, 2, 3)])
    return "Pad", {}, [pads, np.float32(rng.normal())]


def part(rng: np.random.Generator) -> Case:
    axes = rng.permutation([1, 2, 3])[: int(rng.integers(1, 4))]
    starts, ends = np.array(whole(rng, 0, 1, len(axes))), np.array(whole(rng, 3, 9, len(axes)))
    return "Slice", {}, [starts, ends, axes, np.array(whole(rng, 1, 2, len(axes)))]


def reduction(rng: np.random.Generator) -> Case:
    axes = np.sort(rng.permutation([1, 2, 3])[: int(rng.integers(1, 4))])
    op = str(rng.choice(["ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin"]))
    return op, {"keepdims": int(rng.integers(2))}, [axes]


def resize(rng: np.random.Generator) -> Case:
    size = np.array([1, CHANNELS, *whole(rng, 3, 12, 2)])
    mode = str(rng.choice(["nearest", "linear"]))
    ways = ["half_pixel", "asymmetric", "align_corners"]
    attributes = {"mode": mode, "coordinate_transformation_mode": str(rng.choice(ways))}
    if mode == "nearest":
        roundings = ["floor", "round_prefer_floor", "round_prefer_ceil"]
        attributes["nearest_mode"] = str(rng.choice(roundings))
    nothing = np.zeros(0, np.float32)
    return "Resize", attributes, [nothing, nothing, size]


def element_wise(rng: np.random.Generator) -> Case:
    op = str(rng.choice(["Add", "Sub", "Mul", "Div", "PRelu"]))
    shape = [(1, CHANNELS, 1, 1), (CHANNELS, 5, 6), (1,), (6,)][int(rng.integers(4))]
    values = numbers(rng, *shape)
    return op, {}, [np.abs(values) + np.float32(0.1)]


def function(rng: np.random.Generator) -> Case:
    names = "Relu Sigmoid Tanh HardSwish Elu LeakyRelu Softplus Softsign Gelu Mish Neg Abs Erf"
    op = str(rng.choice(names.split()))
    attributes = {"alpha": 0.3} if op in ("Elu", "LeakyRelu") else {}
    return op, attributes, []


def order(rng: np.random.Generator) -> Case:
    if rng.integers(2):
        return "Transpose", {"perm": [0, *(int(each) for each in rng.permutation([1, 2, 3]))]}, []
    return "Softmax", {"axis": int(rng.integers(1, 4))}, []


MAKERS = (
    convolution,
    transposed,
    pool,
    pad,
    part,
    reduction,
    resize,
    element_wise,
    function,
    order,
)


@pytest.mark.parametrize("maker", MAKERS, ids=lambda maker: maker.__name__)
def test_a_node_computes_what_onnx_says(maker: Any, tmp_path: Path) -> None:
    from onnx import TensorProto, helper, numpy_helper, save
    from onnx.reference import ReferenceEvaluator

    rng = np.random.default_rng(MAKERS.index(maker))
    for _ in range(25):
        op, attributes, constants = maker(rng)
        names = [
            f"c{place}" if each.size or each.ndim == 0 else ""
            for place, each in enumerate(map(np.asarray, constants))
        ]
        # A flattening behind it, so that the order of all elements counts
        nodes = [
            helper.make_node(op, ["x", *names], ["y"], **attributes),
            helper.make_node("Flatten", ["y"], ["z"]),
        ]
        graph = helper.make_graph(
            nodes,
            "test",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, CHANNELS, 5, 6))],
            [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)],
            [
                numpy_helper.from_array(np.asarray(each), name)
                for name, each in zip(names, constants)
                if name
            ],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
        x = numbers(rng, 1, CHANNELS, 5, 6)
        (want,) = ReferenceEvaluator(model).run(None, {"x": x})
        path = tmp_path / "model.onnx"
        save(model, path)
        found, layout = read_model(path)
        ours = np.moveaxis(x, 1, -1) if layout == "NCHW" else x
        for _ in range(2):
            (y,) = found.run(ours)
            np.testing.assert_allclose(y, want, rtol=1e-4, atol=1e-5, err_msg=f"{op} {attributes}")
            recognize(found)
            simplify(found)
