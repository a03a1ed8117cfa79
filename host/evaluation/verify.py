"""Hardware against reference: the same inputs through both, every byte compared."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from model.datasets import datasets
from model.datasets.npz_files import channels_come_first, read_npz
from model.errors import DataError
from model.int8 import reference
from model.int8.graph import Graph

from ..board import Board
from ..compiler import CompiledModel
from ..compiler.ends import split
from ..host_steps import of_type
from .trace import trace

__all__ = ["LayerVerification", "Verification", "load_samples", "merge", "verify"]

Arrays = tuple[npt.NDArray[Any], ...]
"""Of each input or output one, the examples along the first axis."""


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
    hardware, reference : tuple of ndarray, each of shape (count, ...)
        Output tensors.
    mismatches : int
        Inferences of which anything compared differs: an output, what the board gave for it, the
        greatest byte that it found, or a layer.
    mismatching_bytes : int
    accuracy : float or None
        Share of right answers of the hardware; None where the classes are not known.
    cycles : int
        Of the longest inference.
    images_per_second : float
        While pictures stream, in the time of the board, transfers included.
    layers : tuple of LayerVerification
        Empty unless asked for.
    """

    hardware: Arrays
    reference: Arrays
    mismatches: int
    mismatching_bytes: int
    accuracy: float | None
    cycles: int
    images_per_second: float
    layers: tuple[LayerVerification, ...] = ()

    @property
    def count(self) -> int:
        return len(self.hardware[0])


def load_samples(
    data: str,
    graph: Graph,
    count: int | None = None,
    progress: datasets.Loading | None = None,
) -> tuple[npt.NDArray[Any] | Arrays, npt.NDArray[np.int64] | None]:
    """Inputs for a network, and their classes where they are known.

    Parameters
    ----------
    data : str
        As :func:`model.datasets.samples` takes it. For several inputs an ``.npz`` has an array of
        each one's name; what it has not is the array ``x``. An array may be of the input's own
        type; int8 is what a float32 input becomes on the board.
    graph : Graph
    count : int, optional
        How many; all without it.
    progress : callable, optional
        Told of what takes long.

    Returns
    -------
    ndarray, or tuple of one for each input
        Of the input's type, the examples along the first axis.
    ndarray of int, or None

    Raises
    ------
    DataError
        If there is no such data, or it does not fit the network.
    """
    own = _own_arrays(data, graph)
    names = [graph.tensors[tensor].name for tensor in graph.inputs]
    missing = [name for name in names if name not in own]
    if own and missing and "x" not in read_npz(Path(data)):
        raise DataError(
            f"{data}: no array {' or '.join(missing)} in it: {graph.name} takes {', '.join(names)}"
        )
    samples = None if len(own) == len(graph.inputs) else datasets.samples(data, progress)
    inputs = []
    for end in split(graph).inputs:
        tensor = graph.tensors[end.tensor]
        x = own.get(tensor.name) if samples is None else own.get(tensor.name, samples.x)
        assert x is not None
        shape = tensor.shape[1:]
        if not _fits(x.shape[1:], shape):
            wanted, given = ("x".join(map(str, each)) for each in (shape, x.shape[1:]))
            first = channels_come_first(x.shape[1:])
            hint = "; channels come first in them: x.transpose(0, 2, 3, 1)" if first else ""
            raise DataError(f"{data}: pictures of {given}, but {graph.name} takes {wanted}{hint}")
        if count is not None and count > len(x):
            raise DataError(f"{data}: has {len(x)} pictures, not {count}")
        x = np.ascontiguousarray(x[:count]).reshape(-1, *shape)
        board = graph.tensors[end.board].quantization
        scale, zero_point = (1.0, 0) if board is None else (board.scale[0], board.zero_point[0])
        try:
            inputs.append(of_type(tensor.dtype, x, float(scale), int(zero_point)))
        except ValueError as error:
            raise DataError(f"{data}: {error}") from None
    if len({len(x) for x in inputs}) > 1:
        raise DataError(f"{data}: has not equally many examples for each input")
    y = None if samples is None or samples.y is None else samples.y[:count]
    return tuple(inputs) if len(inputs) > 1 else inputs[0], y


