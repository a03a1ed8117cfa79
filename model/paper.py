"""The experiment behind this project: one picture, one small network, one odd rule.

"Pattern Recognition using Convolutional Neural Networks in Python" (Chan, Fallar, Ramos, Sese; De
La Salle University) builds a network from scratch, so that an FPGA can follow. This file is that
network, in the order in which a number travels through it, and two ways to train it: the paper's
own rule, and the gradient. It stands alone on purpose: it does what `model.training.layers` does in
general, at a size where every array fits on the screen.

1. A picture of 4×4 pixels, 0 or 1: `IMAGE`, a cross.
2. Three filters of 3×3 slide over it. A 3×3 window has 2×2 places in a 4×4 picture, hence
   2 · 2 · 3 = 12 sums, `c`.
3. The sigmoid squeezes each sum to 0 .. 1: the nodes, `h`.
4. 12 · 4 weights join each node to each of four outputs, one a class: `z`.
5. Softmax makes them positive and of sum 1: `o`. The largest one is the answer.

Teaching is the same walk backwards. `paper_step` is what the paper does, reconstructed from its
Tables I to VI (`tests/model/test_paper.py` holds it to them); `gradient_step` is what the chain
rule says. docs/paper.md compares the two.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

import numpy as np

from model.datasets import patterns
from model.training.loss import softmax

__all__ = [
    "CROSS",
    "IMAGE",
    "INITIAL_WEIGHTS",
    "Example",
    "Pass",
    "Record",
    "Rule",
    "State",
    "Step",
    "clean_shapes",
    "compare",
    "forward",
    "gradient",
    "gradient_step",
    "paper_step",
    "run",
    "squared_error",
    "start",
]

IMAGE: Final = np.array([[1, 0, 0, 1], [0, 1, 1, 0], [0, 1, 1, 0], [1, 0, 0, 1]], float)
"""The paper's picture."""

WANTED: Final = 0
"""Its class."""

CLASSES: Final = 4
FILTERS: Final = 3
SIDE: Final = 3
"""Rows and columns of a filter."""

INITIAL_FILTER: Final = 0.1
"""Every entry of every filter at the start."""

INITIAL_WEIGHTS: Final = np.array(
    [
        [0.526, 0.184, 0.692, 0.537],
        [0.172, 0.924, 0.0532, 0.879],
        [0.0348, 0.342, 0.956, 0.75],
        [0.0732, 0.943, 0.0461, 0.884],
        [0.68, 0.117, 0.483, 0.442],
        [0.352, 0.969, 0.926, 0.5],
        [0.0745, 0.441, 0.278, 0.0928],
        [0.168, 0.178, 0.734, 0.724],
        [0.0368, 0.837, 0.447, 0.73],
        [0.0915, 0.913, 0.794, 0.226],
        [0.589, 0.0349, 0.505, 0.205],
        [0.0904, 0.826, 0.442, 0.129],
    ]
)
"""The paper's Table I: drawn at random there, to three digits; a row a node, a column a class."""

RATE: Final = 0.5
"""Learning rate."""


class Rule(Enum):
    """The learning rule of the network."""

    PAPER = "paper"
    GRADIENT = "gradient"
    FIXED = "fixed"
    """The paper's rule for the weights; the filters stay as they are."""


@dataclass(frozen=True, eq=False)
class Example:
    """A picture of 4×4 and its class."""

    image: np.ndarray
    label: int

    @property
    def target(self) -> np.ndarray:
        """The target outputs: 1 for the class, 0 for the others."""
        return np.eye(CLASSES)[self.label]


CROSS: Final = Example(IMAGE, WANTED)
"""The paper's one example."""


@dataclass(frozen=True, eq=False)
class State:
    """Everything that the network learns.

    Attributes
    ----------
    filters : ndarray of float64, shape (3, 3, 3)
        By row, column and depth, which is the filter's number.
    weights : ndarray of float64, shape (12, 4)
        By node and class.
    """

    filters: np.ndarray
    weights: np.ndarray


def start() -> State:
    """The paper's starting point: filters of 0.1 throughout, and the weights of its Table I."""
    return State(np.full((SIDE, SIDE, FILTERS), INITIAL_FILTER), INITIAL_WEIGHTS.copy())


# Forward.


