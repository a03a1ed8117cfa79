"""A float model's file, or a PyTorch module, to an int8 graph."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from model.errors import ModelError
from model.importing import keras_reader, onnx_reader, tflite_reader
from model.importing.float_graph import FloatGraph
from model.importing.float_operators import Shape

__all__ = ["read_model"]


def read_model(
    path: str | Path, shape: Shape | None = None, outputs: Sequence[str] = ()
) -> tuple[FloatGraph, str]:
    """Read a float model: ``.onnx``, ``.keras`` or ``.tflite``.

    Parameters
    ----------
    path : str or Path
    shape : tuple of int, optional
        Height, width and channels of a picture, for models that leave them open.
    outputs : sequence of str
        Names of the outputs that are wanted; all of them without it.

    Returns
    -------
    graph : FloatGraph
    layout : str
        How the source's pictures lie: ``NCHW`` or ``NHWC``, or ``N`` where its input is a vector.

    Raises
    ------
    ModelError
        If it cannot be read or converted: one line that names the file, and the node.
    """
    path = Path(path)
    try:
        if not path.exists():
            raise ModelError("there is no such file")
        if path.suffix == ".keras":
            return keras_reader.load(path), "NHWC"
        if path.suffix == ".tflite":
            return tflite_reader.load(path), "NHWC"
        if path.suffix in (".h5", ".hdf5"):
            raise ModelError("is of Keras's old format: model.save('my.keras') writes the new one")
        return onnx_reader.load(path, shape, outputs)
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error