def _fits(given: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Whether elements of one shape are those of the other, in the same order.

    Dimensions of 1 do not matter, and either may be flat.
    """
    sides = [tuple(size for size in shape if size != 1) for shape in (given, wanted)]
    return math.prod(given) == math.prod(wanted) and (
        sides[0] == sides[1] or min(map(len, sides)) <= 1
    )


def _own_arrays(data: str, graph: Graph) -> dict[str, npt.NDArray[Any]]:
    """Arrays of an ``.npz`` that are made for the network: of an input's name, or of its type."""
    path = Path(data)
    if data in datasets.NAMES or path.suffix != ".npz" or path.is_dir():
        return {}
    arrays = read_npz(path)
    inputs = [graph.tensors[tensor] for tensor in graph.inputs]
    own = {each.name: arrays[each.name] for each in inputs if each.name in arrays}
    if not own and len(inputs) == 1 and "x" in arrays and inputs[0].dtype == "float32":
        if arrays["x"].dtype in (np.float32, np.float64):
            own[inputs[0].name] = arrays["x"].astype(np.float32)
    return {name: values for name, values in own.items() if values.ndim > 1 and len(values)}


def verify(
    board: Board,
    graph: Graph,
    compiled: CompiledModel,
    x: npt.NDArray[Any] | Arrays,
    y: npt.NDArray[np.int64] | None = None,
    *,
    layers: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Verification:
    """Run the model that a board holds, and the reference, on the same inputs.

    Those of a model with state are one sequence, from its first run on.

    Parameters
    ----------
    board : Board
        Holds ``compiled``.
    graph : Graph
    compiled : CompiledModel
        Of ``graph``.
    x : ndarray of shape (n, ...), or a tuple of one for each input
    y : ndarray of int, shape (n,), or None
    layers : bool
        Compare what every layer leaves in memory, too.
    progress : callable, optional
        Called with comparisons done and to do: one an input, with ``layers`` two.
    """
    inputs = x if isinstance(x, tuple) else (x,)
    count = len(inputs[0])
    to_do = count * (2 if layers else 1)
    tensors = [end.board for end in split(graph).outputs]
    expected = run_reference(graph, inputs, tensors)
    outputs = tuple(expected[tensor] for tensor in graph.outputs)
    hardware = tuple(map(np.empty_like, outputs))
    differs = np.zeros(count, bool)
    wrong_bytes = 0
    cycles = 0
    if graph.variables:
        board.reset_state()
    times = [board.now()]
    for index, inference in enumerate(board.run_many(zip(*inputs))):
        times.append(board.now())
        wrong = 0
        for place, (tensor, output) in enumerate(zip(inference.tensors, inference.outputs)):
            hardware[place][index] = output.reshape(outputs[place].shape[1:])
            wanted = expected[tensors[place]][index]
            wrong += int((tensor.reshape(-1) != wanted.reshape(-1)).sum())
            if tensors[place] != graph.outputs[place]:
                wrong += int((hardware[place][index] != outputs[place][index]).sum())
        best = int(expected[tensors[0]][index].reshape(-1).argmax())
        differs[index] = wrong > 0 or inference.best != best
        wrong_bytes += wrong
        cycles = max(cycles, inference.cycles)
        if progress is not None:
            progress(index + 1, to_do)
    layer_reports: tuple[LayerVerification, ...] = ()
    if layers:
        show = None if progress is None else (lambda done: progress(count + done, to_do))
        layer_reports, layer_differs = _verify_layers(board, graph, compiled, inputs, show)
        wrong_bytes += sum(each.mismatches for each in layer_reports)
        differs |= layer_differs
    accuracy = None
    if y is not None:
        answers = hardware[0].reshape(count, -1)
        # Of an ARG_MAX the answer is the index itself.
        classes = answers[:, 0] if answers.dtype == np.int32 else answers.argmax(axis=1)
        accuracy = float((classes == y).mean())
    return Verification(
        hardware=hardware,
        reference=outputs,
        mismatches=int(differs.sum()),
        mismatching_bytes=wrong_bytes,
        accuracy=accuracy,
        cycles=cycles,
        images_per_second=_rate(times),
        layers=layer_reports,
    )


def _rate(times: Sequence[float]) -> float:
    """Images a second, from when the run began and when each answer came.

    The first answer comes late, since nothing was on its way, and the last two early, since nothing
    follows them: of four and more they do not count.
    """
    if len(times) > 4:
        times = times[1:-2]
    return (len(times) - 1) / (times[-1] - times[0])


def run_reference(graph: Graph, inputs: Arrays, keep: Sequence[int]) -> dict[int, npt.NDArray[Any]]:
    """:func:`model.int8.reference.run` for any number of inputs."""
    names = [graph.tensors[tensor].name for tensor in graph.inputs]
    return reference.run(graph, dict(zip(names, inputs)), keep=keep)


def merge(parts: Sequence[Verification]) -> Verification:
    """Verifications of one model on parts of the inputs as one.

    Images a second are those of the first part.
    """
    count = sum(part.count for part in parts)
    accuracies = [part.accuracy for part in parts]
    right = [round(a * part.count) for a, part in zip(accuracies, parts) if a is not None]
    return Verification(
        hardware=tuple(map(np.concatenate, zip(*(part.hardware for part in parts)))),
        reference=tuple(map(np.concatenate, zip(*(part.reference for part in parts)))),
        mismatches=sum(part.mismatches for part in parts),
        mismatching_bytes=sum(part.mismatching_bytes for part in parts),
        accuracy=None if None in accuracies else sum(right) / count,
        cycles=max(part.cycles for part in parts),
        images_per_second=parts[0].images_per_second,
        layers=tuple(
            replace(
                same[0],
                mismatches=sum(layer.mismatches for layer in same),
                cycles=max(layer.cycles for layer in same),
            )
            for same in zip(*(part.layers for part in parts))
        ),
    )


def _verify_layers(
    board: Board,
    graph: Graph,
    compiled: CompiledModel,
    x: Arrays,
    progress: Callable[[int], None] | None,
) -> tuple[tuple[LayerVerification, ...], npt.NDArray[np.bool_]]:
    mismatches = [0] * len(compiled.layers)
    cycles = [0] * len(compiled.layers)
    differs = np.zeros(len(x[0]), bool)
    for index, one in enumerate(zip(*x)):
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