@dataclass(frozen=True, eq=False)
class Pass:
    """The intermediate values from a picture to an answer.

    Attributes
    ----------
    sums, nodes : ndarray, shape (2, 2, 3)
        By row, column and depth; before and after the sigmoid.
    flat : ndarray, shape (12,)
        The nodes in the order of the rows of the weights.
    outputs : ndarray, shape (4,)
        Positive, of sum 1.
    """

    sums: np.ndarray
    nodes: np.ndarray
    flat: np.ndarray
    outputs: np.ndarray


def _windows(image: np.ndarray, side: int) -> np.ndarray:
    """Every window of side × side: entry [p, q, a, b] is image[p + a, q + b]."""
    return np.lib.stride_tricks.sliding_window_view(image, (side, side))


def _flatten(maps: np.ndarray) -> np.ndarray:
    """Depth changes slowest, then column, then row: the paper's order of nodes."""
    return maps.transpose(2, 1, 0).reshape(-1)


def _unflatten(row: np.ndarray) -> np.ndarray:
    """The inverse of `_flatten`."""
    return row.reshape(FILTERS, 2, 2).transpose(2, 1, 0)


def forward(image: np.ndarray, state: State) -> Pass:
    """The forward pass, from picture to outputs.

    c[p, q, d] = sum over a, b of image[p + a, q + b] filter[a, b, d]
    h = 1 / (1 + exp(-c)), z = h W, o[k] = exp(z[k]) / sum of exp(z)
    """
    sums = np.einsum("pqab,abd->pqd", _windows(image, SIDE), state.filters)
    nodes = 1 / (1 + np.exp(-sums))
    flat = _flatten(nodes)
    return Pass(sums, nodes, flat, softmax(flat @ state.weights))


def squared_error(outputs: np.ndarray, target: np.ndarray) -> float:
    """E = 1/2 sum over k of (o[k] - t[k])²."""
    return float(((outputs - target) ** 2).sum() / 2)


# Backward, as the paper does it.


def paper_step(example: Example, state: State) -> State:
    """One iteration of the paper.

    The weights move against delta[k] = (o[k] - t[k]) o[k] (1 - o[k]), its equation 6. That is the
    gradient of E if each output were a sigmoid of its own; with softmax each output depends on all
    of z, so that it is only near.

    The filters do not move: they are replaced. With D = W o, the new weights times the outputs,
    laid out as 2×2×3 again and turned by 180 degrees,

    filter[a, b, d] = sum over p, q of image[a + p, b + q] D[p, q, d]

    This has the form of a convolution's gradient, but what is carried back is the answer, not its
    error: neither the target nor the old filter nor the learning rate is in it.
    """
    seen = forward(example.image, state)
    outputs = seen.outputs
    delta = (outputs - example.target) * outputs * (1 - outputs)
    weights = state.weights - RATE * np.outer(seen.flat, delta)
    turned = _unflatten(weights @ outputs)[::-1, ::-1]
    return State(_join(example.image, turned), weights)


