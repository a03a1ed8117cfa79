"""From an ONNX model to a float graph.

Each value is a NumPy array, if it depends on no input, or a `Value` of `model.importing.layout`.
The nodes are taken in running order, whatever their order in the file; those on which no output
depends are not looked at.

Whether a picture comes channels-first or channels-last no file says: both are tried, and the one
that moves less data is taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from model.errors import ModelError
from model.importing import layout
from model.importing.float_graph import FloatGraph
from model.importing.float_operators import Shape, Transpose
from model.importing.layout import Value
from model.importing.names import printable
from model.importing.onnx.constants import constant
from model.importing.onnx.context import Context
from model.importing.onnx.file import OnnxModel, OnnxNode, read_onnx
from model.importing.onnx.operators import OPERATORS

__all__ = ["load"]

_FEW_CHANNELS = (1, 2, 3, 4)


def load(
    path: Path, shape: Shape | None = None, outputs: Sequence[str] = ()
) -> tuple[FloatGraph, str]:
    """Read an ONNX file.

    Parameters
    ----------
    path : Path
    shape : tuple of int, optional
        Height, width and channels of a picture, for models that leave them open.
    outputs : sequence of str
        Names of the outputs, or of any values, that are wanted; all outputs without it.

    Returns
    -------
    graph : FloatGraph
        Not yet simplified.
    layout : str
        How the source's pictures lie: ``NCHW`` or ``NHWC``; ``N`` where its input is a vector.

    Raises
    ------
    ModelError
        If it cannot be read or converted. The text is without the file's name.
    """
    model = read_onnx(path)
    tries: list[tuple[int, FloatGraph, str]] = []
    failures: list[ModelError] = []
    for channels_last in (False, True):
        try:
            graph, name = _Reader(model, channels_last, shape, outputs).read()
        except ModelError as error:
            failures.append(error)
            continue
        moves = sum(isinstance(node.operator, Transpose) for node in graph.nodes)
        doubtful = name != "N" and not _is_likely(graph.shapes[0])
        tries.append((2 * moves + doubtful, graph, name))
    if not tries:
        raise failures[0]
    _, graph, name = min(tries, key=lambda each: each[0])
    return graph, name


def _is_likely(shape: Shape) -> bool:
    """Whether a picture of this shape has as many channels as pictures have."""
    return shape[-1] in _FEW_CHANNELS or min(shape[:2]) >= shape[-1]


class _Reader:
    """One attempt, with pictures in one order."""

    def __init__(
        self,
        model: OnnxModel,
        channels_last: bool,
        shape: Shape | None,
        outputs: Sequence[str],
    ) -> None:
        self._model = model
        self._channels_last = channels_last
        self._picture = shape
        self._graph = FloatGraph()
        self._values: dict[str, Value | np.ndarray] = dict(model.constants)
        self._scales: dict[str, np.ndarray] = {}
        self._folded = 0
        self._outputs = list(outputs or model.outputs)

    def read(self) -> tuple[FloatGraph, str]:
        nodes, feed = _running_order(self._model, self._outputs)
        batch, name = self._add_input(feed)
        self._context = Context(self._graph, self._model.opset, batch, self._scales)
        for node in nodes:
            try:
                self._take(node)
            except ModelError as error:
                text = str(error)
                raise error if text.startswith("node ") else node.error(text) from error
            except (ArithmeticError, IndexError, KeyError, TypeError, ValueError) as error:
                raise node.error("its inputs or attributes make no sense") from error
        for output in self._outputs:
            self._add_output(output)
        return self._graph, name

    def _add_input(self, feed: str) -> tuple[int, str]:
        """Make tensor 0; the source's batch, and the name of its layout."""
        dims = self._model.inputs[feed]
        if not dims:
            raise ModelError(f"input {printable(feed)} has no shape")
        batch = dims[0] or 1
        sizes = dims[1:]
        picture = self._picture
        if picture is not None and picture[-1] == 1 and len(picture) == len(sizes) + 1:
            picture = picture[:-1]  # sequences, of steps and channels
        if None in sizes and picture is not None and len(picture) == len(sizes):
            order = picture if self._channels_last else (picture[-1], *picture[:-1])
            if all(size in (None, given) for size, given in zip(sizes, order)):
                sizes = order
        if None in sizes or not 1 <= len(sizes) <= 3:
            shown = ", ".join("?" if size is None else str(size) for size in dims)
            raise ModelError(
                f"input {printable(feed)} has shape [{shown}]; one to three sizes behind the batch "
                "are possible, and those that are open must come from an .npz of pictures"
            )
        index = layout.standard(tuple(size or 1 for size in sizes))
        if index.ndim == 1:
            self._values[feed] = Value(self._graph.tensor(index.shape), index)
            return batch, "N"
        if index.ndim == 2:
            index = index[np.newaxis] if self._channels_last else index[:, np.newaxis]
        ours = index.shape
        if not self._channels_last:
            ours = (ours[1], ours[2], ours[0])
            index = layout.standard(ours).transpose(2, 0, 1)
        tensor = self._graph.tensor(ours)
        self._values[feed] = Value(tensor, index.reshape(tuple(size or 1 for size in sizes)))
        return batch, "NHWC" if self._channels_last else "NCHW"

    def _add_output(self, name: str) -> None:
        value = self._values.get(name)
        if not isinstance(value, Value):
            raise ModelError(f"output {printable(name)} depends on no input")
        graph, shown = self._graph, printable(name)
        index = value.index
        if index.ndim == 3 and layout.order_of(index.transpose(1, 2, 0)) is not None:
            index = index.transpose(1, 2, 0)
            if max(index.shape[:2]) > 1:
                graph.notes.append(f"output {shown} is height x width x channels, not as in ONNX")
        tensor = layout.arranged(graph, Value(value.tensor, index), index, shown)
        if tensor == 0:
            raise ModelError(f"output {shown} is the input itself")
        graph.outputs.append(tensor)
        graph.output_names.append(shown)

    def _take(self, node: OnnxNode) -> None:
        arguments = [self._argument(node, name) for name in node.inputs]
        live = [each for each in arguments if isinstance(each, Value)]
        results: Sequence[Value | np.ndarray]
        if node.op == "Shape" and live and not node.domain:
            shape = np.array(self._context.shape(live[0]), np.int64)
            begin, end = node.attributes.get("start", 0), node.attributes.get("end")
            results = [shape[begin:end]]
        elif not live:
            results = [self._constant(node, arguments)]
        else:
            operator = OPERATORS.get((node.domain, node.op))
            if operator is None:
                place = f" of {printable(node.domain)}" if node.domain else ""
                raise node.error(f"this operator{place} is not supported")
            result = operator(self._context, node, arguments)
            results = result if isinstance(result, list) else [result]
        self._values.update(zip(node.outputs, results))

    def _argument(self, node: OnnxNode, name: str) -> Value | np.ndarray | None:
        if not name:
            return None
        if name not in self._values:
            raise node.error(f"its input {printable(name)} is a second result, not supported")
        return self._values[name]

    def _constant(self, node: OnnxNode, arguments: Sequence[Any]) -> np.ndarray:
        result = constant(node, arguments)
        if node.op != "Constant":
            self._folded += result.size
        if self._folded > 1 << 27:
            raise node.error("too much is computed from constants")
        if node.op == "DequantizeLinear" and arguments[0] is not None:
            zero = arguments[2] if len(arguments) > 2 else None
            if arguments[0].dtype == np.int8 and (zero is None or not zero.any()):
                self._scales[node.outputs[0]] = np.ravel(arguments[1])
        return result


