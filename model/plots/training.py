"""Pictures of a training: curves, filters, feature maps, mistakes, and what int8 did to weights."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from model.datasets import datasets
from model.datasets.datasets import Dataset
from model.int8 import reference
from model.int8.graph import Operator, OperatorKind, Tensor
from model.training.evaluation import confusion_matrix
from model.training.recipes import Trained

from .feature_maps import draw_maps
from .style import BLUE, FADED, GREEN, ORANGE, VERMILION, figure, image_grid, plain, save

if TYPE_CHECKING:
    from matplotlib.axis import Axis

__all__ = ["draw_training"]

FloatArray = npt.NDArray[np.floating[Any]]

#: Most filters, and channels of each, that a picture shows.
_MOST_TILES = 32
#: Most classes for which a confusion matrix contains its numbers.
_MOST_NUMBERS = 16
_MOST_TICKS = 40
_LONGEST_NAME = 18
#: Most epochs for which each has a dot.
_FEW_EPOCHS = 40
#: Fewest and most bins of a histogram.
_FEWEST_BINS, _MOST_BINS = 16, 64
#: Pixels a weight and between filters.
_CELL, _GAP = 6, 3
#: Width of the feature maps, and height of a layer's and of a vector's at most, in inches.
_MAPS_WIDTH, _MAPS_HEIGHT, _STRIP_HEIGHT = 8.0, 2.6, 0.8
_ANSWERS = 10

_WINDOWED = (OperatorKind.CONV_2D, OperatorKind.DEPTHWISE_CONV_2D)
_WEIGHTED = (*_WINDOWED, OperatorKind.FULLY_CONNECTED)


def draw_training(dataset: Dataset, trained: Trained, folder: Path) -> list[Path]:
    """Write all pictures of a training into a folder.

    Parameters
    ----------
    dataset : Dataset
        The data set of the training.
    trained : Trained
    folder : Path
        An existing, writable folder.

    Returns
    -------
    list of Path
        The files: ``curves.png``, ``filters_NAME.png`` for each convolution, ``feature_maps.png``,
        ``confusion.png``, ``weights.png``.

    Raises
    ------
    OutputError
        If one cannot be written.
    """
    return [
        _curves(dataset, trained, folder / "curves.png"),
        *_all_filters(trained, folder),
        _feature_maps(dataset, trained, folder / "feature_maps.png"),
        _confusion(dataset, trained, folder / "confusion.png"),
        _weights(trained, folder / "weights.png"),
    ]


def _curves(dataset: Dataset, trained: Trained, path: Path) -> Path:
    epochs = trained.history.epochs
    made = figure(11, 3.8, f"Training on {plain(dataset.name)}")
    loss, accuracy, rate = made.subplots(1, 3)
    numbers = np.arange(1, len(epochs) + 1)
    dots = "o" if len(epochs) <= _FEW_EPOCHS else ""
    loss.plot(numbers, [each.loss for each in epochs], color=VERMILION, marker=dots, markersize=3)
    loss.set_title("Loss, training pictures", fontsize=10)
    loss.set_ylabel("cross-entropy")
    loss.set_yscale("log")
    for name, values, colour in (
        ("training, as augmented", [each.accuracy for each in epochs], ORANGE),
        ("test", [each.test_accuracy for each in epochs], BLUE),
    ):
        accuracy.plot(
            numbers, 100 * np.array(values), color=colour, marker=dots, markersize=3, label=name
        )
    int8 = 100 * float((trained.scores.argmax(axis=1) == dataset.y_test).mean())
    accuracy.axhline(int8, color=GREEN, linestyle="--", label=f"test, in int8: {int8:.2f} %")
    # The first tenth goes so fast that the rest would be a line at the top.
    later = [100 * min(each.accuracy, each.test_accuracy) for each in epochs[len(epochs) // 10 :]]
    top = max(100 * max(each.accuracy, each.test_accuracy) for each in epochs)
    low, high = min(*later, int8), max(top, int8)
    margin = max(0.5, 0.08 * (high - low))
    accuracy.set_ylim(low - margin, min(high + margin, 100 + margin / 2))
    accuracy.set_title("Accuracy", fontsize=10)
    accuracy.set_ylabel("% right")
    accuracy.legend(fontsize=8)
    rate.plot(numbers, [each.rate for each in epochs], color=BLUE, marker=dots, markersize=3)
    rate.set_title("Learning rate at the epoch's end", fontsize=10)
    rate.yaxis.set_major_formatter("{x:g}")
    for axes in (loss, accuracy, rate):
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
    return save(made, path)


# Weights.


def _weighted(trained: Trained) -> Iterator[tuple[Operator, FloatArray, Tensor]]:
    """Operators with weights: each with those of the float network, in the file's layout."""
    operators = [each for each in trained.graph.operators if each.kind in _WEIGHTED]
    layers = [each.parameters for each in trained.network.walk() if "weights" in each.parameters]
    for operator, parameters in zip(operators, layers, strict=True):
        weights = parameters["weights"]
        stored = trained.graph.tensors[operator.inputs[1]]
        if operator.kind is OperatorKind.CONV_2D:
            weights = weights.transpose(3, 0, 1, 2)
        elif operator.kind is OperatorKind.FULLY_CONNECTED:
            weights = weights.T
        yield operator, weights.reshape(stored.shape), stored


