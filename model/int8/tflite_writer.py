"""Writing `.tflite` files: the same graph gives the same bytes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import flatbuffers
import numpy as np
import tflite

from model.errors import ModelError
from model.int8.graph import Graph, Operator, OperatorKind, Quantization, Tensor
from model.int8.operators import OPERATORS
from model.int8.operators.definition import Field
from model.int8.tflite_labels import append_labels, encode_metadata
from model.int8.tflite_schema import DTYPES, FILE_IDENTIFIER, METADATA_NAME, SCHEMA_VERSION
from model.int8.validation import validate
from model.int8.variables import KINDS, RESOURCE, HandleOptions, OnceOptions, as_in_files

__all__ = ["encode", "save"]

_BUFFER_ALIGNMENT: Final = 16


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
        self._subgraphs = as_in_files(graph) if graph.variables else (graph,)
        self._builder = flatbuffers.Builder(1024)
        self._kinds = sorted(
            {operator.kind for each in self._subgraphs for operator in each.operators}
        )
        # Buffer 0 is empty by convention: it is the one of all activations.
        self._buffers: list[bytes] = [b""]

    def write(self) -> bytes:
        graph, builder = self._graph, self._builder
        subgraphs = self._vector(
            [
                self._subgraph(each, "once" if number else "main")
                for number, each in enumerate(self._subgraphs)
            ]
        )
        codes = self._vector([self._operator_code(kind) for kind in self._kinds])
        metadata = self._metadata() if graph.labels else None
        buffers = self._vector([self._buffer(content) for content in self._buffers])
        description = builder.CreateString(graph.name)
        tflite.ModelStart(builder)
        tflite.ModelAddVersion(builder, SCHEMA_VERSION)
        tflite.ModelAddOperatorCodes(builder, codes)
        tflite.ModelAddSubgraphs(builder, subgraphs)
        tflite.ModelAddDescription(builder, description)
        tflite.ModelAddBuffers(builder, buffers)
        if metadata is not None:
            tflite.ModelAddMetadata(builder, metadata)
        builder.Finish(tflite.ModelEnd(builder), file_identifier=FILE_IDENTIFIER)
        return bytes(builder.Output())

    def _subgraph(self, graph: Graph, name: str) -> int:
        builder = self._builder
        tensors = self._vector([self._tensor(tensor) for tensor in graph.tensors])
        operators = self._vector([self._operator(operator) for operator in graph.operators])
        inputs = self._integers(graph.inputs)
        outputs = self._integers(graph.outputs)
        text = builder.CreateString(name)
        tflite.SubGraphStart(builder)
        tflite.SubGraphAddTensors(builder, tensors)
        tflite.SubGraphAddInputs(builder, inputs)
        tflite.SubGraphAddOutputs(builder, outputs)
        tflite.SubGraphAddOperators(builder, operators)
        tflite.SubGraphAddName(builder, text)
        return int(tflite.SubGraphEnd(builder))

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
        name = builder.CreateString(METADATA_NAME.decode())
        tflite.MetadataStart(builder)
        tflite.MetadataAddName(builder, name)
        tflite.MetadataAddBuffer(builder, index)
        return self._vector([tflite.MetadataEnd(builder)])

    def _tensor(self, tensor: Tensor) -> int:
        builder = self._builder
        codes = [code for code, dtype in DTYPES.items() if dtype == tensor.dtype]
        if tensor.dtype == RESOURCE:
            codes = [tflite.TensorType.RESOURCE]
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
        version = 1 if kind in KINDS else OPERATORS[kind].version
        tflite.OperatorCodeAddVersion(builder, version)
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
            code = getattr(tflite.BuiltinOptions, self._table_name(operator))
            tflite.OperatorAddBuiltinOptionsType(builder, code)
            tflite.OperatorAddBuiltinOptions(builder, options)
        return tflite.OperatorEnd(builder)

    @staticmethod
    def _table_name(operator: Operator) -> str:
        if operator.kind in KINDS:
            once = operator.kind is OperatorKind.CALL_ONCE
            return "CallOnceOptions" if once else "VarHandleOptions"
        table = OPERATORS[operator.kind].table
        assert table is not None
        return table.name

    def _options(self, operator: Operator) -> int | None:
        builder = self._builder
        if isinstance(operator.options, HandleOptions):
            name = builder.CreateString(operator.options.name)
            tflite.VarHandleOptionsStart(builder)
            tflite.VarHandleOptionsAddSharedName(builder, name)
            return int(tflite.VarHandleOptionsEnd(builder))
        if isinstance(operator.options, OnceOptions):
            tflite.CallOnceOptionsStart(builder)
            tflite.CallOnceOptionsAddInitSubgraphIndex(builder, operator.options.subgraph)
            return int(tflite.CallOnceOptionsEnd(builder))
        if operator.kind in KINDS:
            return None
        table = OPERATORS[operator.kind].table
        if operator.options is None or table is None:
            return None
        values = {
            field.name: self._value(field, getattr(operator.options, field.attribute))
            for field in table.fields
        }
        getattr(tflite, f"{table.name}Start")(self._builder)
        for name, value in values.items():
            getattr(tflite, f"{table.name}Add{name}")(self._builder, value)
        return getattr(tflite, f"{table.name}End")(self._builder)

    def _value(self, field: Field, value: Any) -> Any:
        """What a field of a table of options is given: a number, or where a vector lies."""
        if field.codes is not None:
            return next(code for code, known in field.codes.items() if known is value)
        return self._integers(value) if field.vector else value
