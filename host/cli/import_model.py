"""Bring a float model: ONNX (from PyTorch and others), Keras, or float TensorFlow Lite.

    torch.onnx.export(model.eval(), torch.zeros(1, 1, 28, 28), "my.onnx")
    host import my.onnx --data pictures/ -o my.tflite --mean 0.1307 --std 0.3081

The pictures calibrate the int8 network, and both are compared on them. What was done to pictures
before the network saw them belongs to the import: pixels are 0 to 1 unless --range says otherwise,
and (pixel - mean) / std where --mean and --std are given. Where the network itself begins with
that, nothing is needed.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.errors import EyespotError

from .common import Outcome, check_writable, loading, natural, positive, say

if TYPE_CHECKING:
    from model.importing.conversion import Comparison
    from model.int8.graph import Graph

HELP = "a float ONNX, Keras or TensorFlow Lite model to an int8 .tflite file"

_COMPARED = 1000
"""Pictures on which float and int8 are compared."""

_FEW = 20
"""Inputs, below which calibration is doubtful."""

_CHANCE = 1.5
"""Times the accuracy of guessing, up to which something is probably wrong with the input."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", metavar="MODEL", type=Path, help=".onnx, .keras or float .tflite")
    parser.add_argument(
        "--data",
        metavar="D",
        required=True,
        help="typical inputs: a data set's name, a folder of pictures, or an .npz with x (and y)",
    )
    parser.add_argument(
        "-o", "--output", metavar="F.tflite", type=Path, required=True, help="file to write"
    )
    parser.add_argument(
        "--mean", metavar="M", type=_number, nargs="+", help="of each channel, for pixels 0 to 1"
    )
    parser.add_argument(
        "--std", metavar="S", type=_number, nargs="+", help="of each channel, for pixels 0 to 1"
    )
    parser.add_argument(
        "--range",
        metavar=("LOW", "HIGH"),
        type=_number,
        nargs=2,
        help="what the network takes for black and white, in place of 0 and 1",
    )
    parser.add_argument("--labels", metavar="A,B,C", help="class names, in the model's order")
    parser.add_argument(
        "--epochs",
        type=positive,
        metavar="N",
        help="learn on in int8: times that every picture is seen",
    )
    parser.add_argument(
        "--rate", type=_number, metavar="R", default=2e-4, help="largest learning rate (2e-4)"
    )
    parser.add_argument("--seed", type=natural, metavar="N", default=0, help="of learning (0)")
    parser.add_argument(
        "--tensor", metavar="NAME", help="which of the model's outputs, if it has several"
    )


