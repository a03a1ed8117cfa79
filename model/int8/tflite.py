"""Reading and writing `.tflite` files.

A `.tflite` file is a FlatBuffer (schema: TensorFlow Lite ``schema.fbs``, version 3), behind which
labels may be appended (`.tflite_labels`). `decode` trusts nothing in it: every index,
length and shape is checked before it is used, and what comes out has passed `.validation`.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any, Final

import flatbuffers
import numpy as np
import tflite

from model.errors import ModelError
from model.int8.graph import (
    ABSENT,
    Activation,
    AddOptions,
    DenseOptions,
    Graph,
    LeakyReluOptions,
    MeanOptions,
    Operator,
    OperatorKind,
    Options,
    Padding,
    Quantization,
    ReshapeOptions,
    SoftmaxOptions,
    Tensor,
    WindowOptions,
)
from model.int8.tflite_labels import append_labels, encode_metadata, read_labels
from model.int8.validation import validate

__all__ = ["decode", "encode", "load", "save"]

_FILE_IDENTIFIER: Final = b"TFL3"
_SCHEMA_VERSION: Final = 3
_METADATA_NAME: Final = b"TFLITE_METADATA"

_MAX_FILE_BYTES: Final = 64 << 20
_MAX_ENTRIES: Final = 10_000
"""Tensors, operators or buffers of one model."""
_MAX_RANK: Final = 8
_MAX_NAME_BYTES: Final = 1000
_BUFFER_ALIGNMENT: Final = 16

_DTYPES: Final = {
    tflite.TensorType.FLOAT32: "float32",
    tflite.TensorType.FLOAT16: "float16",
    tflite.TensorType.INT32: "int32",
    tflite.TensorType.UINT8: "uint8",
    tflite.TensorType.INT64: "int64",
    tflite.TensorType.BOOL: "bool",
    tflite.TensorType.INT16: "int16",
    tflite.TensorType.INT8: "int8",
    tflite.TensorType.FLOAT64: "float64",
}
_OTHER_DTYPE: Final = "unknown"

_ACTIVATIONS: Final = {
    tflite.ActivationFunctionType.NONE: Activation.NONE,
    tflite.ActivationFunctionType.RELU: Activation.RELU,
    tflite.ActivationFunctionType.RELU6: Activation.RELU6,
}
_PADDINGS: Final = {tflite.Padding.SAME: Padding.SAME, tflite.Padding.VALID: Padding.VALID}

_OPERATOR_VERSIONS: Final = {
    OperatorKind.CONV_2D: 3,
    OperatorKind.DEPTHWISE_CONV_2D: 3,
    OperatorKind.FULLY_CONNECTED: 4,
    OperatorKind.RESHAPE: 1,
    OperatorKind.HARD_SWISH: 1,
}
"""Version of each operator in which int8 came, where that is not 2."""

# What flatbuffers and NumPy raise on bytes that are no FlatBuffer.
_DAMAGE: Final = (
    AttributeError,
    IndexError,
    MemoryError,
    OverflowError,
    TypeError,
    ValueError,
    struct.error,
)


# Reading


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
        return decode(data, path.stem)
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
    if len(data) > _MAX_FILE_BYTES:
        raise ModelError(f"{len(data)} bytes; {_MAX_FILE_BYTES} are possible")
    if len(data) < 8:
        raise ModelError("is empty or truncated")
    if data[4:8] != _FILE_IDENTIFIER:
        raise ModelError("is not a .tflite model")
    try:
        model = tflite.Model.GetRootAs(data, 0)
        graph = _read_model(data, model, name)
    except ModelError:
        raise
    except _DAMAGE as error:
        raise ModelError("is damaged or truncated") from error
    validate(graph)
    return graph


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


def _read_model(data: bytes, model: Any, name: str) -> Graph:
    if model.Version() != _SCHEMA_VERSION:
        raise ModelError(f"has schema version {model.Version()}, not {_SCHEMA_VERSION}")
    if model.SubgraphsLength() != 1:
        raise ModelError(f"holds {model.SubgraphsLength()} subgraphs, not one")
    subgraph = model.Subgraphs(0)
    operators = _read_operators(model, subgraph)
    tensors = [
        _read_tensor(model, subgraph.Tensors(index))
        for index in _entries(subgraph.TensorsLength(), "tensors")
    ]
    operators = [_with_kernel(operator, tensors) for operator in operators]
    labels = read_labels(data)
    if not labels and _names_labels(model):
        raise ModelError("is truncated: the labels at its end are missing")
    graph = Graph(
        name=name,
        tensors=tuple(tensors),
        operators=tuple(operators),
        inputs=_indexes(subgraph, "Inputs"),
        outputs=_indexes(subgraph, "Outputs"),
        labels=labels,
    )
    return _with_signed_ends(graph)


def _with_signed_ends(graph: Graph) -> Graph:
    """uint8 inputs and outputs as the int8 that is 128 less, with a zero point 128 less.

    Where only QUANTIZE reads such an input, or makes such an output, nothing else changes: it looks
    at the difference to the zero point. Others stay as they are, and are refused later.
    """

    def quantizes(operator: Operator) -> bool:
        return operator.kind is OperatorKind.QUANTIZE

    tensors = list(graph.tensors)
    for index in {*graph.inputs, *graph.outputs}:
        tensor = tensors[index] if 0 <= index < len(tensors) else None
        if tensor is None or tensor.dtype != "uint8" or tensor.quantization is None:
            continue
        users = [op for op in graph.operators if index in (*op.inputs, *op.outputs)]
        if users and all(map(quantizes, users)) and tensor.data is None:
            affine = tensor.quantization
            shifted = replace(affine, zero_point=affine.zero_point - 128)
            tensors[index] = replace(tensor, dtype="int8", quantization=shifted)
    return replace(graph, tensors=tuple(tensors))


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
        if entry.Name() == _METADATA_NAME:
            content = _buffer(model, entry.Buffer())
            return content is not None and b"labels.txt" in content.tobytes()
    return False


def _read_tensor(model: Any, tensor: Any) -> Tensor:
    name = _text(tensor.Name())
    rank = tensor.ShapeLength()
    if not 0 <= rank <= _MAX_RANK:
        raise ModelError(f"tensor {name}: {rank} dimensions; {_MAX_RANK} are possible")
    shape = tuple(int(tensor.Shape(axis)) for axis in range(rank))
    if any(size < 0 for size in shape):
        raise ModelError(f"tensor {name}: shape {shape} is not fixed")
    dtype = _DTYPES.get(tensor.Type(), _OTHER_DTYPE)
    content = _buffer(model, tensor.Buffer())
    array = None
    if content is not None and dtype != _OTHER_DTYPE:
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


def _read_kind(model: Any, operator: Any, position: int) -> OperatorKind:
    code = _item(
        model.OperatorCodes, model.OperatorCodesLength(), operator.OpcodeIndex(), "operator code"
    )
    # Codes up to 127 sit in the old field too; files from before the new field have only that.
    number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
    try:
        name = tflite.opcode2name(number)
    except ValueError:
        name = f"operator {number}"
    if name == "CUSTOM":
        name = f"custom operator {_text(code.CustomCode())}"
    try:
        return OperatorKind(name)
    except ValueError:
        raise ModelError(f"layer {position + 1}: {name} is not supported") from None


def _read_operators(model: Any, subgraph: Any) -> list[Operator]:
    operators: list[Operator] = []
    seen: Counter[OperatorKind] = Counter()
    for position in _entries(subgraph.OperatorsLength(), "operators"):
        operator = subgraph.Operators(position)
        kind = _read_kind(model, operator, position)
        seen[kind] += 1
        name = f"{kind.stem}{seen[kind]}"
        operators.append(
            Operator(
                kind=kind,
                name=name,
                inputs=_indexes(operator, "Inputs"),
                outputs=_indexes(operator, "Outputs"),
                options=_read_options(kind, name, operator),
            )
        )
    return operators


def _with_kernel(operator: Operator, tensors: Sequence[Tensor]) -> Operator:
    """A convolution's kernel size comes from its weights."""
    options = operator.options
    if not isinstance(options, WindowOptions) or options.kernel_h:
        return operator
    weights = operator.inputs[1] if len(operator.inputs) > 1 else ABSENT
    if not 0 <= weights < len(tensors) or len(tensors[weights].shape) != 4:
        raise ModelError(f"layer {operator.name}: no weights of four dimensions")
    _, kernel_h, kernel_w, _ = tensors[weights].shape
    fields = {**vars(options), "kernel_h": kernel_h, "kernel_w": kernel_w}
    return Operator(
        operator.kind, operator.name, operator.inputs, operator.outputs, WindowOptions(**fields)
    )


