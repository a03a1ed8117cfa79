"""Functions of one number, and softmax."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import erf, pi

import numpy as np

from model.importing.float_operators.definition import FloatOperator, Shape

__all__ = ["FUNCTIONS", "Function", "Softmax"]

_ERF_AT = np.linspace(-6, 6, 1 << 14)

_ERF = np.array([erf(x) for x in _ERF_AT])


def _erf(x: np.ndarray) -> np.ndarray:
    """erf, interpolated between points so close that the error is below 1e-7."""
    return np.interp(x, _ERF_AT, _ERF).astype(np.float32)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def _hard_sigmoid(x: np.ndarray) -> np.ndarray:
    return np.clip(x + 3, 0, 6) / 6


def _softplus(x: np.ndarray) -> np.ndarray:
    return np.logaddexp(x, 0)


def _gelu_by_tanh(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.tanh((2 / pi) ** 0.5 * (x + 0.044715 * x**3)))


FUNCTIONS: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "identity": lambda x, _: x,
    "leaky_relu": lambda x, alpha: np.where(x < 0, x * np.float32(alpha), x),
    "elu": lambda x, alpha: np.where(x < 0, np.float32(alpha) * np.expm1(np.minimum(x, 0)), x),
    "sigmoid": lambda x, _: _sigmoid(x),
    "tanh": lambda x, _: np.tanh(x),
    "hard_sigmoid": lambda x, _: _hard_sigmoid(x),
    "hard_swish": lambda x, _: x * _hard_sigmoid(x),
    "silu": lambda x, _: x * _sigmoid(x),
    "gelu": lambda x, _: x * (0.5 + 0.5 * _erf(x * 0.5**0.5)),
    "gelu_by_tanh": lambda x, _: _gelu_by_tanh(x),
    "erf": lambda x, _: _erf(x),
    "exp": lambda x, _: np.exp(x),
    "softplus": lambda x, _: _softplus(x),
    "softsign": lambda x, _: x / (1 + np.abs(x)),
    "mish": lambda x, _: x * np.tanh(_softplus(x)),
    "abs": lambda x, _: np.abs(x),
    "sqrt": lambda x, _: np.sqrt(x),
    "reciprocal": lambda x, _: 1 / x,
}
"""By name, of a value and of `Function.alpha`: the slope of leaky_relu, the size of elu."""


@dataclass(frozen=True)
class Function(FloatOperator):
    """A function of one number, one of `FUNCTIONS`.

    A ReLU or clip on its own is the identity, in a node with a clamp.
    """

    name: str
    alpha: float = 0.0

    def __post_init__(self) -> None:
        if self.name not in FUNCTIONS:
            raise ValueError(f"no function {self.name!r}")

    @property
    def kind(self) -> str:
        return self.name

    def shape(self, *shapes: Shape) -> Shape:
        return shapes[0]

    def forward(self, *inputs: np.ndarray) -> np.ndarray:
        return FUNCTIONS[self.name](inputs[0], self.alpha)


@dataclass(frozen=True)
class Softmax(FloatOperator):
    """Softmax over the last axis.

    Attributes
    ----------
    logarithm : bool
        Whether the source takes its logarithm, too. It is left out: at a network's end, where it is
        allowed, only the order of scores counts.
    """

    logarithm: bool = False

    def shape(self, *shapes: Shape) -> Shape:
        return shapes[0]

    def forward(self, *inputs: np.ndarray) -> np.ndarray:
        powers = np.exp(inputs[0] - inputs[0].max(axis=-1, keepdims=True))
        return powers / powers.sum(axis=-1, keepdims=True)