def _real(stored: Tensor) -> FloatArray:
    """Real values of a tensor's integers."""
    assert stored.quantization is not None and stored.data is not None
    shape = [1] * len(stored.shape)
    scale = stored.quantization.scale
    if len(scale) > 1:
        shape[stored.quantization.axis] = len(scale)
    return stored.data * scale.reshape(shape)


def _all_filters(trained: Trained, folder: Path) -> list[Path]:
    return [
        _filters(operator, weights, folder / f"filters_{operator.name.replace('/', '_')}.png")
        for operator, weights, _ in _weighted(trained)
        if operator.kind in _WINDOWED
    ]


def _filters(operator: Operator, weights: FloatArray, path: Path) -> Path:
    """Filters of a convolution as tiles: a row for each, a column for each channel it sees."""
    if operator.kind is OperatorKind.DEPTHWISE_CONV_2D:
        weights = weights.transpose(3, 1, 2, 0)  # a filter for each channel, which sees it alone
    count, height, width, channels = weights.shape
    shown = weights[:_MOST_TILES, :, :, :_MOST_TILES].transpose(0, 3, 1, 2)
    if channels == 1:
        rows, columns = image_grid(len(shown))
    else:
        rows, columns = shown.shape[:2]
    pitch_y, pitch_x = height * _CELL + _GAP, width * _CELL + _GAP
    mosaic = np.full((rows * pitch_y - _GAP, columns * pitch_x - _GAP), np.nan)
    for index, tile in enumerate(shown.reshape(-1, height, width)):
        top, left = index // columns * pitch_y, index % columns * pitch_x
        cells = tile.repeat(_CELL, axis=0).repeat(_CELL, axis=1)
        mosaic[top : top + len(cells), left : left + cells.shape[1]] = cells
    scale = min(0.22 / _CELL, 9 / mosaic.shape[1], 9 / mosaic.shape[0])
    size = (max(4.5, mosaic.shape[1] * scale + 2.2), max(2.6, mosaic.shape[0] * scale + 1.6))
    part = "" if shown.size == weights.size else f", the first {len(shown)} of {count}"
    made = figure(*size, f"{operator.name}: {count} filters of {height}×{width}{part}")
    axes = made.subplots()
    # Red to blue by way of white, which is 0; grey lies between the tiles.
    most = float(np.abs(weights).max()) or 1.0
    axes.set_facecolor("#444444")
    drawn = axes.imshow(mosaic, cmap="RdBu", vmin=-most, vmax=most, interpolation="nearest")
    if channels == 1:
        axes.set_xlabel("filters, in reading order")
        axes.set_xticks([])
        axes.set_yticks([])
    else:
        _number(axes.yaxis, rows, pitch_y)
        _number(axes.xaxis, columns, pitch_x)
        axes.set_xlabel("input channel")
        axes.set_ylabel("filter")
    made.colorbar(drawn, ax=axes, label="weight", shrink=0.9)
    return save(made, path)


