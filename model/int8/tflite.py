"""Reading `.tflite` files; `encode` and `save`, which write them, are `.tflite_writer`'s.

A `.tflite` file is a FlatBuffer (schema: TensorFlow Lite ``schema.fbs``, version 3), behind which
labels may be appended (`.tflite_labels`). `decode` trusts nothing in it: every index,
length and shape is checked before it is used, and what comes out has passed `.validation`.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any, Final

import numpy as np
import tflite
from flatbuffers.number_types import Int32Flags

from model.errors import ModelError
from model.file_kinds import HEAD_BYTES, kind_of
from model.int8.graph import Graph, Operator, OperatorKind, Options, Quantization, Tensor
from model.int8.operators import OPERATORS
from model.int8.operators.definition import Definition, Field
from model.int8.operators.examined import LayerError
from model.int8.simplify import folded, one_picture, with_known_shapes
from model.int8.tflite_labels import read_labels
from model.int8.tflite_schema import DTYPES, FILE_IDENTIFIER, METADATA_NAME, SCHEMA_VERSION
from model.int8.tflite_writer import encode, save
from model.int8.validation import Missing, validate
from model.int8.variables import (
    KINDS,
    RESOURCE,
    OnceOptions,
    initial_values,
    state_options,
    with_state,
)

__all__ = ["decode", "encode", "load", "parse", "save"]

_MAX_FILE_BYTES: Final = 64 << 20
_MAX_ENTRIES: Final = 10_000
"""Tensors, operators or buffers of one model."""
_MAX_RANK: Final = 8
_MAX_NAME_BYTES: Final = 1000
_OTHER_DTYPE: Final = "unknown"

_BUILTIN_CODE: Final = 10
"""Where the table of offsets of an ``OperatorCode`` has the field ``builtin_code``."""

_KINDS: Final = {kind.value: kind for kind in OperatorKind}

_REASONS: Final = {
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "an LSTM, which is not supported",
    "SVDF": "SVDF, which keeps state between runs, is not supported",
    "IF": "IF is not supported",
    "WHILE": "loops are not supported",
}
"""What stands in the way of an operator that does not run, where that is worth saying."""

# A table without fields: its offset to a table of offsets (size 4, table size 4) before it.
_EMPTY_TABLE: Final = b"\x04\x00\x04\x00" + b"\x04\x00\x00\x00"


def load(path: str | Path) -> Graph:
    """Read a model file.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    Graph
        Checked by `model.int8.validation.validate`; named after the file, layers numbered by kind.

    Raises
    ------
    ModelError
        If the file cannot be read, is damaged, or holds a model that we cannot run.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > _MAX_FILE_BYTES:
            raise ModelError(f"{path}: {size} bytes; {_MAX_FILE_BYTES} are possible")
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror or error}") from error
    try:
        return decode(data, _text(os.fsencode(path.stem)))
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error


def decode(data: bytes, name: str) -> Graph:
    """Read a model from the bytes of a file.

    Parameters
    ----------
    data : bytes
    name : str
        Name of the graph.

    Raises
    ------
    ModelError
        As `load` does, without the file's name.
    """
    graph, missing = parse(data, name)
    validate(graph, missing)
    return graph


def parse(data: bytes, name: str) -> tuple[Graph, list[Missing]]:
    """Read a model of any type, which need make no sense.

    Parameters
    ----------
    data : bytes
    name : str
        Name of the graph.

    Returns
    -------
    graph : Graph
        Not checked by `model.int8.validation.validate`: its tensors may be of floats.
    missing : list of Missing
        The layers that are not in it, because no record describes their kind.

    Raises
    ------
    ModelError
        If the bytes are no model.
    """
    if len(data) > _MAX_FILE_BYTES:
        raise ModelError(f"{len(data)} bytes; {_MAX_FILE_BYTES} are possible")
    if len(data) < 8:
        raise ModelError("is empty or truncated")
    if data[4:8] != FILE_IDENTIFIER:
        kind = kind_of(data[:HEAD_BYTES])
        raise ModelError(f"is not a .tflite model{'' if kind is None else f': it is {kind}'}")
    try:
        model = tflite.Model.GetRootAs(data, 0)
        graph, missing = _read_model(data, model, name)
    except ModelError:
        raise
    except Exception as error:  # what flatbuffers and NumPy raise on other bytes is in no list
        raise ModelError("is damaged or truncated") from error
    return graph, missing


def _entries(count: int, what: str) -> range:
    if not 0 <= count <= _MAX_ENTRIES:
        raise ModelError(f"is damaged or truncated: {count} {what}")
    return range(count)


def _item(get: Callable[[int], Any], count: int, index: int, what: str) -> Any:
    """`get(index)`, checked."""
    item = get(index) if 0 <= index < count else None
    if item is None:
        raise ModelError(f"is damaged or truncated: {what} number {index} does not exist")
    return item


def _text(raw: bytes | None) -> str:
    """A name, fit to be printed: bytes that are no text, or would break a line, become "?"."""
    text = (raw or b"")[:_MAX_NAME_BYTES].decode("utf-8", errors="replace")
    return "".join(character if character.isprintable() else "?" for character in text)