def _running_order(model: OnnxModel, outputs: Sequence[str]) -> tuple[list[OnnxNode], str]:
    """The nodes on which `outputs` depend, in running order, and the input that they read."""
    makers = {name: node for node in model.nodes for name in node.outputs if name}
    feeds: set[str] = set()
    waiting: dict[int, int] = {}
    readers: dict[int, list[OnnxNode]] = {}
    ready: list[OnnxNode] = []
    needed = [name for name in outputs]
    seen: set[str] = set()
    while needed:
        name = needed.pop()
        if name in seen or not name or (name in model.constants and name not in makers):
            continue
        seen.add(name)
        node = makers.get(name)
        if node is None:
            if name not in model.inputs:
                if name in outputs:
                    known = ", ".join(map(printable, list(model.outputs)[:20]))
                    raise ModelError(f"has no output {printable(name)}; its outputs are {known}")
                raise ModelError(f"value {printable(name)} is read, but nothing makes it")
            feeds.add(name)
            continue
        if id(node) in waiting:
            continue
        sources = {id(makers[each]): makers[each] for each in node.inputs if each in makers}
        waiting[id(node)] = len(sources)
        if not sources:
            ready.append(node)
        for key in sources:
            readers.setdefault(key, []).append(node)
        needed += node.inputs
    if len(feeds) != 1:
        names = ", ".join(printable(each) for each in sorted(feeds)) or "none"
        raise ModelError(f"reads {len(feeds)} inputs ({names}); one is possible")
    order: list[OnnxNode] = []
    while ready:
        node = ready.pop()
        order.append(node)
        for reader in readers.get(id(node), ()):
            waiting[id(reader)] -= 1
            if not waiting[id(reader)]:
                ready.append(reader)
    if len(order) < len(waiting):
        raise ModelError("its nodes form a circle")
    return order, feeds.pop()
