"""Hardware against reference: the same inputs through both, every byte compared."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from model.datasets import datasets
from model.errors import DataError
from model.int8 import reference
from model.int8.graph import Graph, OperatorKind

from ..board import Board
from ..compiler import CompiledModel
from .trace import trace

__all__ = ["LayerVerification", "Verification", "load_samples", "merge", "verify"]

Int8Array = npt.NDArray[np.int8]


@dataclass(frozen=True)
class LayerVerification:
    """One layer over all inputs.

    Attributes
    ----------
    name, op : str
    macs : int
    compared : bool
        False for a layer whose output is no tensor of the network.
    mismatches : int
        Bytes that differ.
    cycles, predicted : int
        Counted by the hardware, and the compiler's prediction.
    """

    name: str
    op: str
    macs: int
    compared: bool
    mismatches: int
    cycles: int
    predicted: int


@dataclass(frozen=True, eq=False)
class Verification:
    """What :func:`verify` found.

    Attributes
    ----------
    hardware, reference : ndarray of int8, shape (count, ...)
        Output tensors.
    mismatches : int
        Inferences of which any compared byte differs: of the output, of what the board computed
        before the softmax on the host, or of a layer.
    mismatching_bytes : int
    accuracy : float or None
        Share of right answers of the hardware; None where the classes are not known.
    cycles : int
        Of the longest inference.
    images_per_second : float
        In the time of the board, transfers included.
    layers : tuple of LayerVerification
        Empty unless asked for.
    """

    hardware: Int8Array
    reference: Int8Array
    mismatches: int
    mismatching_bytes: int
    accuracy: float | None
    cycles: int
    images_per_second: float
    layers: tuple[LayerVerification, ...] = ()

    @property
    def count(self) -> int:
        return len(self.hardware)


def load_samples(
    data: str,
    graph: Graph,
    count: int | None = None,
    progress: datasets.Loading | None = None,
) -> tuple[Int8Array, npt.NDArray[np.int64] | None]:
    """Inputs for a network, and their classes where they are known.

    Parameters
    ----------
    data : str
        As :func:`model.datasets.samples` takes it.
    graph : Graph
    count : int, optional
        How many; all without it.
    progress : callable, optional
        Told of what takes long.

    Raises
    ------
    DataError
        If there is no such data, or it does not fit the network.
    """
    samples = datasets.samples(data, progress)
    x, y = samples.x, samples.y
    shape = graph.input.shape[1:]
    if x[0].size != math.prod(shape):
        wanted, given = ("x".join(map(str, each)) for each in (shape, x.shape[1:]))
        raise DataError(f"{data}: pictures of {given}, but {graph.name} takes {wanted}")
    if count is not None and count > len(x):
        raise DataError(f"{data}: has {len(x)} pictures, not {count}")
    x = np.ascontiguousarray(x[:count]).reshape(-1, *shape)
    return x, None if y is None else y[:count]


def verify(
    board: Board,
    graph: Graph,
    compiled: CompiledModel,
    x: Int8Array,
    y: npt.NDArray[np.int64] | None = None,
    *,
    layers: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Verification:
    """Run the model that a board holds, and the reference, on the same inputs.

    Parameters
    ----------
    board : Board
        Holds ``compiled``.
    graph : Graph
    compiled : CompiledModel
        Of ``graph``.
    x : ndarray of int8, shape (n, ...)
    y : ndarray of int, shape (n,), or None
    layers : bool
        Compare what every layer leaves in memory, too.
    progress : callable, optional
        Called with comparisons done and to do: one an input, with ``layers`` two.
    """
    to_do = len(x) * (2 if layers else 1)
    before_softmax = _tensor_before_softmax(graph)
    expected = reference.run(graph, x, keep=[before_softmax])
    outputs = expected[graph.outputs[0]]
    logits = expected[before_softmax]
    hardware = np.empty_like(outputs)
    differs = np.zeros(len(x), bool)
    wrong_bytes = 0
    cycles = 0
    start = board.now()
    for index, inference in enumerate(board.run_many(x)):
        hardware[index] = inference.output.reshape(outputs.shape[1:])
        wrong = int((inference.logits.reshape(-1) != logits[index].reshape(-1)).sum())
        wrong += int((hardware[index] != outputs[index]).sum())
        differs[index] = wrong > 0 or inference.best != int(logits[index].reshape(-1).argmax())
        wrong_bytes += wrong
        cycles = max(cycles, inference.cycles)
        if progress is not None:
            progress(index + 1, to_do)
    seconds = board.now() - start
    layer_reports: tuple[LayerVerification, ...] = ()
    if layers:
        show = None if progress is None else (lambda done: progress(len(x) + done, to_do))
        layer_reports, layer_differs = _verify_layers(board, graph, compiled, x, show)
        wrong_bytes += sum(each.mismatches for each in layer_reports)
        differs |= layer_differs
    accuracy = None
    if y is not None:
        accuracy = float((hardware.reshape(len(x), -1).argmax(axis=1) == y).mean())
    return Verification(
        hardware=hardware,
        reference=outputs,
        mismatches=int(differs.sum()),
        mismatching_bytes=wrong_bytes,
        accuracy=accuracy,
        cycles=cycles,
        images_per_second=len(x) / seconds,
        layers=layer_reports,
    )


def merge(parts: Sequence[Verification]) -> Verification:
    """Verifications of one model on parts of the inputs, each by a board of its own, as one.

    Images a second are those of one such board.
    """
    count = sum(part.count for part in parts)
    accuracies = [part.accuracy for part in parts]
    right = [round(a * part.count) for a, part in zip(accuracies, parts) if a is not None]
    return Verification(
        hardware=np.concatenate([part.hardware for part in parts]),
        reference=np.concatenate([part.reference for part in parts]),
        mismatches=sum(part.mismatches for part in parts),
        mismatching_bytes=sum(part.mismatching_bytes for part in parts),
        accuracy=None if None in accuracies else sum(right) / count,
        cycles=max(part.cycles for part in parts),
        images_per_second=count / sum(part.count / part.images_per_second for part in parts),
        layers=tuple(
            replace(
                same[0],
                mismatches=sum(layer.mismatches for layer in same),
                cycles=max(layer.cycles for layer in same),
            )
            for same in zip(*(part.layers for part in parts))
        ),
    )


def _tensor_before_softmax(graph: Graph) -> int:
    """The tensor that the board computes: the network's output but for a softmax at its end."""
    producer = graph.producer(graph.outputs[0])
    if producer is not None and graph.operators[producer].kind is OperatorKind.SOFTMAX:
        return graph.operators[producer].inputs[0]
    return graph.outputs[0]


def _verify_layers(
    board: Board,
    graph: Graph,
    compiled: CompiledModel,
    x: Int8Array,
    progress: Callable[[int], None] | None,
) -> tuple[tuple[LayerVerification, ...], npt.NDArray[np.bool_]]:
    mismatches = [0] * len(compiled.layers)
    cycles = [0] * len(compiled.layers)
    differs = np.zeros(len(x), bool)
    for index, one in enumerate(x):
        for place, layer in enumerate(trace(board, graph, compiled, one)):
            cycles[place] = max(cycles[place], layer.cycles)
            wrong = layer.mismatches
            mismatches[place] += wrong
            differs[index] |= wrong > 0
        if progress is not None:
            progress(index + 1)
    reports = tuple(
        LayerVerification(
            name=layer.name,
            op=layer.op,
            macs=layer.macs,
            compared=layer.tensor is not None,
            mismatches=mismatches[place],
            cycles=cycles[place],
            predicted=layer.cycles,
        )
        for place, layer in enumerate(compiled.layers)
    )
    return reports, differs
