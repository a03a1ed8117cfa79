"""The paper's experiment against its published tables, and its rules against the gradient.

``data/paper_tables.json`` holds what "Pattern Recognition using Convolutional Neural Networks in
Python" (Chan, Fallar, Ramos, Sese; De La Salle University) prints in its Tables I to VI. Table I,
the starting weights, has three digits; hence the tolerances on all that follows from it.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from model import paper
from model.paper import CROSS, Example, Rule, State, forward, squared_error

STEP = 1e-6


@pytest.fixture(scope="module")
def published() -> dict[str, np.ndarray]:
    path = Path(__file__).parent / "data" / "paper_tables.json"
    return {key: np.array(value) for key, value in json.loads(path.read_text()).items()}


@pytest.fixture(scope="module")
def record() -> paper.Record:
    return paper.run()


def test_picture_and_starting_weights(published, record):
    assert np.array_equal(paper.IMAGE, published["image"])
    assert np.array_equal(record.weights[0], published["table_1_initial_fc"])
    assert record.iterations == 1000
    (cross,) = (each for each in paper.clean_shapes() if each.label == 0)
    assert np.array_equal(cross.image, paper.IMAGE)


def test_table_2_final_weights(published, record):
    assert np.abs(record.weights[-1] - published["table_2_final_fc"]).max() < 0.006


def test_table_3_least_filters(published, record):
    assert (record.filters_used.min(axis=0) == published["table_3_min_filters"]).all()


def test_table_4_least_weights(published, record):
    least = record.weights_left.min(axis=0)
    assert np.abs(least - published["table_4_min_fc"]).max() < 0.004


def test_table_5_greatest_filters(published, record):
    greatest = record.filters_used.max(axis=0)
    assert np.abs(greatest - published["table_5_max_filters_row_col_depth"]).max() < 0.007


def test_table_6_greatest_weights(published, record):
    greatest = record.weights_left.max(axis=0)
    assert np.abs(greatest - published["table_6_max_fc"]).max() < 0.006


def _numeric(example: Example, state: State) -> State:
    """Slope of the squared error by differences, entry by entry."""

    def slope(values: np.ndarray) -> np.ndarray:
        found = np.empty_like(values)
        for index in np.ndindex(values.shape):
            kept = values[index]
            errors = []
            for moved in (kept + STEP, kept - STEP):
                values[index] = moved
                errors.append(squared_error(forward(example.image, state).outputs, example.target))
            values[index] = kept
            found[index] = (errors[0] - errors[1]) / (2 * STEP)
        return found

    return State(slope(state.filters), slope(state.weights))


@pytest.mark.parametrize("label", range(paper.CLASSES))
def test_gradient_is_the_slope_by_differences(label):
    rng = np.random.default_rng(label)
    state = State(rng.normal(size=(3, 3, 3)), rng.normal(size=(12, 4)))
    example = Example(rng.random((4, 4)), label)
    exact, found = paper.gradient(example, state), _numeric(example, state)
    assert np.abs(exact.filters - found.filters).max() < 1e-8
    assert np.abs(exact.weights - found.weights).max() < 1e-8


def test_the_filters_first_step_goes_uphill(record):
    """What docs/paper.md says of the first iteration, with slopes found by differences alone."""
    before = State(record.filters[0].copy(), record.weights[0].copy())
    slope = _numeric(CROSS, before).filters
    change = record.filters[1] - record.filters[0]
    cosine = -(change * slope).sum() / np.linalg.norm(change) / np.linalg.norm(slope)
    step = paper.compare(record, 1)
    assert cosine == pytest.approx(-0.772, abs=1e-3)
    assert step.filter_cosine == pytest.approx(cosine, abs=1e-6)
    assert step.filter_effect == pytest.approx(0.0407, abs=1e-4)
    assert step.filter_step / step.filter_slope > 100


def test_the_papers_filters_jump_where_nothing_remains_to_be_learned():
    start = paper.start()
    weights = start.weights + np.outer(np.ones(12), 100 * CROSS.target)
    learned = State(start.filters, weights)
    assert squared_error(forward(CROSS.image, learned).outputs, CROSS.target) == 0
    jumped = paper.paper_step(CROSS, learned)
    assert np.array_equal(jumped.weights, learned.weights)
    assert np.abs(jumped.filters - learned.filters).max() > 1
    assert np.abs(paper.gradient_step(CROSS, learned).filters - learned.filters).max() < 1e-12


def test_the_papers_filters_forget_what_they_were():
    """They depend on the last picture: where that is dark, so are they."""
    shapes = paper.clean_shapes()
    line = shapes[-1].image  # a vertical line at the right
    filters = paper.run(Rule.PAPER, 1000, shapes).filters[-1]
    assert not line[:, :3].any() and not filters[:, :2].any()
    assert np.abs(filters[:, 2]).min() > 0.1


def test_gradient_goes_downhill_all_the_way():
    record = paper.run(Rule.GRADIENT)
    assert (np.diff(record.errors) < 0).all()
    step = paper.compare(record, 1)
    assert step.filter_cosine == pytest.approx(1) and step.weight_cosine == pytest.approx(1)
    assert step.filter_effect < 0


def test_fixed_filters_stay():
    record = paper.run(Rule.FIXED, 10)
    assert (record.filters == paper.INITIAL_FILTER).all()
    assert record.errors[-1] < record.errors[0]
    assert paper.compare(record, 1).filter_cosine is None


def test_only_the_gradient_learns_ten_shapes():
    shapes = paper.clean_shapes()
    right = {rule: paper.run(rule, 1000, shapes).right for rule in Rule}
    assert right == {Rule.PAPER: 3, Rule.GRADIENT: 10, Rule.FIXED: 4}


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="at least 1, not 0 and 1"):
        paper.run(iterations=0)