def _number(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("inf")
    if not isfinite(value):
        raise argparse.ArgumentTypeError(f"must be a number, not {text!r}")
    return value


def run(arguments: argparse.Namespace) -> Outcome:
    check_writable(arguments.output, arguments.model, arguments.data)
    if arguments.range and (arguments.mean or arguments.std):
        raise EyespotError("--range stands in place of --mean and --std")
    from threadpoolctl import threadpool_limits

    from model.datasets.npz_files import usable_labels
    from model.errors import ModelError
    from model.importing.conversion import Conversion
    from model.importing.importer import read_model
    from model.importing.inputs import load_inputs, shape_of
    from model.int8 import tflite

    outputs = [arguments.tensor] if arguments.tensor else []
    source, layout = read_model(arguments.model, shape_of(arguments.data), outputs)
    if not arguments.rate > 0:
        raise EyespotError(f"--rate {arguments.rate:g}: must be above 0")
    with loading() as show:
        inputs = load_inputs(arguments.data, source.shapes[0], show)
    if arguments.epochs is not None:
        inputs = inputs.divided(arguments.data)
    labels = tuple(arguments.labels.split(",")) if arguments.labels else inputs.labels
    classes = source.shapes[source.outputs[0]][-1]
    if arguments.labels:
        labels = usable_labels("--labels", labels)
        if len(labels) != classes:
            raise EyespotError(f"--labels: {len(labels)} names; the model has {classes} outputs")
    elif len(labels) != classes:
        labels = ()
    known = inputs.test_classes
    if known is not None and classes > 1 and int(known.max()) >= classes:
        raise EyespotError(
            f"{arguments.data}: class {int(known.max())} is there; the model has {classes} outputs"
        )
    preprocessing = _preprocessing(arguments, source, inputs.are_pixels)
    with threadpool_limits(limits=1):
        try:
            conversion = Conversion(source, preprocessing, inputs.calibration, _computes_sums)
        except ModelError as error:
            raise ModelError(f"{arguments.model}: {error}") from error
        held_out = None
        if arguments.epochs is not None:
            held_out = _tune(arguments, conversion, inputs)
        graph = conversion.export(arguments.output.stem, labels)
        tflite.save(graph, arguments.output)
        graph = tflite.load(arguments.output)
        compared = inputs.test[:_COMPARED]
        answers = None if known is None else known[:_COMPARED]
        comparison = conversion.compare(graph, compared, answers)
    notes = [*source.notes, *conversion.notes, *_warnings(comparison, classes)]
    if len(inputs.calibration) < _FEW:
        notes.append(
            f"{len(inputs.calibration)} inputs say little about how large numbers get; some "
            "hundred are better"
        )
    for note in notes:
        say(f"note: {note}")
    data: dict[str, Any] = {
        "output": str(arguments.output),
        "layout": layout,
        "operators": [
            {"name": each.name, "op": each.kind.value, "macs": graph.macs(each)}
            for each in graph.operators
        ],
        "parameters": graph.parameters,
        "macs": graph.total_macs,
        "input": {
            "shape": list(source.shapes[0]),
            "scale": conversion.affine[0],
            "zero_point": conversion.affine[1],
        },
        "count": comparison.count,
        "float_accuracy": comparison.float_accuracy,
        "int8_accuracy": comparison.int8_accuracy,
        "agreement": comparison.agreement,
        "snr_db": comparison.snr_db,
        "choices": {**vars(conversion.choices), "equalize": conversion.is_equalized},
        "held_out_accuracy": held_out,
        "notes": notes,
    }
    accuracy = ""
    if comparison.float_accuracy is not None and comparison.int8_accuracy is not None:
        accuracy = f"float {comparison.float_accuracy:.1%}, int8 {comparison.int8_accuracy:.1%}, "
    text = (
        f"{layout}, {len(graph.operators)} layers, {graph.parameters:,} parameters, "
        f"{graph.total_macs:,} MACs\n"
        f"{accuracy}same answer for {comparison.agreement:.1%} of {comparison.count:,}, "
        f"signal to noise {comparison.snr_db:.1f} dB\n"
        f"{arguments.output} is written"
    )
    return Outcome(data, text)


def _computes_sums(graph: Graph) -> bool:
    """Whether the smallest engine computes each layer with weights, if memory is large enough."""
    from dataclasses import replace

    from boards.catalog import board
    from model.int8.graph import WEIGHTED

    from .. import compiler

    configuration = board("icebreaker").configuration
    for operator in graph.operators:
        if operator.kind not in WEIGHTED:
            continue
        alone = replace(
            graph,
            operators=(operator,),
            inputs=operator.inputs[:1],
            outputs=operator.outputs,
            labels=(),
        )
        try:
            compiler.compile(alone, configuration)
        except compiler.DoesNotFitError:
            continue
        except compiler.CompileError:
            return False
    return True


def _tune(arguments: argparse.Namespace, conversion: Any, inputs: Any) -> dict[str, float]:
    """Learn on in int8; accuracy on the pictures that were held out, before and after."""
    import numpy as np

    from model.datasets.datasets import Dataset
    from model.importing.tuning import tune
    from model.training.fit import Settings
    from model.training.progress import progress_bar

    labels = inputs.labels or tuple(map(str, range(int(inputs.calibration_classes.max()) + 1)))
    dataset = Dataset(
        arguments.data,
        inputs.calibration,
        inputs.calibration_classes,
        inputs.test,
        inputs.test_classes,
        labels,
    )
    # Of all epochs the best is kept.
    settings = Settings(arguments.epochs, rate=arguments.rate, patience=arguments.epochs)
    with progress_bar("Learning in int8") as show:
        before, after = tune(
            conversion, dataset, settings, np.random.default_rng(arguments.seed), show
        )
    if after < before:
        conversion.source.notes.append(
            f"what was learned is left out: {after:.1%} of the pictures held out are right, and "
            f"{before:.1%} without it"
        )
    return {"before": before, "after": after}


def _preprocessing(arguments: argparse.Namespace, source: Any, are_pixels: bool) -> Any:
    """From pixels to what the network takes; None where the data is that already."""
    from model.importing.preprocessing import Preprocessing
    from model.importing.simplification import takes_bytes

    given = [name for name in ("mean", "std", "range") if getattr(arguments, name)]
    if not are_pixels:
        if given:
            raise EyespotError(
                f"--{given[0]}: {arguments.data} holds real numbers, not pixels: they are taken as "
                "they are"
            )
        return None
    channels = source.shapes[0][-1]
    if arguments.range:
        low, high = arguments.range
        if not high != low:
            raise EyespotError(f"--range {low:g} {high:g}: black and white are the same")
        span: Sequence[float] = (1 / (high - low),)
        return Preprocessing.of(channels, [-low / (high - low)], span)
    if not given and takes_bytes(source):
        source.notes.append("the network scales its pixels itself: it gets 0 to 255")
        return Preprocessing.of(channels, span=1.0)
    return Preprocessing.of(channels, arguments.mean or [0.0], arguments.std or [1.0])


def _warnings(comparison: Comparison, classes: int) -> list[str]:
    accuracy = comparison.float_accuracy
    if accuracy is None or comparison.count < 50 or accuracy > _CHANCE / max(classes, 2):
        return []
    return [
        f"float accuracy of {accuracy:.1%} is near chance: is the normalisation right (--mean, "
        "--std, --range), and the order of the classes?"
    ]
