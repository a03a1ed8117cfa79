"""Gradients of a float graph's operators, against differences."""

from __future__ import annotations

import numpy as np
import pytest

from model.importing.float_operators import (
    Affine,
    AveragePool,
    Binary,
    BinaryKind,
    Concatenation,
    Convolution,
    Dense,
    FloatOperator,
    Function,
    MaxPool,
    Nearest,
    Pad,
    PRelu,
    Reduction,
    ReductionKind,
    Reshape,
    Resize,
    Sampling,
    Slice,
    Softmax,
    Transpose,
    TransposedConvolution,
    Window,
)
from model.importing.gradients import gradients

RNG = np.random.default_rng(0)
WINDOW = Window((3, 2), (2, 1), (1, 2), (1, 2, 0, 1))
POOL = Window((3, 2), (2, 1), (1, 1), (1, 1, 1, 0))


def weights(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape)


PICTURE = (5, 6, 4)
CASES: list[tuple[FloatOperator, tuple[tuple[int, ...], ...]]] = [
    (Convolution(weights(3, 2, 4, 3), weights(3), WINDOW), (PICTURE,)),
    (Convolution(weights(3, 2, 1, 8), weights(8), WINDOW, 4), (PICTURE,)),
    (Convolution(weights(3, 2, 2, 6), weights(6), WINDOW, 2), (PICTURE,)),
    (TransposedConvolution(weights(3, 2, 4, 3), weights(3), (2, 3), (1, 0, -1, 1)), (PICTURE,)),
    (Dense(weights(7, 3), weights(3)), ((7,),)),
    (Affine(weights(4), weights(4)), (PICTURE,)),
    (MaxPool(POOL), (PICTURE,)),
    (AveragePool(POOL), (PICTURE,)),
    (AveragePool(POOL, (1, 0, 1, 0)), (PICTURE,)),
    (Reduction(ReductionKind.MEAN, (0, 1)), (PICTURE,)),
    (Reduction(ReductionKind.SUM, (2,)), (PICTURE,)),
    (Reduction(ReductionKind.MAX, (1,)), (PICTURE,)),
    *((Binary(kind), (PICTURE, (1, 1, 4))) for kind in BinaryKind),
    (Concatenation(1), (PICTURE, (5, 2, 4))),
    (Slice((1, 0, 1), (5, 6, 4), (2, 1, 3)), (PICTURE,)),
    (Pad(((1, 0), (0, 2), (3, 1)), 0.5), (PICTURE,)),
    (Resize((7, 9), True, Sampling.HALF_PIXEL), (PICTURE,)),
    (Resize((3, 12), False, Sampling.ALIGN_CORNERS, Nearest.HALF_UP), (PICTURE,)),
    (Reshape((6, 20)), (PICTURE,)),
    (Transpose((2, 0, 1)), (PICTURE,)),
    (Softmax(), ((5,),)),
    (PRelu(weights(4)), (PICTURE,)),
    *((Function(name, 0.3), (PICTURE,)) for name in ("identity", "leaky_relu", "gelu", "tanh")),
]


@pytest.mark.parametrize(("operator", "shapes"), CASES, ids=lambda each: getattr(each, "kind", ""))
def test_gradients_are_those_of_small_differences(
    operator: FloatOperator, shapes: tuple[tuple[int, ...], ...]
) -> None:
    rng = np.random.default_rng(1)
    inputs = [rng.normal(size=(2, *shape)).astype(np.float32) for shape in shapes]
    y = operator.forward(*inputs)
    assert y.shape == (2, *operator.shape(*shapes))
    dy = rng.normal(size=y.shape).astype(np.float32)
    by_input, by_parameter = gradients(operator, inputs, y, dy)
    step = 1e-3

    def loss(changed: list[np.ndarray]) -> float:
        return float((operator.forward(*changed).astype(np.float64) * dy).sum())

    for place, x in enumerate(inputs):
        assert by_input[place].shape == x.shape
        for _ in range(8):
            at = tuple(int(rng.integers(size)) for size in x.shape)
            ends = []
            for sign in (-1, 1):
                changed = [each.copy() for each in inputs]
                changed[place][at] += sign * step
                ends.append(loss(changed))
            want = (ends[1] - ends[0]) / (2 * step)
            assert by_input[place][at] == pytest.approx(want, rel=0.03, abs=0.03)
    for name, gradient in by_parameter.items():
        values = getattr(operator, name)
        assert gradient.shape == values.shape
        for _ in range(8):
            at = tuple(int(rng.integers(size)) for size in values.shape)
            kept = values[at]
            ends = []
            for sign in (-1, 1):
                values[at] = kept + sign * step
                ends.append(loss(inputs))
            values[at] = kept
            want = (ends[1] - ends[0]) / (2 * step)
            assert gradient[at] == pytest.approx(want, rel=0.03, abs=0.03)