def _read_model(data: bytes, model: Any, name: str) -> tuple[Graph, list[Missing]]:
    """The network, and the layers that are not in it because they cannot run."""
    if model.Version() != SCHEMA_VERSION:
        raise ModelError(f"has schema version {model.Version()}, not {SCHEMA_VERSION}")
    if model.SubgraphsLength() < 1:
        raise ModelError("holds no network")
    graph, missing = _read_subgraph(model, 0, name)
    initial = _read_initial(model, graph)
    if model.SubgraphsLength() != 1 + len(_once(graph)) and not missing:
        raise ModelError(f"holds {model.SubgraphsLength()} subgraphs, not one")
    graph = with_state(graph, initial)
    graph = one_picture(folded(with_known_shapes(graph)))
    return _with_labels(graph, data, model), missing


def _read_subgraph(model: Any, index: int, name: str) -> tuple[Graph, list[Missing]]:
    """A subgraph as it stands in the file, and the layers that are not in it."""
    subgraph = _item(model.Subgraphs, model.SubgraphsLength(), index, "subgraph")
    operators, missing = _read_operators(model, subgraph)
    tensors = [
        _read_tensor(model, subgraph.Tensors(index))
        for index in _entries(subgraph.TensorsLength(), "tensors")
    ]
    graph = Graph(
        name=name,
        tensors=_with_own_names(subgraph, tensors),
        operators=tuple(_completed(operator, tensors) for operator in operators),
        inputs=_indexes(subgraph, "Inputs"),
        outputs=_indexes(subgraph, "Outputs"),
    )
    return graph, missing


def _once(graph: Graph) -> dict[int, str]:
    """Subgraphs that CALL_ONCE names, and the layer that does."""
    return {
        operator.options.subgraph: operator.name
        for operator in graph.operators
        if isinstance(operator.options, OnceOptions)
    }


def _read_initial(model: Any, graph: Graph) -> dict[str, np.ndarray]:
    """First values of the variables, from the subgraphs that CALL_ONCE names."""
    values: dict[str, np.ndarray] = {}
    for index, layer in _once(graph).items():
        if index == 0:
            raise LayerError(layer, "calls the network itself")
        once, missing = _read_subgraph(model, index, graph.name)
        if missing:
            raise missing[0].error
        values |= initial_values(folded(with_known_shapes(once)), layer)
    return values