def _join(image: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """Cross-correlate a picture with maps of 2×2: 3×3 for each depth."""
    return np.einsum("abpq,pqd->abd", _windows(image, 2), maps)


def fixed_step(example: Example, state: State) -> State:
    """Change the weights as `paper_step` does, and leave the filters as they are."""
    return State(state.filters, paper_step(example, state).weights)


# Backward, by the chain rule.


def gradient(example: Example, state: State) -> State:
    """The gradient of E by every filter entry and every weight.

    From the outputs back to the picture, with e = o - t:

    dE/dz[k] = o[k] (e[k] - sum over j of e[j] o[j]), for do[j]/dz[k] = o[j] ((j = k) - o[k])
    dE/dW = h' dE/dz
    dE/dh = W dE/dz
    dE/dc = dE/dh h (1 - h), for the sigmoid's derivative is h (1 - h)
    dE/dfilter[a, b, d] = sum over p, q of image[a + p, b + q] dE/dc[p, q, d]

    (Goodfellow, Bengio, Courville, "Deep Learning", 2016, 6.5 and 9.5.)
    """
    seen = forward(example.image, state)
    error = seen.outputs - example.target
    dz = seen.outputs * (error - (error * seen.outputs).sum())
    dh = _unflatten(state.weights @ dz)
    dc = dh * seen.nodes * (1 - seen.nodes)
    return State(_join(example.image, dc), np.outer(seen.flat, dz))


def gradient_step(example: Example, state: State) -> State:
    """Gradient descent: every value makes a small step against its own gradient."""
    slope = gradient(example, state)
    return State(state.filters - RATE * slope.filters, state.weights - RATE * slope.weights)


# The experiment.

STEPS: Final[dict[Rule, Callable[[Example, State], State]]] = {
    Rule.PAPER: paper_step,
    Rule.GRADIENT: gradient_step,
    Rule.FIXED: fixed_step,
}


def clean_shapes() -> tuple[Example, ...]:
    """Ten examples of four classes: cross, ring, and a line at each of four places either way."""
    return tuple(
        Example(shape.astype(float), label)
        for label, shapes in enumerate(patterns.shapes())
        for shape in shapes
    )


@dataclass(frozen=True, eq=False)
class Record:
    """An experiment, iteration by iteration.

    Attributes
    ----------
    rule : Rule
    examples : tuple of Example
        Taken in turn, one an iteration.
    filters : ndarray, shape (iterations + 1, 3, 3, 3)
        Entry n: after n iterations; the last one is what was learned.
    weights : ndarray, shape (iterations + 1, 12, 4)
    errors : ndarray, shape (iterations + 1,)
        Mean of `squared_error` over the examples, after n iterations.
    """

    rule: Rule
    examples: tuple[Example, ...]
    filters: np.ndarray
    weights: np.ndarray
    errors: np.ndarray

    @property
    def iterations(self) -> int:
        return len(self.filters) - 1

    @property
    def filters_used(self) -> np.ndarray:
        """Filters that each iteration computed with, as in the paper's Tables III and V."""
        return self.filters[:-1]

    @property
    def weights_left(self) -> np.ndarray:
        """Weights after each iteration, as in the paper's Tables IV and VI."""
        return self.weights[1:]

    def after(self, iterations: int) -> State:
        """The parameters after so many iterations."""
        return State(self.filters[iterations], self.weights[iterations])

    @property
    def right(self) -> int:
        """Examples whose class is the largest output at the end."""
        return sum(
            int(forward(example.image, self.after(-1)).outputs.argmax()) == example.label
            for example in self.examples
        )


def run(
    rule: Rule = Rule.PAPER,
    iterations: int = 1000,
    examples: Sequence[Example] = (CROSS,),
) -> Record:
    """Train the network.

    Parameters
    ----------
    rule : Rule
    iterations : int
    examples : sequence of Example
        Shown in turn; the paper has one.
    """
    if iterations < 1 or not examples:
        raise ValueError(
            f"iterations and examples must be at least 1, not {iterations!r} and {len(examples)!r}"
        )
    state = start()
    states = [state]
    for iteration in range(iterations):
        state = STEPS[rule](examples[iteration % len(examples)], state)
        states.append(state)
    errors = [
        np.mean([squared_error(forward(each.image, s).outputs, each.target) for each in examples])
        for s in states
    ]
    return Record(
        rule,
        tuple(examples),
        np.stack([each.filters for each in states]),
        np.stack([each.weights for each in states]),
        np.array(errors),
    )


@dataclass(frozen=True)
class Step:
    """An iteration's step in relation to the gradient.

    Attributes
    ----------
    iteration : int
        From 1.
    error : float
        `squared_error` of its example, before it.
    filter_step, filter_slope : float
        Length of the filters' change, and of the gradient by them.
    filter_cosine, weight_cosine : float or None
        Of the angle between the change and downhill, the gradient's opposite: 1 is straight down,
        0 is level, -1 is straight up. None where nothing moved.
    filter_effect : float
        By how much `error` grows if the filters make their change and the weights none.
    """

    iteration: int
    error: float
    filter_step: float
    filter_slope: float
    filter_cosine: float | None
    weight_cosine: float | None
    filter_effect: float


def compare(record: Record, iteration: int) -> Step:
    """Compare an iteration's step (counted from 1) with the gradient at its starting point."""
    example = record.examples[(iteration - 1) % len(record.examples)]
    before, after = record.after(iteration - 1), record.after(iteration)
    slope = gradient(example, before)
    error, moved = (
        squared_error(forward(example.image, state).outputs, example.target)
        for state in (before, State(after.filters, before.weights))
    )
    change = after.filters - before.filters
    return Step(
        iteration,
        error,
        float(np.linalg.norm(change)),
        float(np.linalg.norm(slope.filters)),
        _cosine(change, -slope.filters),
        _cosine(after.weights - before.weights, -slope.weights),
        moved - error,
    )


def _cosine(a: np.ndarray, b: np.ndarray) -> float | None:
    lengths = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float((a * b).sum()) / lengths if lengths else None