def _number(axis: Axis, count: int, pitch: int) -> None:
    """Tile numbers along an axis, not too many."""
    every = max(1, -(-count // 16))
    middle = [index * pitch + (pitch - _GAP - 1) / 2 for index in range(count)]
    axis.set_ticks(middle[::every], [str(index) for index in range(count)][::every], fontsize=8)


def _weights(trained: Trained, path: Path) -> Path:
    """Histograms of each layer's weights, before and after quantisation."""
    layers = list(_weighted(trained))
    made = figure(10, 0.8 + 2.5 * len(layers), "Weights before and after quantisation")
    grid = made.subplots(len(layers), 2, squeeze=False)
    for (real, integers), (operator, weights, stored) in zip(grid, layers):
        after = _real(stored)
        assert stored.data is not None and stored.quantization is not None
        most = float(np.abs(weights).max()) or 1.0
        count = int(np.clip(2 * np.sqrt(weights.size), _FEWEST_BINS, _MOST_BINS))
        bins = np.linspace(-most, most, count + 1).tolist()
        real.hist(weights.ravel(), bins, color=ORANGE, alpha=0.7, label="float")
        real.hist(after.ravel(), bins, histtype="step", color=BLUE, linewidth=1.4, label="int8")
        off = float(np.sqrt(np.mean((after - weights) ** 2)))
        spread = float(np.sqrt(np.mean(weights**2)))
        share = f" ({off / spread:.2%} of theirs)" if spread else ""
        real.set_title(
            f"{operator.name}: {weights.size:,} weights, rms difference {off:.1e}{share}",
            fontsize=9,
        )
        real.set_xlabel("value", fontsize=8)
        real.legend(fontsize=8)
        integers.hist(stored.data.ravel(), np.arange(-128.5, 128).tolist(), color=BLUE)
        scales = stored.quantization.scale
        how = "one scale" if len(scales) == 1 else f"{len(scales)} scales, one a channel"
        used = len(np.unique(stored.data))
        integers.set_title(f"as stored: {used} of 255 values used, {how}", fontsize=9)
        integers.set_xlim(-130, 130)
        integers.set_xlabel("int8 value", fontsize=8)
        for axes in (real, integers):
            axes.set_ylabel("weights", fontsize=8)
            axes.yaxis.get_major_locator().set_params(integer=True)
            axes.tick_params(labelsize=8)
    return save(made, path)


# Answers.


def _confusion(dataset: Dataset, trained: Trained, path: Path) -> Path:
    labels = dataset.labels
    count = len(labels)
    matrix = confusion_matrix(trained.scores, dataset.y_test, count)
    share = 100 * matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    side = min(11.0, 3.4 + 0.42 * count)
    right = int(np.trace(matrix))
    made = figure(side + 1.2, side, f"{right:,} of {matrix.sum():,} test pictures right, in int8")
    axes = made.subplots()
    drawn = axes.imshow(share, cmap="Blues", vmin=0, vmax=100)
    if count <= _MOST_NUMBERS:
        for (row, column), number in np.ndenumerate(matrix):
            if number:
                ink = "white" if share[row, column] > 50 else "black"
                text = f"{number:,}"
                axes.text(column, row, text, color=ink, fontsize=9, ha="center", va="center")
    every = max(1, -(-count // _MOST_TICKS))
    names = [_shortened(label) for label in labels]
    turned = 0 if max(map(len, names)) <= 3 else 90
    size = 9 if count <= 20 else 7
    axes.set_xticks(range(0, count, every), names[::every], rotation=turned, fontsize=size)
    axes.set_yticks(range(0, count, every), names[::every], fontsize=size)
    axes.set_xlabel("answer")
    axes.set_ylabel("true class")
    made.colorbar(drawn, ax=axes, label="% of the class", shrink=0.85)
    return save(made, path)


def _feature_maps(dataset: Dataset, trained: Trained, path: Path) -> Path:
    """Follow the first test picture through the int8 network."""
    graph = trained.graph
    picture = dataset.x_test[0]
    tensors = reference.run(graph, datasets.to_int8(picture[np.newaxis]), keep="all")
    skipped = (OperatorKind.RESHAPE, OperatorKind.SOFTMAX)
    layers = [each for each in graph.operators if each.kind not in skipped]
    maps = [draw_maps(tensors[each.outputs[0]][0]) for each in layers]
    heights = [0.35 + _height(drawn, tensors[each.outputs[0]]) for each, drawn in zip(layers, maps)]
    scores = trained.scores[0].astype(int) + 128
    best = np.argsort(-scores, kind="stable")[:_ANSWERS]
    heights = [2.0, *heights, 0.8 + 0.22 * len(best)]
    label = plain(dataset.labels[int(dataset.y_test[0])])
    title = f"A picture of class {label} on its way through the int8 network"
    made = figure(_MAPS_WIDTH + 0.6, sum(heights) + 0.6, title)
    rows = made.subplots(len(heights), 1, height_ratios=heights)
    rows[0].imshow(picture if picture.shape[2] == 3 else picture[:, :, 0], cmap="gray")
    rows[0].set_title(f"input, {_size(picture.shape)}", fontsize=9)
    for axes, operator, drawn in zip(rows[1:], layers, maps):
        axes.imshow(np.asarray(drawn), interpolation="nearest")
        shape = graph.tensors[operator.outputs[0]].shape[1:]
        axes.set_title(f"{operator.name}, {_size(shape)}", fontsize=9)
    for axes in rows[:-1]:
        axes.set_axis_off()
    colours = [BLUE if k == dataset.y_test[0] else FADED for k in best]
    rows[-1].barh(range(len(best)), scores[best] / 256, color=colours)
    rows[-1].set_yticks(range(len(best)), [_shortened(dataset.labels[k]) for k in best], fontsize=8)
    rows[-1].invert_yaxis()
    rows[-1].set_xlim(0, 1)
    rows[-1].set_xlabel("answer (softmax), its class in blue", fontsize=9)
    made.supxlabel(
        "Each channel's least value is black, its greatest white; a vector's likewise.",
        fontsize=8,
        color=FADED,
    )
    return save(made, path)


def _height(drawn: Image.Image, values: npt.NDArray[np.int8]) -> float:
    """Inches for a layer's maps; a vector is but a strip."""
    most = _MAPS_HEIGHT if values.ndim > 2 else _STRIP_HEIGHT
    return min(most, _MAPS_WIDTH * drawn.height / drawn.width)


def _shortened(label: str) -> str:
    return plain(label if len(label) <= _LONGEST_NAME else label[: _LONGEST_NAME - 1] + "…")


def _size(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))
