"""Class names inside a `.tflite` file, in the way of TFLite metadata.

A zip archive with ``labels.txt`` is appended to the FlatBuffer, so that the file is both a model
and an archive. A second FlatBuffer, stored in the model as metadata ``TFLITE_METADATA``, says that
the output tensor's axis is labelled by that file.

Source: TensorFlow Lite Support, ``metadata/metadata_schema.fbs`` and ``metadata_writers``.
"""

from __future__ import annotations

import io
import zipfile

import flatbuffers

from model.errors import ModelError, reason

__all__ = ["LABELS_FILE", "append_labels", "encode_metadata", "read_labels"]

LABELS_FILE = "labels.txt"

_MAX_LABELS_BYTES = 1 << 20
_FIXED_DATE = (1980, 1, 1, 0, 0, 0)
"""Same labels, same bytes: the archive does not say when it was made."""

_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)

_FILE_IDENTIFIER = b"M001"
_TENSOR_AXIS_LABELS = 2


def _table(builder: flatbuffers.Builder, fields: dict[int, int]) -> int:
    """A FlatBuffer table whose `fields`, by slot, are offsets."""
    builder.StartObject(max(fields) + 1)
    for slot, offset in fields.items():
        builder.PrependUOffsetTRelativeSlot(slot, offset, 0)
    return builder.EndObject()


def _vector(builder: flatbuffers.Builder, offsets: list[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return builder.EndVector()


def encode_metadata(name: str) -> bytes:
    """The smallest ``ModelMetadata`` that says where the labels are.

    Parameters
    ----------
    name : str
        The model's name.
    """
    builder = flatbuffers.Builder(256)
    file_name = builder.CreateString(LABELS_FILE)
    builder.StartObject(3)  # AssociatedFile: name, description, type
    builder.PrependUOffsetTRelativeSlot(0, file_name, 0)
    builder.PrependInt8Slot(2, _TENSOR_AXIS_LABELS, 0)
    associated = _vector(builder, [builder.EndObject()])
    input_tensor = _table(builder, {0: builder.CreateString("image")})
    output_tensor = _table(builder, {0: builder.CreateString("probability"), 6: associated})
    inputs = _vector(builder, [input_tensor])
    outputs = _vector(builder, [output_tensor])
    subgraphs = _vector(builder, [_table(builder, {2: inputs, 3: outputs})])
    model_name = builder.CreateString(name)
    # name, subgraph_metadata, min_parser_version
    version = builder.CreateString("1.0.0")
    root = _table(builder, {0: model_name, 3: subgraphs, 7: version})
    builder.Finish(root, file_identifier=_FILE_IDENTIFIER)
    return bytes(builder.Output())


def append_labels(model: bytes, labels: tuple[str, ...]) -> bytes:
    """`model` with an archive behind it that holds `labels`, one a line.

    Raises
    ------
    ModelError
        If a label is empty or has a line break in it.
    """
    for label in labels:
        if label.strip() != label or not label or label.splitlines() != [label]:
            raise ModelError(f"label {label!r} cannot be written as a line of {LABELS_FILE}")
    stream = io.BytesIO(model)
    entry = zipfile.ZipInfo(LABELS_FILE, date_time=_FIXED_DATE)
    with zipfile.ZipFile(stream, mode="a") as archive:
        archive.writestr(entry, "".join(label + "\n" for label in labels))
    return stream.getvalue()


def read_labels(data: bytes) -> tuple[str, ...]:
    """Labels of the archive behind a model; none if there is no archive or no label file in it.

    ``labels.txt`` if there is one, else the first file whose name has "label" in it and ends in
    ``.txt``.

    Raises
    ------
    ModelError
        If the archive is damaged, or the labels are too large or no UTF-8 text.
    """
    if not zipfile.is_zipfile(io.BytesIO(data)):
        return ()
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            names = [
                name
                for name in archive.namelist()
                if name.endswith(".txt") and "label" in name.lower()
            ]
            if not names:
                return ()
            entry = archive.getinfo(LABELS_FILE if LABELS_FILE in names else names[0])
            if entry.file_size > _MAX_LABELS_BYTES:
                raise ModelError(f"{entry.filename} holds {entry.file_size} bytes")
            if entry.compress_type not in _COMPRESSIONS:
                raise ModelError(f"{entry.filename} is compressed in an unusual way")
            with archive.open(entry) as stream:
                text = stream.read(_MAX_LABELS_BYTES + 1).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ModelError("its labels are no UTF-8 text") from error
    except ModelError:
        raise
    except Exception as error:  # what `zipfile` and the decompressors raise is in no list
        raise ModelError(f"its labels cannot be read: {reason(error)}") from error
    return tuple(line.strip() for line in text.splitlines() if line.strip())
