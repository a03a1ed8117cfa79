"""ONNX files as plain data: nodes, constants, inputs and outputs.

The package `onnx` reads the file; what comes out needs it no more. Nothing in the file is trusted:
counts and sizes are bounded, and weights kept outside of it are read only from the model's own
folder.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any, Final

import numpy as np

from model.errors import ModelError
from model.file_kinds import file_kind
from model.importing.names import printable

__all__ = ["OnnxModel", "OnnxNode", "read_onnx"]

_MAX_FILE_BYTES: Final = 512 << 20
_MAX_NODES: Final = 20_000

_STANDARD_DOMAINS: Final = ("", "ai.onnx")


@dataclass(frozen=True, eq=False)
class OnnxNode:
    """One node.

    Attributes
    ----------
    op : str
        ``Conv``, ``Relu`` ...
    domain : str
        Empty for ONNX's own operators.
    name : str
        For messages; the first output's name where the node has none.
    inputs, outputs : tuple of str
        Names of values; an input left out is "".
    attributes : dict
        Numbers, text, lists of them, and arrays.
    """

    op: str
    domain: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]

    def error(self, reason: str) -> ModelError:
        """An error that names this node."""
        return ModelError(f"node {self.name} ({self.op}): {reason}")


@dataclass(frozen=True, eq=False)
class OnnxModel:
    """A graph.

    Attributes
    ----------
    opset : int
        Version of the standard operators.
    producer : str
        The tool that wrote it.
    nodes : list of OnnxNode
        In the file's order, which need not be a running order.
    constants : dict of str to ndarray
    inputs, outputs : dict of str to tuple
        Shapes by name; None for a size that is open; an empty tuple where no shape is given.
    """

    opset: int
    producer: str
    nodes: list[OnnxNode]
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    inputs: dict[str, tuple[int | None, ...]] = field(default_factory=dict)
    outputs: dict[str, tuple[int | None, ...]] = field(default_factory=dict)


def _other_kind(path: Path) -> str:
    """What a file is that is no ONNX model, for the end of a line; empty if that is not known."""
    kind = file_kind(path)
    return f": it is {kind}" if kind is not None and "ONNX" not in kind else ""


def read_onnx(path: Path) -> OnnxModel:
    """Read an ONNX file.

    Raises
    ------
    ModelError
        If the package `onnx` is missing, or the file cannot be read, is damaged, or keeps weights
        outside of its folder. The text is without the file's name.
    """
    try:
        import onnx
    except ImportError as error:
        if _other_kind(path):
            raise ModelError(f"is no ONNX model{_other_kind(path)}") from error
        raise ModelError(
            "reading ONNX needs the package onnx: pip install 'eyespot[onnx]'"
        ) from error
    from google.protobuf.message import DecodeError

    try:
        size = path.stat().st_size
        if size > _MAX_FILE_BYTES:
            raise ModelError(f"{size} bytes; {_MAX_FILE_BYTES} are possible")
        proto = onnx.load_model_from_string(path.read_bytes())
    except OSError as error:
        raise ModelError(f"{error.strerror or error}") from error
    except (DecodeError, ValueError) as error:
        kind = _other_kind(path)
        raise ModelError(f"is damaged, truncated, or no ONNX model{kind}") from error
    if not proto.graph.node:
        raise ModelError("is damaged, truncated, or no ONNX model: there are no nodes in it")
    try:
        return _Reading(path.parent).model(_inlined(proto))
    except (AttributeError, MemoryError, OverflowError, TypeError, ValueError) as error:
        raise ModelError("is damaged or truncated") from error


def _inlined(proto: Any) -> Any:
    """The model with the functions that it defines for itself put in their callers' place."""
    if not proto.functions:
        return proto
    from onnx import inliner

    _check_expansion(proto)
    return inliner.inline_local_functions(proto)


def _check_expansion(proto: Any) -> None:
    """Bound what functions that call functions grow to, before they are put in place."""
    functions = {(each.domain, each.name): each.node for each in proto.functions}
    sizes: dict[tuple[str, str], int] = {}
    # In rounds, so that a circle of calls is seen as no progress.
    while len(sizes) < len(functions):
        known = len(sizes)
        for key, nodes in functions.items():
            calls = [(n.domain, n.op_type) for n in nodes if (n.domain, n.op_type) in functions]
            if key not in sizes and all(call in sizes for call in calls):
                sizes[key] = len(nodes) + sum(sizes[call] for call in calls)
        if len(sizes) == known:
            raise ModelError("its functions call one another in a circle")
    total = sum(sizes.get((node.domain, node.op_type), 1) for node in proto.graph.node)
    if total > _MAX_NODES:
        raise ModelError(f"{total} nodes with its functions; {_MAX_NODES} are possible")