_OPTION_TABLES: Final = {
    OperatorKind.CONV_2D: "Conv2DOptions",
    OperatorKind.DEPTHWISE_CONV_2D: "DepthwiseConv2DOptions",
    OperatorKind.FULLY_CONNECTED: "FullyConnectedOptions",
    OperatorKind.MAX_POOL_2D: "Pool2DOptions",
    OperatorKind.AVERAGE_POOL_2D: "Pool2DOptions",
    OperatorKind.SOFTMAX: "SoftmaxOptions",
    OperatorKind.RESHAPE: "ReshapeOptions",
    OperatorKind.ADD: "AddOptions",
    OperatorKind.LEAKY_RELU: "LeakyReluOptions",
    OperatorKind.MEAN: "ReducerOptions",
}
"""Name of each operator's table of options in the schema; kinds without options are not here."""

_OPTIONAL_TABLES: Final = frozenset({OperatorKind.RESHAPE})
"""Kinds that may go without their table."""


def _read_options(kind: OperatorKind, name: str, operator: Any) -> Options:
    if kind not in _OPTION_TABLES:
        return None
    table_name = _OPTION_TABLES[kind]
    raw = operator.BuiltinOptions()
    if raw is None or operator.BuiltinOptionsType() != getattr(tflite.BuiltinOptions, table_name):
        if kind in _OPTIONAL_TABLES:
            return ReshapeOptions()
        raise ModelError(f"layer {name}: no options")
    table = getattr(tflite, table_name)()
    table.Init(raw.Bytes, raw.Pos)

    def activation() -> Activation:
        code = table.FusedActivationFunction()
        if code not in _ACTIVATIONS:
            raise ModelError(f"layer {name}: fused activation {code} is not supported")
        return _ACTIVATIONS[code]

    def padding() -> Padding:
        if table.Padding() not in _PADDINGS:
            raise ModelError(f"layer {name}: padding {table.Padding()} is not supported")
        return _PADDINGS[table.Padding()]

    def window(**fields: int) -> WindowOptions:
        return WindowOptions(
            stride_h=table.StrideH(),
            stride_w=table.StrideW(),
            padding=padding(),
            activation=activation(),
            **{"kernel_h": 0, "kernel_w": 0, **fields},
        )

    def dilation() -> dict[str, int]:
        return {
            "dilation_h": table.DilationHFactor(),
            "dilation_w": table.DilationWFactor(),
        }

    match kind:
        case OperatorKind.CONV_2D:
            return window(**dilation())
        case OperatorKind.DEPTHWISE_CONV_2D:
            # Zero is what old files say for "work it out"; validation refuses it.
            return window(**dilation(), depth_multiplier=table.DepthMultiplier())
        case OperatorKind.MAX_POOL_2D | OperatorKind.AVERAGE_POOL_2D:
            # A kernel of 0 would be taken from weights, which a pool does not have.
            return window(
                kernel_h=table.FilterHeight() or -1,
                kernel_w=table.FilterWidth() or -1,
            )
        case OperatorKind.FULLY_CONNECTED:
            if table.WeightsFormat() != tflite.FullyConnectedOptionsWeightsFormat.DEFAULT:
                raise ModelError(f"layer {name}: shuffled weights are not supported")
            return DenseOptions(activation())
        case OperatorKind.SOFTMAX:
            return SoftmaxOptions(float(table.Beta()))
        case OperatorKind.RESHAPE:
            length = table.NewShapeLength()
            return ReshapeOptions(
                tuple(int(table.NewShape(axis)) for axis in range(min(length, _MAX_RANK)))
            )
        case OperatorKind.ADD:
            return AddOptions(activation())
        case OperatorKind.LEAKY_RELU:
            return LeakyReluOptions(float(table.Alpha()))
        case _:
            return MeanOptions(bool(table.KeepDims()))


