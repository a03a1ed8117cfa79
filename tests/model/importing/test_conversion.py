"""From float graphs to int8: close to the float network, and byte for byte TFLM's."""

from __future__ import annotations

from math import inf

import numpy as np
import pytest

from model.errors import ModelError
from model.importing.calibration import calibrate
from model.importing.conversion import Conversion, signal_to_noise
from model.importing.float_graph import FloatGraph
from model.importing.float_operators import (
    Affine,
    AveragePool,
    Binary,
    BinaryKind,
    Convolution,
    Dense,
    FloatOperator,
    Function,
    MaxPool,
    Nearest,
    Reduction,
    ReductionKind,
    Reshape,
    Resize,
    Sampling,
    Softmax,
    Window,
)
from model.importing.preprocessing import Preprocessing
from model.importing.rounding import ACCUMULATOR_BITS, rounded
from model.int8 import reference
from model.int8.graph import Graph
from tests.model.int8 import oracle

SAME3 = (1, 1, 1, 1)


def convolution(
    rng: np.random.Generator,
    inputs: int,
    outputs: int,
    kernel: int = 3,
    groups: int = 1,
    stride: int = 1,
    pads: tuple[int, int, int, int] | None = None,
) -> Convolution:
    if pads is None:
        pads = (kernel // 2,) * 4
    weights = rng.normal(size=(kernel, kernel, inputs // groups, outputs))
    weights /= np.sqrt(kernel * kernel * inputs / groups)
    window = Window((kernel, kernel), (stride, stride), pads=pads)
    return Convolution(weights, rng.normal(size=outputs) * 0.1, window, groups)


def network(rng: np.random.Generator) -> FloatGraph:
    """Stride 2 with PyTorch's padding, depthwise, groups, a residual, clips, and a softmax."""
    graph = FloatGraph()
    x = graph.tensor((12, 10, 3))
    x = graph.append(convolution(rng, 3, 8, stride=2), [x], "a", (0.0, inf))
    y = graph.append(convolution(rng, 8, 8, groups=8), [x], "b", (0.0, 6.0))
    y = graph.append(convolution(rng, 8, 8, groups=2), [y], "c", (0.0, 1.0))
    x = graph.append(Binary(BinaryKind.ADD), [x, y], "d", (0.0, inf))
    x = graph.append(MaxPool(Window((3, 3), (2, 2), pads=SAME3)), [x], "e")
    x = graph.append(AveragePool(Window((3, 3), pads=SAME3), SAME3), [x], "f")
    x = graph.append(Function("hard_swish"), [x], "g")
    x = graph.append(Affine(rng.uniform(0.5, 1.5, 8), rng.normal(size=8)), [x], "h")
    y = graph.append(Reduction(ReductionKind.MEAN, (0, 1)), [x], "i")
    y = graph.append(Reshape((8,)), [y], "j")
    y = graph.append(Dense(rng.normal(size=(8, 5)), rng.normal(size=5)), [y], "k")
    graph.outputs = [graph.append(Softmax(), [y], "l")]
    graph.output_names = ["l"]
    return graph


def pictures(rng: np.random.Generator, count: int, shape: tuple[int, ...]) -> np.ndarray:
    return rng.integers(0, 256, (count, *shape)).astype(np.uint8)


@pytest.mark.parametrize("seed", range(3))
def test_int8_is_close_to_float_and_equals_tflm(seed: int) -> None:
    rng = np.random.default_rng(seed)
    graph, x = network(rng), pictures(rng, 40, (12, 10, 3))
    mean, std = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
    conversion = Conversion(graph, Preprocessing.of(3, mean, std), x)
    exported = conversion.export("m")
    # Weights of one group: nothing is filled up with zeros.
    assert (8, 3, 3, 4) in [each.shape for each in exported.tensors]
    comparison = conversion.compare(exported, x, None)
    assert comparison.snr_db > 30
    assert comparison.agreement > 0.9
    stored = conversion.stored(x[:8])
    ours = reference.run(exported, stored, "all")
    for tensor, values in oracle.run(exported, stored).items():
        np.testing.assert_array_equal(ours[tensor], values)


def test_one_channel_is_normalised_by_scale_and_zero_point_alone() -> None:
    rng = np.random.default_rng(0)
    graph = FloatGraph()
    graph.tensor((6, 6, 1))
    graph.outputs = [graph.append(convolution(rng, 1, 4), [0], "conv")]
    x = pictures(rng, 30, (6, 6, 1))
    conversion = Conversion(graph, Preprocessing.of(1, [0.1307], [0.3081]), x)
    scale, zero_point = conversion.affine
    assert scale == pytest.approx(1 / (255 * 0.3081))
    assert zero_point == round(255 * 0.1307) - 128
    assert len(conversion.export("m").operators) == 1
    assert conversion.compare(conversion.export("m"), x, None).snr_db > 35


def test_several_channels_are_normalised_exactly_at_the_edges_too() -> None:
    """Means that differ a lot: padding is the mean of each channel, which one byte cannot be."""
    rng = np.random.default_rng(0)
    graph = FloatGraph()
    graph.tensor((4, 4, 3))
    graph.outputs = [graph.append(convolution(rng, 3, 4), [0], "conv")]
    x = pictures(rng, 30, (4, 4, 3))
    conversion = Conversion(graph, Preprocessing.of(3, [0.1, 0.5, 0.9], [0.2, 0.3, 0.4]), x)
    exported = conversion.export("m")
    assert [each.kind.value for each in exported.operators] == ["DEPTHWISE_CONV_2D", "CONV_2D"]
    assert conversion.compare(exported, x, None).snr_db > 35
    # Without padding it costs no layer.
    graph.nodes[0].operator = convolution(rng, 3, 4, pads=(0, 0, 0, 0))
    graph.shapes[graph.outputs[0]] = (2, 2, 4)
    conversion = Conversion(graph, Preprocessing.of(3, [0.1, 0.5, 0.9], [0.2, 0.3, 0.4]), x)
    exported = conversion.export("m")
    assert len(exported.operators) == 1
    assert conversion.compare(exported, x, None).snr_db > 35


def test_a_normalisation_inside_goes_into_the_input() -> None:
    rng = np.random.default_rng(0)
    graph = FloatGraph()
    graph.tensor((4, 4, 1))
    inner = graph.append(Affine(np.array(1 / 0.3081), np.array(-0.1307 / 0.3081)), [0], "norm")
    graph.outputs = [graph.append(convolution(rng, 1, 4), [inner], "conv")]
    conversion = Conversion(graph, Preprocessing.of(1), pictures(rng, 30, (4, 4, 1)))
    assert conversion.affine[0] == pytest.approx(1 / (255 * 0.3081))
    assert len(conversion.export("m").operators) == 1


def test_real_inputs_are_calibrated() -> None:
    rng = np.random.default_rng(0)
    graph = FloatGraph()
    graph.tensor((7,))
    graph.outputs = [graph.append(Dense(rng.normal(size=(7, 3)), np.zeros(3)), [0], "dense")]
    x = rng.normal(size=(50, 7)).astype(np.float32) * 4
    conversion = Conversion(graph, None, x)
    exported = conversion.export("m")
    assert conversion.affine[0] == pytest.approx(float(x.max() - x.min()) / 255)
    assert conversion.compare(exported, x, None).snr_db > 35


def test_channels_that_would_overflow_are_made_coarser_and_no_other() -> None:
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(500, 4))
    weights[:, 2] = rng.choice([-1.0, 1.0], 500)  # each at an end of the range
    bias = np.zeros(4)
    found = rounded(weights, bias, (1 / 255, -128), by_channel=True)
    assert found.coarser == (2,)
    sums = np.abs(found.stored[:, 2].astype(np.int64)).sum() * 128
    assert sums < 1 << (ACCUMULATOR_BITS - 1)
    free = np.abs(weights).max(axis=0) / 127
    np.testing.assert_allclose(np.delete(found.scale, 2), np.delete(free, 2), rtol=1e-6)


def test_a_channel_of_zeros_keeps_its_bias() -> None:
    weights = np.zeros((10, 2))
    weights[:, 1] = 1
    found = rounded(weights, np.array([0.5, 0.5]), (1 / 255, -128), by_channel=True)
    real = found.bias * found.scale.astype(np.float64) / 255
    np.testing.assert_allclose(real, 0.5, rtol=1e-3)
    assert found.coarser == ()


def test_values_that_are_not_finite_name_their_node() -> None:
    graph = FloatGraph()
    graph.tensor((4,))
    graph.outputs = [graph.append(Function("reciprocal"), [0], "the one")]
    with pytest.raises(ModelError, match="node the one: a value is not finite"):
        calibrate(graph, np.zeros((2, 4)))


def test_a_clip_far_from_zero_has_no_int8_form() -> None:
    graph = FloatGraph()
    graph.tensor((4,))
    graph.outputs = [graph.append(Function("identity"), [0], "clip", (1.0, 2.0))]
    with pytest.raises(ModelError, match=r"node clip \(identity\): a clip to 1 \.\. 2"):
        Conversion(graph, Preprocessing.of(4), np.full((3, 4), 9, np.uint8))


def test_signal_to_noise_is_in_decibels() -> None:
    real = np.array([3.0, 4.0])
    assert signal_to_noise(real, real + [0.3, 0.4]) == pytest.approx(20)
    assert signal_to_noise(real, real) == 200
    with pytest.raises(ModelError, match="outputs are all 0"):
        signal_to_noise(np.zeros(2), np.ones(2))


def test_biases_take_back_what_rounding_weights_changes_in_the_mean() -> None:
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(200, 5))
    x = rng.uniform(0, 1, (1000, 200)) ** 3
    mean = np.broadcast_to(x.mean(axis=0)[:, np.newaxis], weights.shape)
    errors = []
    for given in (None, mean):
        found = rounded(weights, np.zeros(5), (1 / 255, -128), by_channel=False, mean=given)
        stored = found.stored * found.scale.astype(np.float64)
        bias = found.bias * found.scale.astype(np.float64) / 255
        errors.append(np.abs((x @ stored + bias - x @ weights).mean(axis=0)).max())
    assert errors[1] < errors[0] / 20


@pytest.mark.parametrize("possible", [True, False])
def test_sums_may_be_wider_where_that_comes_closer_and_runs(possible: bool) -> None:
    """Weights at the ends of their range, which 24 bits make coarser by a lot."""
    rng = np.random.default_rng(0)
    graph = FloatGraph()
    graph.tensor((3000,))
    weights = rng.choice([-1.0, 1.0, 0.6], (3000, 4))
    graph.outputs = [graph.append(Dense(weights, np.zeros(4)), [0], "dense")]
    x = rng.normal(size=(60, 3000)).astype(np.float32)
    asked = []

    def runs(exported: Graph) -> bool:
        asked.append(exported)
        return possible

    conversion = Conversion(graph, None, x, runs)
    conversion.export("m")
    assert asked
    assert (conversion.choices.sum_bits > ACCUMULATOR_BITS) == possible
    assert bool(conversion.notes) != possible


def test_one_output_is_a_yes_or_a_no() -> None:
    rng = np.random.default_rng(0)
    graph = FloatGraph()
    graph.tensor((6,))
    dense = graph.append(Dense(rng.normal(size=(6, 1)), np.zeros(1)), [0], "dense")
    graph.outputs = [graph.append(Function("sigmoid"), [dense], "sigmoid")]
    x = rng.normal(size=(50, 6)).astype(np.float32)
    y = (graph.run(x)[0][:, 0] > 0.5).astype(np.int64)
    conversion = Conversion(graph, None, x)
    comparison = conversion.compare(conversion.export("m"), x, y)
    assert comparison.float_accuracy == 1 and comparison.int8_accuracy == comparison.agreement
    assert comparison.agreement > 0.9


@pytest.mark.parametrize(
    ("operator", "shape", "message"),
    [
        (MaxPool(Window((2, 2), dilation=(2, 2))), (6, 6, 2), "dilation has no int8 form"),
        (AveragePool(Window((2, 2), dilation=(2, 2))), (6, 6, 2), "dilation has no int8 form"),
        (Function("sqrt"), (4,), "has no int8 form"),
        (
            Resize((3, 3), False, Sampling.ASYMMETRIC, Nearest.HALF_UP),
            (4, 4, 1),
            "no such choice of the nearest pixels",
        ),
    ],
    ids=lambda each: getattr(each, "kind", None),
)
def test_what_has_no_int8_form_is_refused(
    operator: FloatOperator, shape: tuple[int, ...], message: str
) -> None:
    graph = FloatGraph()
    graph.tensor(shape)
    graph.outputs = [graph.append(operator, [0], "odd")]
    x = np.random.default_rng(0).random((20, *shape)).astype(np.float32)
    with pytest.raises(ModelError, match=rf"node odd \(.*\): .*{message}"):
        Conversion(graph, None, x)
