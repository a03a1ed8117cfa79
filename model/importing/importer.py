"""A float model's file, or a PyTorch module, to a float graph, and to int8."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from model.errors import ModelError
from model.importing.conversion import Conversion
from model.importing.float_graph import FloatGraph
from model.importing.float_operators import Reshape, Shape, Softmax
from model.importing.keras import reader as keras_reader
from model.importing.onnx import reader as onnx_reader
from model.importing.preprocessing import Preprocessing
from model.importing.tflite import reader as tflite_reader
from model.int8.graph import Graph

__all__ = ["import_model", "read_model", "read_module"]


def import_model(
    source: Any,
    example: Any = None,
    data: np.ndarray | None = None,
    *,
    mean: Sequence[float] = (0.0,),
    std: Sequence[float] = (1.0,),
    name: str = "imported",
    labels: tuple[str, ...] = (),
) -> Graph:
    """The int8 graph of a float model.

    Parameters
    ----------
    source : path, or torch.nn.Module
        An ``.onnx``, ``.keras`` or float ``.tflite`` file, or a module.
    example : torch.Tensor, optional
        Of a module: typical inputs (n, ...), of which the first is used to export it, and all of
        them to calibrate, unless there is `data`.
    data : ndarray, optional
        Typical inputs (n, height, width, channels): uint8 pixels, or float32, what the network
        itself takes.
    mean, std : sequence of float
        What was done to pixels: ``(pixel / 255 - mean) / std``, for all channels or for each.
    name : str
        Of the graph.
    labels : tuple of str
        Class names.

    Raises
    ------
    ModelError
        If it cannot be read, exported or converted.
    """
    if isinstance(source, str | Path):
        graph, _ = read_model(source)
    else:
        if example is None:
            raise ModelError("a module needs an example of its input")
        graph, layout = read_module(source, example)
        if data is None:
            data = np.asarray(example.detach().cpu().numpy(), np.float32)
            data = np.moveaxis(data, 1, -1) if layout == "NCHW" else data
    shape = graph.shapes[0]
    if data is None or not len(data):
        raise ModelError("needs typical inputs to calibrate with")
    if data.size != len(data) * int(np.prod(shape)):
        raise ModelError(f"inputs of {data.shape[1:]}, but the model takes {shape}")
    preprocessing = None
    if data.dtype == np.uint8:
        preprocessing = Preprocessing.of(shape[-1], mean, std)
    conversion = Conversion(graph, preprocessing, data.reshape(len(data), *shape))
    return conversion.export(name, labels)


def read_model(
    path: str | Path, shape: Shape | None = None, outputs: Sequence[str] = ()
) -> tuple[FloatGraph, str]:
    """Read a float model: ``.onnx``, ``.keras`` or ``.tflite``.

    Parameters
    ----------
    path : str or Path
    shape : tuple of int, optional
        Height, width and channels of a picture, for ONNX models that leave them open.
    outputs : sequence of str
        Names of the outputs of an ONNX model that are wanted; all of them without it.

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
        # What is not finite is refused where it would be used.
        with np.errstate(all="ignore"):
            graph, layout = _read(path, shape, outputs)
        _leave_logarithms_out(graph)
        return graph, layout
    except ModelError as error:
        raise ModelError(f"{path}: {error}") from error


def _leave_logarithms_out(graph: FloatGraph) -> None:
    """Say which logarithms are left out, which only a network's end may be."""
    for node in graph.nodes:
        if not (isinstance(node.operator, Softmax) and node.operator.logarithm):
            continue
        behind = [node.output]
        while (reader := graph.sole_consumer(behind[-1])) is not None and isinstance(
            reader.operator, Reshape
        ):
            behind.append(reader.output)
        if graph.consumers(behind[-1]):
            raise node.error("a logarithm inside of the network, not at its end, has no int8 form")
        graph.notes.append(f"{node.name}: softmax in place of its logarithm")


def _read(path: Path, shape: Shape | None, outputs: Sequence[str]) -> tuple[FloatGraph, str]:
    """By the file's name."""
    if outputs and path.suffix in (".keras", ".tflite"):
        raise ModelError("the outputs of an ONNX model have names to choose by, these have not")
    if path.suffix == ".keras":
        return keras_reader.load(path), "NHWC"
    if path.suffix == ".tflite":
        return tflite_reader.load(path), "NHWC"
    if path.suffix in (".h5", ".hdf5"):
        raise ModelError("is of Keras's old format: model.save('my.keras') writes the new one")
    if path.suffix in (".pt", ".pth", ".pkl"):
        raise ModelError(
            "is PyTorch's own format, which only PyTorch reads: torch.onnx.export("
            "model.eval(), example, 'my.onnx') writes what is needed"
        )
    return onnx_reader.load(path, shape, outputs)


def read_module(module: Any, example: Any) -> tuple[FloatGraph, str]:
    """Read a PyTorch module, through its own exporter to ONNX.

    Parameters
    ----------
    module : torch.nn.Module
    example : torch.Tensor
        An input, or several.

    Raises
    ------
    ModelError
        If PyTorch is missing or cannot export the module, or it cannot be converted.
    """
    try:
        import torch
    except ImportError as error:
        raise ModelError("a module needs PyTorch: pip install torch") from error
    try:
        import onnxscript  # noqa: F401  # what the newer of the two exporters needs

        options: dict[str, Any] = {"dynamo": True, "external_data": False, "verbose": False}
    except ImportError:
        options = {"dynamo": False}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # Of the exporter's own making
        warnings.simplefilter("ignore")
        path = Path(folder) / "module.onnx"
        was_training = module.training
        try:
            torch.onnx.export(module.eval(), (example[:1],), str(path), **options)
        except Exception as error:  # of any kind, and of many lines
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ModelError(f"PyTorch could not export the module: {reason}") from error
        finally:
            module.train(was_training)
        return onnx_reader.load(path)