# Writing


def save(graph: Graph, path: str | Path) -> None:
    """Write a model file, labels included; the same graph gives the same bytes.

    Raises
    ------
    ModelError
        If the graph is not valid or the file cannot be written.
    """
    path = Path(path)
    data = encode(graph)
    try:
        path.write_bytes(data)
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror or error}") from error


def encode(graph: Graph) -> bytes:
    """The bytes of a model file.

    Raises
    ------
    ModelError
        If the graph is not valid, or a label or a tensor's type cannot be written.
    """
    validate(graph)
    data = _Writer(graph).write()
    return append_labels(data, graph.labels) if graph.labels else data


class _Writer:
    """One FlatBuffer in the making. Children are written before the tables that point at them."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._builder = flatbuffers.Builder(1024)
        self._kinds = sorted({operator.kind for operator in graph.operators})
        # Buffer 0 is empty by convention: it is the one of all activations.
        self._buffers: list[bytes] = [b""]

    def write(self) -> bytes:
        graph, builder = self._graph, self._builder
        tensors = self._vector([self._tensor(tensor) for tensor in graph.tensors])
        operators = self._vector([self._operator(operator) for operator in graph.operators])
        inputs = self._integers(graph.inputs)
        outputs = self._integers(graph.outputs)
        name = builder.CreateString("main")
        tflite.SubGraphStart(builder)
        tflite.SubGraphAddTensors(builder, tensors)
        tflite.SubGraphAddInputs(builder, inputs)
        tflite.SubGraphAddOutputs(builder, outputs)
        tflite.SubGraphAddOperators(builder, operators)
        tflite.SubGraphAddName(builder, name)
        subgraphs = self._vector([tflite.SubGraphEnd(builder)])
        codes = self._vector([self._operator_code(kind) for kind in self._kinds])
        metadata = self._metadata() if graph.labels else None
        buffers = self._vector([self._buffer(content) for content in self._buffers])
        description = builder.CreateString(graph.name)
        tflite.ModelStart(builder)
        tflite.ModelAddVersion(builder, _SCHEMA_VERSION)
        tflite.ModelAddOperatorCodes(builder, codes)
        tflite.ModelAddSubgraphs(builder, subgraphs)
        tflite.ModelAddDescription(builder, description)
        tflite.ModelAddBuffers(builder, buffers)
        if metadata is not None:
            tflite.ModelAddMetadata(builder, metadata)
        builder.Finish(tflite.ModelEnd(builder), file_identifier=_FILE_IDENTIFIER)
        return bytes(builder.Output())

    def _vector(self, offsets: Sequence[int]) -> int:
        self._builder.StartVector(4, len(offsets), 4)
        for offset in reversed(offsets):
            self._builder.PrependUOffsetTRelative(offset)
        return self._builder.EndVector()

    def _integers(self, values: Iterable[int]) -> int:
        return self._builder.CreateNumpyVector(np.array(tuple(values), np.int32))

    def _buffer(self, content: bytes) -> int:
        """A ``Buffer`` with its bytes aligned, as the schema's ``force_align: 16`` asks."""
        builder = self._builder
        data = None
        if content:
            builder.StartVector(1, len(content), _BUFFER_ALIGNMENT)
            builder.head -= len(content)
            builder.Bytes[builder.head : builder.head + len(content)] = content
            data = builder.EndVector()
        tflite.BufferStart(builder)
        if data is not None:
            tflite.BufferAddData(builder, data)
        return tflite.BufferEnd(builder)

    def _new_buffer(self, content: bytes) -> int:
        self._buffers.append(content)
        return len(self._buffers) - 1

    def _metadata(self) -> int:
        builder = self._builder
        index = self._new_buffer(encode_metadata(self._graph.name))
        name = builder.CreateString(_METADATA_NAME.decode())
        tflite.MetadataStart(builder)
        tflite.MetadataAddName(builder, name)
        tflite.MetadataAddBuffer(builder, index)
        return self._vector([tflite.MetadataEnd(builder)])

    def _tensor(self, tensor: Tensor) -> int:
        builder = self._builder
        codes = [code for code, dtype in _DTYPES.items() if dtype == tensor.dtype]
        if not codes:
            raise ModelError(f"tensor {tensor.name!r} is of a type that cannot be written")
        buffer = 0
        if tensor.data is not None:
            little_endian = np.dtype(tensor.dtype).newbyteorder("<")
            buffer = self._new_buffer(tensor.data.astype(little_endian).tobytes())
        name = builder.CreateString(tensor.name)
        shape = self._integers(tensor.shape)
        quantization = self._quantization(tensor.quantization)
        tflite.TensorStart(builder)
        tflite.TensorAddShape(builder, shape)
        tflite.TensorAddType(builder, codes[0])
        tflite.TensorAddBuffer(builder, buffer)
        tflite.TensorAddName(builder, name)
        if quantization is not None:
            tflite.TensorAddQuantization(builder, quantization)
        return tflite.TensorEnd(builder)

    def _quantization(self, quantization: Quantization | None) -> int | None:
        if quantization is None:
            return None
        builder = self._builder
        scale = builder.CreateNumpyVector(quantization.scale.astype(np.float32))
        zero_point = builder.CreateNumpyVector(quantization.zero_point.astype(np.int64))
        tflite.QuantizationParametersStart(builder)
        tflite.QuantizationParametersAddScale(builder, scale)
        tflite.QuantizationParametersAddZeroPoint(builder, zero_point)
        tflite.QuantizationParametersAddQuantizedDimension(builder, quantization.axis)
        return tflite.QuantizationParametersEnd(builder)

    def _operator_code(self, kind: OperatorKind) -> int:
        builder = self._builder
        code = getattr(tflite.BuiltinOperator, kind.value)
        tflite.OperatorCodeStart(builder)
        tflite.OperatorCodeAddDeprecatedBuiltinCode(builder, min(code, 127))
        tflite.OperatorCodeAddVersion(builder, _OPERATOR_VERSIONS.get(kind, 2))
        tflite.OperatorCodeAddBuiltinCode(builder, code)
        return tflite.OperatorCodeEnd(builder)

    def _operator(self, operator: Operator) -> int:
        builder = self._builder
        inputs = self._integers(operator.inputs)
        outputs = self._integers(operator.outputs)
        options = self._options(operator)
        tflite.OperatorStart(builder)
        tflite.OperatorAddOpcodeIndex(builder, self._kinds.index(operator.kind))
        tflite.OperatorAddInputs(builder, inputs)
        tflite.OperatorAddOutputs(builder, outputs)
        if options is not None:
            table = _OPTION_TABLES[operator.kind]
            tflite.OperatorAddBuiltinOptionsType(builder, getattr(tflite.BuiltinOptions, table))
            tflite.OperatorAddBuiltinOptions(builder, options)
        return tflite.OperatorEnd(builder)

    def _options(self, operator: Operator) -> int | None:
        options = operator.options
        if options is None:
            return None
        fields: dict[str, int | float | bool] = {}
        match options:
            case WindowOptions():
                fields = self._window_fields(operator.kind, options)
            case DenseOptions(activation) | AddOptions(activation):
                fields = {"FusedActivationFunction": _code(_ACTIVATIONS, activation)}
            case SoftmaxOptions(beta):
                fields = {"Beta": beta}
            case LeakyReluOptions(alpha):
                fields = {"Alpha": alpha}
            case MeanOptions(keep_dims):
                fields = {"KeepDims": keep_dims}
            case ReshapeOptions(new_shape):
                fields = {"NewShape": self._integers(new_shape)}
        table = _OPTION_TABLES[operator.kind]
        getattr(tflite, f"{table}Start")(self._builder)
        for field, value in fields.items():
            getattr(tflite, f"{table}Add{field}")(self._builder, value)
        return getattr(tflite, f"{table}End")(self._builder)

    @staticmethod
    def _window_fields(kind: OperatorKind, options: WindowOptions) -> dict[str, int | float | bool]:
        fields: dict[str, int | float | bool] = {
            "Padding": _code(_PADDINGS, options.padding),
            "StrideW": options.stride_w,
            "StrideH": options.stride_h,
            "FusedActivationFunction": _code(_ACTIVATIONS, options.activation),
        }
        if kind in (OperatorKind.MAX_POOL_2D, OperatorKind.AVERAGE_POOL_2D):
            return {
                **fields,
                "FilterWidth": options.kernel_w,
                "FilterHeight": options.kernel_h,
            }
        fields |= {"DilationWFactor": options.dilation_w, "DilationHFactor": options.dilation_h}
        if kind is OperatorKind.DEPTHWISE_CONV_2D:
            fields["DepthMultiplier"] = options.depth_multiplier
        return fields


def _code(codes: dict[int, Any], value: Any) -> int:
    """The schema's number for `value`."""
    return next(code for code, known in codes.items() if known is value)
