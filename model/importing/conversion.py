"""The whole way from a float graph to an int8 graph, and how good that is.

What may help but need not, such as clipping a range, is tried on pictures that calibration has not
seen, and kept where the int8 network then comes closer to the float network.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from model.errors import ModelError
from model.importing.calibration import Statistics, calibrate
from model.importing.choices import Choices
from model.importing.equalization import equalize
from model.importing.float_graph import FloatGraph, Node
from model.importing.float_operators import Affine, Function, Softmax
from model.importing.formulas import recognize
from model.importing.preprocessing import Preprocessing
from model.importing.quantizer import Quantizer
from model.importing.simplification import leading_affine, simplify
from model.int8 import reference
from model.int8.graph import Graph
from model.int8.validation import validate
from model.training.quantization import Range

__all__ = ["Comparison", "Conversion", "signal_to_noise"]

_CALIBRATION = (100, 500)
_HELD_OUT = (16, 64)
"""Pictures: the least and the most, for as many as can be computed in some seconds."""

_CALIBRATION_MACS = 4e9
_HELD_OUT_MACS = 2e8

_GAIN_DB = 0.1
"""What a choice must bring to be kept."""

_WIDE_GAIN_DB = 1.0
"""What sums must bring that cost the engine twice the time."""

_WIDE_BITS = (30, 28, 27, 26, 25)
"""Of such sums, the widest first."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """The int8 network beside the float network, on the same pictures.

    Attributes
    ----------
    count : int
        Pictures.
    agreement : float
        Share of pictures for which both give the greatest score to the same class. Where there are
        several outputs, the first counts, here and for accuracy.
    snr_db : float
        Power of the float outputs over that of their difference to int8, in decibels.
    float_accuracy, int8_accuracy : float, or None
        Where the classes are known.
    """

    count: int
    agreement: float
    snr_db: float
    float_accuracy: float | None
    int8_accuracy: float | None


class Conversion:
    """A float network on its way to int8.

    Parameters
    ----------
    source : FloatGraph
        As a reader gave it.
    preprocessing : Preprocessing, or None
        What becomes of a pixel before the network sees it. None where inputs are real numbers
        already.
    x : ndarray, shape (n, *input shape)
        Typical inputs: uint8 pixels, or float32 where there is no preprocessing.
    runs : callable, optional
        Whether a board computes a graph's sums. With it, they may be wider than an accumulator
        where that comes closer and a board still computes them.

    Attributes
    ----------
    source : FloatGraph
    preprocessing : Preprocessing or None
        With what the network itself begins with taken in.
    graph : FloatGraph
        Simplified.
    affine : tuple of float and int
        Scale and zero point of the int8 input.
    choices : Choices
        Those that proved best.
    is_equalized : bool
        Whether channels were brought to one range: see `model.importing.equalization`.
    notes : list of str
        What the last `export` had to give up, a line each.

    Raises
    ------
    ModelError
        If something in it has no int8 form, or a value is not finite.
    """

    def __init__(
        self,
        source: FloatGraph,
        preprocessing: Preprocessing | None,
        x: np.ndarray,
        runs: Callable[[Graph], bool] | None = None,
    ) -> None:
        self.source = source
        self.is_equalized = False
        self.notes: list[str] = []
        self._before = preprocessing
        self._runs = runs
        self.graph = source.copy()
        recognize(self.graph)
        self.preprocessing = self._take_in(preprocessing)
        self.affine = self._input_affine(x)
        tolerance = 0.0
        if self.preprocessing is not None:
            # Half a step of the input, as much as rounding it costs.
            tolerance = 0.5 * self.affine[0]
            self._put_rest(self.preprocessing)
        simplify(self.graph, tolerance * (1 + 1e-6))
        macs = max(self.graph.macs, 1)
        seen = int(np.clip(_CALIBRATION_MACS // macs, *_CALIBRATION))
        unseen = int(np.clip(_HELD_OUT_MACS // macs, *_HELD_OUT))
        chosen = x[_spread(len(x), seen + unseen)]
        # Where there are few, all of them calibrate.
        count = len(chosen) - unseen if len(chosen) > 2 * unseen else len(chosen)
        self._seen, self._unseen = chosen[:count], chosen[-unseen:]
        self.statistics: Statistics = calibrate(self.graph, self.seen_by_graph(self._seen))
        self.choices, reached = self._choose()
        self._equalize(reached)

    def _take_in(self, preprocessing: Preprocessing | None) -> Preprocessing | None:
        if preprocessing is None:
            return None
        found = leading_affine(self.graph)
        return preprocessing if found is None else preprocessing.then(*found)

    def _put_rest(self, preprocessing: Preprocessing) -> None:
        """In front of the network, what the input's scale and zero point leave over."""
        factor, offset = preprocessing.rest
        if np.allclose(factor, 1, rtol=1e-6, atol=0) and np.allclose(offset, 0, atol=1e-9):
            return
        graph = self.graph
        between = graph.tensor(graph.shapes[0])
        for node in graph.nodes:
            node.inputs = [between if index == 0 else index for index in node.inputs]
        graph.nodes.insert(0, Node("normalisation", Affine(factor, offset), [0], between))

    def _input_affine(self, x: np.ndarray) -> tuple[float, int]:
        if self.preprocessing is not None:
            return self.preprocessing.affine
        if 0 in self.source.fixed:
            return self.source.fixed[0]
        return Range(float(x.min()), float(x.max())).affine()

    def stored(self, x: np.ndarray) -> np.ndarray:
        """Inputs as the int8 network takes them."""
        if self.preprocessing is not None:
            return (x ^ np.uint8(0x80)).view(np.int8)
        scale, zero_point = self.affine
        return np.clip(np.rint(x / scale) + zero_point, -128, 127).astype(np.int8)

    def seen_by_graph(self, x: np.ndarray) -> np.ndarray:
        """Inputs as `graph` takes them: what the int8 network's input stands for."""
        scale, zero_point = self.affine
        return (self.stored(x).astype(np.float32) - zero_point) * np.float32(scale)

    def float_outputs(self, x: np.ndarray) -> list[np.ndarray]:
        """What the network was before anything was done to it: its outputs, (n, ...) float32."""
        real = x if self._before is None else self._before.apply(x)
        return self.source.run(real)

    def quantizer(self, choices: Choices | None = None) -> Quantizer:
        """The network's int8 form."""
        return Quantizer(
            self.graph.copy(), dict(self.statistics), self.affine, choices or self.choices
        )

    def export(self, name: str, labels: tuple[str, ...] = ()) -> Graph:
        """The int8 graph, checked."""
        quantizer = self.quantizer()
        graph, _ = quantizer.export(name, labels)
        validate(graph)
        self.notes = quantizer.notes
        return graph

    def compare(self, graph: Graph, x: np.ndarray, y: np.ndarray | None) -> Comparison:
        """The float network and its int8 form on the same pictures."""
        real = [each.reshape(len(x), -1) for each in self.float_outputs(x)]
        computed = reference.run(graph, self.stored(x))
        other = [
            _dequantized(graph, tensor, computed[tensor]).reshape(len(x), -1)
            for tensor in graph.outputs
        ]
        answers = (self._answers(real[0]), self._answers(other[0]))
        return Comparison(
            count=len(x),
            agreement=float((answers[0] == answers[1]).mean()),
            snr_db=signal_to_noise(np.concatenate(real, axis=1), np.concatenate(other, axis=1)),
            float_accuracy=None if y is None else float((answers[0] == y).mean()),
            int8_accuracy=None if y is None else float((answers[1] == y).mean()),
        )

    def _answers(self, scores: np.ndarray) -> np.ndarray:
        """Classes of scores (n, outputs); of one output, whether it is likely."""
        if scores.shape[1] > 1:
            return scores.argmax(axis=1)
        last = self.graph.producer(self.graph.outputs[0])
        is_share = last is not None and last.operator == Function("sigmoid")
        return (scores[:, 0] > (0.5 if is_share else 0)).astype(np.int64)

    def _equalize(self, reached: float) -> None:
        """Bring channels to one range, if that comes closer."""
        kept = self.graph, self.statistics, self.choices
        self.graph = self.graph.copy()
        if not equalize(self.graph, self.statistics):
            self.graph = kept[0]
            return
        self.statistics = calibrate(self.graph, self.seen_by_graph(self._seen))
        self.choices, found = self._choose()
        self.is_equalized = found > reached + _GAIN_DB
        if not self.is_equalized:
            self.graph, self.statistics, self.choices = kept

    def _choose(self) -> tuple[Choices, float]:
        """Try what may help, one thing after the other; the choices, and how close they come."""
        graph = self.graph
        tensor = graph.outputs[0]
        last = graph.producer(tensor)
        if last is not None and isinstance(last.operator, Softmax):
            tensor = last.inputs[0]  # softmax hides what is lost
        wanted: list[np.ndarray] = []

        def keep(index: int, values: np.ndarray) -> None:
            if index == tensor:
                wanted.append(values.copy())

        graph.run(self.seen_by_graph(self._unseen), keep)
        real = np.concatenate(wanted)
        x = self.stored(self._unseen)

        coarser = False

        def closeness(choices: Choices) -> float:
            nonlocal coarser
            quantizer = self.quantizer(choices)
            exported, tensors = quantizer.export("trial")
            coarser = bool(quantizer.notes)
            place = tensors[tensor]
            values = _dequantized(exported, place, reference.run(exported, x, [place])[place])
            return signal_to_noise(real, values.reshape(real.shape))

        best = Choices()
        reached = closeness(best)
        for change in ("dense_by_channel", "correct_bias", "clip"):
            other = replace(best, **{change: True})
            found = closeness(other)
            if found > reached + _GAIN_DB:
                best, reached = other, found
        reached = closeness(best)
        if coarser and self._runs is not None:
            for bits in _WIDE_BITS:
                other = replace(best, sum_bits=bits)
                found = closeness(other)
                if found < reached + _WIDE_GAIN_DB:
                    break
                if self._runs(self.quantizer(other).export("trial")[0]):
                    return other, found
        return best, reached


def _dequantized(graph: Graph, tensor: int, stored: np.ndarray) -> np.ndarray:
    """What the bytes of a tensor stand for."""
    quantization = graph.tensors[tensor].quantization
    assert quantization is not None
    return (stored.astype(np.float32) - quantization.zero_point[0]) * quantization.scale[0]


def signal_to_noise(real: np.ndarray, other: np.ndarray) -> float:
    """Power of `real` over that of its difference to `other`, in decibels; at most 200."""
    noise = float(((real - other).astype(np.float64) ** 2).sum())
    signal = float((real.astype(np.float64) ** 2).sum())
    if noise <= signal * 1e-20:
        return 200.0
    if signal == 0:
        raise ModelError("its outputs are all 0; there is nothing to compare")
    return float(10 * np.log10(signal / noise))


def _spread(count: int, wanted: int) -> np.ndarray:
    """Positions of `wanted` of `count` pictures, drawn evenly and always the same."""
    if count <= wanted:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).permutation(count)[:wanted])
