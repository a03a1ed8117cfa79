"""What `host verify` runs a network on: arrays for each input, of its type."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from host.evaluation.verify import load_samples
from model.errors import DataError
from model.int8.builder import GraphBuilder
from model.int8.graph import Graph


@pytest.fixture
def two_inputs() -> Graph:
    """Adds its inputs, which are called after their tensors."""
    builder = GraphBuilder("sum", (6,), 0.05, 0)
    first = builder.last
    builder.input((6,), 0.05, 0)
    builder.add(first, scale=0.1, zero_point=0)
    return builder.build()


def _saved(path: Path, **arrays: np.ndarray) -> str:
    np.savez(path, **arrays)
    return str(path)


def test_each_input_has_the_array_of_its_name(two_inputs: Graph, tmp_path: Path) -> None:
    first, second = (two_inputs.tensors[tensor].name for tensor in two_inputs.inputs)
    values = np.arange(24, dtype=np.int8).reshape(4, 6)
    data = _saved(tmp_path / "a.npz", **{second: values[::-1], first: values})
    x, y = load_samples(data, two_inputs, 3)
    assert isinstance(x, tuple) and y is None
    np.testing.assert_array_equal(x[0], values[:3])
    np.testing.assert_array_equal(x[1], values[:0:-1])


def test_a_missing_input_is_named(two_inputs: Graph, tmp_path: Path) -> None:
    first, second = (two_inputs.tensors[tensor].name for tensor in two_inputs.inputs)
    data = _saved(tmp_path / "a.npz", **{first: np.zeros((2, 6), np.int8)})
    with pytest.raises(DataError, match=f"no array {second} in it: sum takes {first}, {second}$"):
        load_samples(data, two_inputs)


def test_inputs_of_different_counts_are_refused(two_inputs: Graph, tmp_path: Path) -> None:
    first, second = (two_inputs.tensors[tensor].name for tensor in two_inputs.inputs)
    arrays = {first: np.zeros((2, 6), np.int8), second: np.zeros((3, 6), np.int8)}
    with pytest.raises(DataError, match="not equally many"):
        load_samples(_saved(tmp_path / "a.npz", **arrays), two_inputs)