class _Reading:
    """From messages to plain data."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._outside: dict[Path, bytes] = {}

    def model(self, proto: Any) -> OnnxModel:
        graph = proto.graph
        if len(graph.node) > _MAX_NODES:
            raise ModelError(f"{len(graph.node)} nodes; {_MAX_NODES} are possible")
        versions = [each.version for each in proto.opset_import if each.domain in _STANDARD_DOMAINS]
        if not versions:
            raise ModelError("does not say which version of ONNX's operators it means")
        if graph.sparse_initializer:
            raise ModelError("sparse weights are not supported")
        constants = {_text(tensor.name): self.array(tensor) for tensor in graph.initializer}
        # Old files list weights among the inputs, too.
        inputs = {_text(each.name): _shape(each) for each in graph.input}
        for name in constants.keys() & inputs.keys():
            del inputs[name]
        return OnnxModel(
            opset=int(max(versions)),
            producer=printable(_text(proto.producer_name)),
            nodes=[self.node(each) for each in graph.node],
            constants=constants,
            inputs=inputs,
            outputs={_text(each.name): _shape(each) for each in graph.output},
        )

    def node(self, proto: Any) -> OnnxNode:
        outputs = tuple(map(_text, proto.output))
        name = _text(proto.name) or next((each for each in outputs if each), "")
        domain = _text(proto.domain)
        domain = "" if domain in _STANDARD_DOMAINS else domain
        attributes = {_text(each.name): self.attribute(each) for each in proto.attribute}
        op = printable(_text(proto.op_type))
        inputs = tuple(map(_text, proto.input))
        return OnnxNode(op, domain, printable(name), inputs, outputs, attributes)

    def attribute(self, proto: Any) -> Any:
        from onnx import AttributeProto, helper

        if proto.type == AttributeProto.TENSOR:
            return self.array(proto.t)
        if proto.type in (AttributeProto.GRAPH, AttributeProto.GRAPHS):
            return None  # its operator, a loop or a condition, is refused by name
        value = helper.get_attribute_value(proto)
        if isinstance(value, bytes):
            return value.decode("utf-8", errors="replace")
        return list(value) if isinstance(value, Iterable) and not isinstance(value, str) else value

    def array(self, tensor: Any) -> np.ndarray:
        """A constant, wherever its bytes are."""
        from onnx import TensorProto, helper, numpy_helper

        name = printable(_text(tensor.name))
        if any(size < 0 for size in tensor.dims):
            raise ModelError(f"weights {name}: shape {tuple(tensor.dims)}")
        if tensor.data_type == TensorProto.STRING:
            return np.empty(0, np.uint8)
        if tensor.data_type not in helper.get_all_tensor_dtypes():
            raise ModelError(f"weights {name}: element type {tensor.data_type} is not supported")
        if tensor.data_location == TensorProto.EXTERNAL:
            tensor = self._inside(tensor, name)
        try:
            return np.array(numpy_helper.to_array(tensor))
        except (KeyError, MemoryError, OverflowError, TypeError, ValueError) as error:
            raise ModelError(f"weights {name}: damaged, or fewer than they should be") from error

    def _inside(self, tensor: Any, name: str) -> Any:
        """The same message with its bytes in it."""
        from onnx import TensorProto, helper

        where = {_text(entry.key): _text(entry.value) for entry in tensor.external_data}
        path = self._folder / where.get("location", "")
        shown = printable(where.get("location", ""))
        if path.resolve().parent != self._folder.resolve():
            raise ModelError(f"weights {name}: in {shown}, outside of the model's folder")
        if path not in self._outside:
            try:
                if path.stat().st_size > _MAX_FILE_BYTES:
                    raise ModelError(f"{shown}: {_MAX_FILE_BYTES} bytes are possible")
                self._outside[path] = path.read_bytes()
            except OSError as error:
                raise ModelError(
                    f"its weights are in {shown}, beside the model, which cannot be read: "
                    f"{error.strerror or error}"
                ) from error
        content = self._outside[path]
        itemsize = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type)).itemsize
        offset = int(where.get("offset") or 0)
        length = int(where.get("length") or prod(tensor.dims) * itemsize)
        if offset < 0 or length < 0 or offset + length > len(content):
            raise ModelError(f"weights {name}: {shown} is truncated")
        inside = TensorProto()
        inside.data_type = tensor.data_type
        inside.dims.extend(tensor.dims)
        inside.raw_data = content[offset : offset + length]
        return inside


def _text(name: str | bytes) -> str:
    """A string of a message; protobuf gives bytes that are no UTF-8 as they are."""
    return name.decode("utf-8", errors="replace") if isinstance(name, bytes) else name


def _shape(value: Any) -> tuple[int | None, ...]:
    """Shape of an input or output; sizes that are open as None."""
    dims = value.type.tensor_type.shape.dim
    return tuple(
        int(each.dim_value) if each.HasField("dim_value") and each.dim_value > 0 else None
        for each in dims
    )