def _with_own_names(subgraph: Any, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """No two inputs, and no two outputs, have the same name."""
    named = list(tensors)
    for ends in (_indexes(subgraph, "Inputs"), _indexes(subgraph, "Outputs")):
        seen: Counter[str] = Counter()
        for index in dict.fromkeys(ends):
            if 0 <= index < len(named):
                name = named[index].name
                seen[name] += 1
                if seen[name] > 1:
                    named[index] = replace(named[index], name=f"{name}:{seen[name] - 1}")
    return tuple(named)


def _with_labels(graph: Graph, data: bytes, model: Any) -> Graph:
    """With the class names behind the model, or a note that there are not as many as classes."""
    labels = read_labels(data)
    if not labels and _names_labels(model):
        raise ModelError("is truncated: the labels at its end are missing")
    if not labels or not graph.outputs or not 0 <= graph.outputs[0] < len(graph.tensors):
        return graph
    (count,) = graph.output.shape[-1:] or (1,)
    if count == len(labels):
        return replace(graph, labels=labels)
    note = f"{len(labels)} labels do not fit {count} output channels: they are left out"
    return replace(graph, notes=(note,))


def _indexes(table: Any, field: str) -> tuple[int, ...]:
    """A vector of tensor indexes."""
    length = getattr(table, f"{field}Length")()
    get = getattr(table, field)
    return tuple(int(get(index)) for index in _entries(length, field.lower()))


def _buffer(model: Any, index: int) -> np.ndarray | None:
    """Bytes of a buffer; None if it is empty, as an activation's is."""
    buffer = _item(model.Buffers, model.BuffersLength(), index, "buffer")
    if buffer.Offset() > 1:
        raise ModelError("keeps its weights outside of the FlatBuffer, which is not supported")
    if buffer.DataLength() == 0:
        return None
    return buffer.DataAsNumpy()


def _names_labels(model: Any) -> bool:
    """Does the metadata promise a file of labels?"""
    for index in _entries(model.MetadataLength(), "metadata entries"):
        entry = model.Metadata(index)
        if entry.Name() == METADATA_NAME:
            content = _buffer(model, entry.Buffer())
            return content is not None and b"labels.txt" in content.tobytes()
    return False


def _read_tensor(model: Any, tensor: Any) -> Tensor:
    name = _text(tensor.Name())
    rank = tensor.ShapeLength()
    if not 0 <= rank <= _MAX_RANK:
        raise ModelError(f"tensor {name}: {rank} dimensions; {_MAX_RANK} are possible")
    shape = tuple(int(tensor.Shape(axis)) for axis in range(rank))
    if any(size < -1 for size in shape):
        raise ModelError(f"tensor {name}: shape {shape} is not fixed")
    dtype = DTYPES.get(tensor.Type(), _OTHER_DTYPE)
    if tensor.Type() == tflite.TensorType.RESOURCE:
        dtype = RESOURCE
    content = _buffer(model, tensor.Buffer())
    array = None
    if content is not None and dtype not in (_OTHER_DTYPE, RESOURCE):
        if tensor.Sparsity() is not None:
            raise ModelError(f"tensor {name}: sparse weights are not supported")
        wanted = prod(shape) * np.dtype(dtype).itemsize
        if len(content) != wanted:
            raise ModelError(f"tensor {name}: {len(content)} bytes of data, not {wanted}")
        little_endian = np.dtype(dtype).newbyteorder("<")
        array = np.frombuffer(content.tobytes(), little_endian).astype(dtype).reshape(shape)
    return Tensor(name, shape, dtype, _read_quantization(name, tensor.Quantization()), array)


def _read_quantization(name: str, quantization: Any) -> Quantization | None:
    if quantization is None or quantization.ScaleLength() == 0:
        return None
    if quantization.DetailsType() != 0:
        raise ModelError(f"tensor {name}: custom quantisation is not supported")
    scale = np.array(quantization.ScaleAsNumpy(), np.float32)
    if quantization.ZeroPointLength() == 0:
        zero_point = np.zeros(len(scale), np.int64)
    else:
        zero_point = np.array(quantization.ZeroPointAsNumpy(), np.int64)
    return Quantization(scale, zero_point, int(quantization.QuantizedDimension()))


def _kind_name(model: Any, operator: Any) -> str:
    """The operator's name in the schema."""
    code = _item(
        model.OperatorCodes, model.OperatorCodesLength(), operator.OpcodeIndex(), "operator code"
    )
    # Files from before the new field have only the old one, which ends at 127; some of those after
    # it have only the new one, and there the package's accessor answers with the old one's default.
    table = code._tab
    offset = table.Offset(_BUILTIN_CODE)
    number = code.DeprecatedBuiltinCode()
    if offset:
        number = max(number, table.Get(Int32Flags, offset + table.Pos))
    try:
        name = tflite.opcode2name(number)
    except ValueError:
        return f"operator {number}"
    return f"custom operator {_text(code.CustomCode())}" if name == "CUSTOM" else name


def _read_operators(model: Any, subgraph: Any) -> tuple[list[Operator], list[Missing]]:
    operators: list[Operator] = []
    missing: list[Missing] = []
    seen: Counter[str] = Counter()
    for position in _entries(subgraph.OperatorsLength(), "operators"):
        operator = subgraph.Operators(position)
        kind_name = _kind_name(model, operator)
        kind = _KINDS.get(kind_name)
        stem = kind.stem if kind is not None else kind_name.lower().replace(" ", "_")
        seen[stem] += 1
        name = f"{stem}{seen[stem]}"
        inputs, outputs = _indexes(operator, "Inputs"), _indexes(operator, "Outputs")
        try:
            options: Options | None
            if kind in KINDS:
                options = state_options(kind, operator)
                operators.append(Operator(kind, name, inputs, outputs, options))
                continue
            if kind is None or kind not in OPERATORS:
                reason = f"{kind_name} is not supported"
                raise LayerError(name, _REASONS.get(kind_name, reason))
            options = _read_options(OPERATORS[kind], name, operator)
        except LayerError as error:
            missing.append(Missing(error, outputs))
        else:
            operators.append(Operator(kind, name, inputs, outputs, options))
    return operators, missing


def _read_options(definition: Definition, name: str, operator: Any) -> Options | None:
    """The operator's options; a table that is missing has every field's default."""
    table = definition.table
    if table is None:
        return None
    reader = getattr(tflite, table.name)()
    raw = operator.BuiltinOptions()
    if raw is None or operator.BuiltinOptionsType() != getattr(tflite.BuiltinOptions, table.name):
        reader.Init(_EMPTY_TABLE, 4)
    else:
        reader.Init(raw.Bytes, raw.Pos)
    return table.options(
        **{field.attribute: _read_field(field, name, reader) for field in table.fields}
    )


def _read_field(field: Field, layer: str, reader: Any) -> Any:
    if field.vector:
        length = min(getattr(reader, f"{field.name}Length")(), _MAX_RANK)
        return tuple(field.type(getattr(reader, field.name)(index)) for index in range(length))
    value = getattr(reader, field.name)()
    if field.codes is None:
        return field.type(value)
    if value not in field.codes:
        what = {"activation": "fused activation"}.get(field.attribute, field.attribute)
        raise LayerError(layer, f"{what} {value} is not supported")
    return field.codes[value]


def _completed(operator: Operator, tensors: Sequence[Tensor]) -> Operator:
    complete = None if operator.kind in KINDS else OPERATORS[operator.kind].complete
    return operator if complete is None else complete(operator, tensors)
