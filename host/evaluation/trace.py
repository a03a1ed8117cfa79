"""One input through board and reference, layer by layer: what each side computed, and files of it.

In the folder, layers are numbered as they run: ``02-conv1.npz`` holds the arrays ``board`` and
``reference``, in the tensor's shape, and ``02-conv1.png`` the board's feature maps.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from model.datasets.datasets import to_int8
from model.file_kinds import file_kind, refusal
from model.int8 import reference
from model.int8.graph import Graph
from model.plots.feature_maps import draw_maps

from ..board import Board
from ..compiler import CompiledModel
from ..errors import PictureError
from ..host_steps import of_type
from ..model_card import ModelCard
from ..pictures import to_input

__all__ = [
    "Difference",
    "LayerTrace",
    "first_difference",
    "read_array",
    "read_input",
    "save_layer",
    "trace",
]

Int8Array = npt.NDArray[np.int8]

_LONGEST_NAME = 48


@dataclass(frozen=True, eq=False)
class LayerTrace:
    """What a layer left in memory.

    Attributes
    ----------
    name, op : str
    board : ndarray of int8
        In the tensor's shape, without the batch dimension.
    reference : ndarray of int8 or None
        In the same shape; None for a layer whose output is no tensor of the network.
    cycles, predicted : int
        Counted by the hardware, and the compiler's prediction.
    """

    name: str
    op: str
    board: Int8Array
    reference: Int8Array | None
    cycles: int
    predicted: int

    @property
    def differs(self) -> npt.NDArray[np.bool_]:
        """Where the sides differ; nowhere if there is nothing to compare with."""
        if self.reference is None:
            return np.zeros(self.board.shape, bool)
        return self.board != self.reference

    @property
    def mismatches(self) -> int:
        """Bytes that differ."""
        return int(self.differs.sum())


@dataclass(frozen=True)
class Difference:
    """A byte in which board and reference differ.

    Attributes
    ----------
    layer : str
    position : tuple of int
        Index in the layer's output.
    board, reference : int
    """

    layer: str
    position: tuple[int, ...]
    board: int
    reference: int


def trace(
    board: Board,
    graph: Graph,
    compiled: CompiledModel,
    x: npt.NDArray[Any] | tuple[npt.NDArray[Any], ...],
    progress: Callable[[int, int], None] | None = None,
) -> list[LayerTrace]:
    """Run one input up to each layer, and through the reference.

    Parameters
    ----------
    board : Board
        Holds ``compiled``.
    graph : Graph
    compiled : CompiledModel
        Of ``graph``.
    x : ndarray, or a tuple of one for each input
        Of the network's input type and shape, without the batch dimension.
    progress : callable, optional
        Called with the layers that the board ran and how many there are.
    """
    tensors = [layer.tensor for layer in compiled.layers]
    names = [graph.tensors[tensor].name for tensor in graph.inputs]
    inputs = {
        name: each[np.newaxis] for name, each in zip(names, x if isinstance(x, tuple) else (x,))
    }
    expected = reference.run(graph, inputs, keep=[each for each in tensors if each is not None])
    traces = []
    before = 0
    runs = board.run_layers(x, [layer.output for layer in compiled.layers], progress)
    for layer, run in zip(compiled.layers, runs, strict=True):
        values = layer.unpack(run.data)
        wanted = None if layer.tensor is None else expected[layer.tensor][0]
        traces.append(
            LayerTrace(
                name=layer.name,
                op=layer.op,
                board=values if wanted is None else values.reshape(wanted.shape),
                reference=wanted,
                cycles=run.cycles - before,
                predicted=layer.cycles,
            )
        )
        before = run.cycles
    return traces


def first_difference(layers: Sequence[LayerTrace]) -> Difference | None:
    """The first differing byte of the first differing layer; None where all are equal."""
    for layer in layers:
        if layer.reference is not None and layer.mismatches:
            position = tuple(int(index) for index in np.argwhere(layer.differs)[0])
            return Difference(
                layer=layer.name,
                position=position,
                board=int(layer.board[position]),
                reference=int(layer.reference[position]),
            )
    return None


def read_input(
    source: str | os.PathLike[str], card: ModelCard, invert: bool | None = None
) -> npt.NDArray[Any]:
    """A picture as :func:`.to_input` reads it; or an ``.npy`` file, for models that take none.

    Raises
    ------
    PictureError
        If the file cannot be read, or does not fit the model.
    """
    if Path(source).suffix == ".npy":
        return _as_input(source, read_array(source), card)
    end = card.input
    return of_type(end.before.type, to_input(source, card, invert), end.scale, end.zero_point)


def read_array(source: str | os.PathLike[str]) -> npt.NDArray[Any]:
    """The array of an ``.npy`` file.

    Raises
    ------
    PictureError
        If the file cannot be read.
    """
    try:
        values = np.load(source, allow_pickle=False)
    except Exception as error:  # what NumPy raises is in no list
        why = refusal(source, error, "is no readable .npy file", ".npy")
        raise PictureError(f"{source}: {why}") from error
    if not isinstance(values, np.ndarray):
        values.close()
        raise PictureError(f"{source}: is no readable .npy file: it is {file_kind(source)}")
    return values


def _as_input(
    source: str | os.PathLike[str], values: npt.NDArray[Any], card: ModelCard
) -> npt.NDArray[Any]:
    """Values of a file in the type and shape of a model's input."""
    end = card.input
    wanted = end.before
    types = dict.fromkeys(("uint8", "int8", wanted.type))
    if values.dtype.name not in types or values.size != math.prod(wanted.shape):
        given, size = ("x".join(map(str, shape)) for shape in (values.shape, wanted.shape))
        raise PictureError(
            f"{source}: {values.dtype} of {given}, but {card.name} takes {' or '.join(types)} of "
            f"{size}"
        )
    if values.dtype == np.uint8 and wanted.type != "uint8":
        values = to_int8(values)
    try:
        return of_type(wanted.type, values, end.scale, end.zero_point).reshape(wanted.shape)
    except ValueError as error:
        raise PictureError(f"{source}: {error}") from error


def save_layer(folder: Path, number: int, layer: LayerTrace) -> tuple[Path, Path]:
    """Write a layer's arrays and its picture, in which bytes that differ are red.

    Returns
    -------
    tuple of Path
        The ``.npz`` and the ``.png`` file.

    Raises
    ------
    OSError
        If they cannot be written.
    """
    # A tensor's name is anything; a file's name should work everywhere.
    name = re.sub(r"[^A-Za-z0-9_.]+", "-", layer.name)[:_LONGEST_NAME].strip("-.")
    stem = f"{number:02}-{name or 'layer'}"
    arrays, picture = folder / f"{stem}.npz", folder / f"{stem}.png"
    sides = {"board": layer.board}
    if layer.reference is not None:
        sides["reference"] = layer.reference
    with arrays.open("wb") as file:
        np.savez_compressed(file, **sides)  # type: ignore[arg-type]
    draw_maps(layer.board, layer.differs).save(picture)
    return arrays, picture
