"""Networks that other people made, and networks of one idea each: every output as TFLM gives it."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import numpy as np
import pytest

from model.errors import ModelError
from model.int8 import reference, tflite
from model.int8.graph import Graph
from tests.model.int8 import oracle

DATA = Path(__file__).parents[4] / "shared" / "data"

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data is not here")

WILD = sorted((DATA / "wild").glob("*.tflite"))
CASES = sorted(path.parent for path in (DATA / "cases").glob("*/model.tflite"))

LONG = bool(os.environ.get("EYESPOT_LONG"))

_LARGE = 200_000
"""Bytes of a file from which one input does for the fast run."""

# What no network of others may be refused for, if TFLM runs it, is everything but these.
_NOT_YET = ("LSTM", "SVDF", "int16")


def _structured(shape: tuple[int, ...], dtype: np.dtype) -> list[np.ndarray]:
    """Noise, a ramp, and one of the extremes: what a picture or a sound may be."""
    rng = np.random.default_rng(3)
    ramp = np.linspace(0, 1, int(np.prod(shape)), dtype=np.float32).reshape(shape)
    if dtype == np.float32:
        return [rng.normal(0, 1, shape).astype(np.float32), ramp]
    limits = np.iinfo(dtype)
    span = limits.max - limits.min
    return [
        rng.integers(limits.min, limits.max + 1, shape).astype(dtype),
        (limits.min + np.floor(ramp * span)).astype(dtype),
    ]


def _runs_as_tflm_does(path: Path, graph: Graph) -> None:
    interpreter = oracle.interpreter(path.read_bytes(), arena_bytes=40 << 20)
    details = [interpreter.get_input_details(i) for i in range(len(graph.inputs))]
    inputs = [_structured(tuple(each["shape"]), np.dtype(each["dtype"])) for each in details]
    session = reference.Session(graph)
    large = path.stat().st_size > _LARGE and not LONG
    for example in list(zip(*inputs))[: 1 if large else 2]:
        for position, value in enumerate(example):
            interpreter.set_input(value, position)
        interpreter.invoke()
        given = {}
        for index, value in zip(graph.inputs, example):
            tensor = graph.tensors[index]
            given[tensor.name] = value.reshape(-1, *tensor.example_shape)
        answers = session.run(given)
        for position, index in enumerate(graph.outputs):
            expected = np.array(interpreter.get_output(position))
            assert answers[index].dtype == expected.dtype
            assert np.array_equal(answers[index].ravel(), expected.ravel()), (
                f"{graph.tensors[index].name}: "
                f"{np.sum(answers[index].ravel() != expected.ravel())} of {expected.size} differ"
            )


@pytest.mark.parametrize("path", WILD, ids=lambda path: path.stem)
def test_networks_of_others(path):
    """Several runs in a row: a network with state goes on where it was."""
    with (DATA / "wild" / "manifest.tsv").open() as file:
        rows = {row["file"]: row for row in csv.DictReader(file, delimiter="\t")}
    try:
        graph = tflite.load(path)
    except ModelError as error:
        assert "\n" not in str(error)
        refused_rightly = any(reason in str(error) for reason in _NOT_YET)
        assert refused_rightly or rows[path.name]["tflm"] != "runs", error
        return
    _runs_as_tflm_does(path, graph)


@pytest.mark.parametrize("folder", CASES, ids=lambda folder: folder.name)
def test_networks_of_one_idea(folder):
    """Equal to what TFLM recorded, to what it says today, or refused as it refuses."""
    path = folder / "model.tflite"
    try:
        graph = tflite.load(path)
    except ModelError as error:
        assert "\n" not in str(error)
        assert folder.name in ("int16x8", "maxpool_diff_quant", "softmax_beta_0"), error
        return
    _runs_as_tflm_does(path, graph)
    if (folder / "tflm.npy").exists() and len(graph.inputs) == 1:
        with np.load(folder / "x.npz") as data:
            x = data["x"]
        answers = reference.predict(graph, x.reshape(-1, *graph.input.example_shape))
        expected = np.load(folder / "tflm.npy")
        assert np.array_equal(answers.reshape(expected.shape), expected)
