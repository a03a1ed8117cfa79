"""State between runs: files, the reference over sequences, and what is refused."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from model.errors import ModelError
from model.int8 import reference, tflite
from model.int8.builder import GraphBuilder
from model.int8.graph import Graph, Operator, OperatorKind, Quantization, Tensor
from model.int8.variables import (
    HandleOptions,
    OnceOptions,
    as_in_files,
    initial_values,
    with_state,
)
from tests.model.int8 import oracle
from tests.model.int8.stateful import NETWORKS, SCALE, ZERO_POINT, features, keyword

LONG = bool(os.environ.get("EYESPOT_LONG"))
WILD = Path(__file__).parents[4] / "shared" / "data" / "wild"


def _tflm(data: bytes, x: np.ndarray) -> np.ndarray:
    running = oracle.interpreter(data)
    answers = []
    for example in x:
        running.set_input(example[np.newaxis], 0)
        running.invoke()
        answers.append(np.array(running.get_output(0))[0])
    return np.array(answers)


@pytest.mark.parametrize("name", NETWORKS)
def test_sequences_equal_tflm(name):
    graph = NETWORKS[name]()
    x = features(np.random.default_rng(5), 40, graph.input.example_shape)
    answers = reference.predict(graph, x)
    assert np.array_equal(answers, _tflm(tflite.encode(graph), x))
    assert len(np.unique(answers)) > 3


@pytest.mark.skipif(not WILD.is_dir(), reason="../shared/data is not here")
@pytest.mark.parametrize("path", sorted(WILD.glob("esphome-*.tflite")), ids=lambda path: path.stem)
def test_wake_words_equal_tflm(path):
    graph = tflite.load(path)
    count = 1000 if LONG else 25
    x = features(np.random.default_rng(1), count, graph.input.shape[1:])
    answers = reference.predict(graph, x)
    assert np.array_equal(answers, _tflm(path.read_bytes(), x))
    written = tflite.encode(graph)
    assert np.array_equal(answers[:10], _tflm(written, x[:10]))


def test_a_session_goes_on_where_it_was():
    graph = keyword()
    x = features(np.random.default_rng(6), 30, graph.input.example_shape)
    whole = reference.predict(graph, x)
    session = reference.Session(graph)
    parts = [session.run(x[start : start + 7])[graph.outputs[0]] for start in range(0, 30, 7)]
    assert np.array_equal(np.concatenate(parts), whole)
    session.reset_state()
    assert np.array_equal(session.run(x[:4])[graph.outputs[0]], whole[:4])
    kept = reference.run(graph, x, keep="all")
    assert np.array_equal(kept[graph.outputs[0]], whole)


def test_files_keep_variables():
    graph = keyword()
    data = tflite.encode(graph)
    again = tflite.decode(data, "keyword")
    assert [each.name for each in again.variables] == ["state1", "state2", "state3"]
    for one, other in zip(graph.variables, again.variables):
        assert np.array_equal(one.initial, other.initial)
    x = features(np.random.default_rng(7), 12, graph.input.example_shape)
    assert np.array_equal(reference.predict(graph, x), reference.predict(again, x))
    main, once = as_in_files(graph)
    assert {operator.kind.value for operator in once.operators} == {"VAR_HANDLE", "ASSIGN_VARIABLE"}
    assert with_state(main, initial_values(once, "once")).variables[0].name == "state1"


def _raw(
    operators: list[tuple[OperatorKind, tuple[int, ...], tuple[int, ...]]],
    other_scale: float = SCALE,
    zero_point: int = ZERO_POINT,
) -> Graph:
    """A network as a file has it: input 0, handle 1, tensors 2 to 5; the last operator's output."""

    def tensor(name: str, scale: float = SCALE) -> Tensor:
        affine = Quantization(np.array([scale], np.float32), np.array([zero_point], np.int64))
        return Tensor(name, (1, 1, 1, 4), "int8", affine)

    tensors = (
        tensor("input"),
        Tensor("handle", (), "resource"),
        *(tensor(f"t{n}") for n in (2, 3)),
        tensor("t4", other_scale),
        tensor("t5"),
    )
    listed = tuple(
        Operator(
            kind,
            f"{kind.stem}{n}",
            inputs,
            outputs,
            HandleOptions("v")
            if kind is OperatorKind.VAR_HANDLE
            else OnceOptions(1)
            if kind is OperatorKind.CALL_ONCE
            else None,
        )
        for n, (kind, inputs, outputs) in enumerate(operators)
    )
    return Graph("raw", tensors, listed, (0,), listed[-1].outputs)


HANDLE = (OperatorKind.VAR_HANDLE, (), (1,))


def test_what_is_read_behind_an_assignment_is_what_was_assigned():
    graph = with_state(
        _raw(
            [
                HANDLE,
                (OperatorKind.READ_VARIABLE, (1,), (2,)),
                (OperatorKind.ASSIGN_VARIABLE, (1, 0), ()),
                (OperatorKind.READ_VARIABLE, (1,), (3,)),
                (OperatorKind.ABS, (3,), (5,)),
            ]
        ),
        {},
    )
    assert graph.operators[-1].inputs == (0,)
    assert [(each.tensor, each.next) for each in graph.variables] == [(2, 0)]
    # Without a first value it is the zero point.
    assert (graph.variables[0].initial == ZERO_POINT).all()


def test_a_first_value_without_call_once_is_the_zero_point_in_tflm_too(monkeypatch):
    graph = NETWORKS["running_sum"]()
    main, _ = as_in_files(graph)
    bare = replace(main, operators=main.operators[1:])
    monkeypatch.setattr("model.int8.tflite_writer.as_in_files", lambda graph: (bare,))
    data = tflite.encode(graph)
    x = features(np.random.default_rng(8), 9, graph.input.example_shape)
    expected = _tflm(data, x)
    assert np.array_equal(reference.predict(tflite.decode(data, "bare"), x), expected)


@pytest.mark.parametrize(
    ("operators", "text"),
    [
        ([(OperatorKind.READ_VARIABLE, (0,), (2,))], "reads what is no variable"),
        ([(OperatorKind.ASSIGN_VARIABLE, (0, 0), ())], "assigns to what is no variable"),
        ([HANDLE, (OperatorKind.ASSIGN_VARIABLE, (1,), ())], "must have two inputs"),
        ([HANDLE, (OperatorKind.READ_VARIABLE, (1, 1), (2,))], "must have one input"),
        (
            [HANDLE, (OperatorKind.READ_VARIABLE, (1,), (2,)), (OperatorKind.CALL_ONCE, (), ())],
            "comes behind what uses",
        ),
        (
            [
                HANDLE,
                (OperatorKind.READ_VARIABLE, (1,), (2,)),
                (OperatorKind.READ_VARIABLE, (1,), (4,)),
            ],
            "another type, shape or scale",
        ),
    ],
)
def test_misuse_is_refused(operators, text):
    with pytest.raises(ModelError, match=text) as raised:
        with_state(_raw(operators, other_scale=0.5), {})
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("operators", "text"),
    [
        ([HANDLE, (OperatorKind.ASSIGN_VARIABLE, (1, 0), ())], "is no constant"),
        ([(OperatorKind.ABS, (0,), (2,))], "its subgraph has ABS"),
    ],
)
def test_first_values_are_constants(operators, text):
    with pytest.raises(ModelError, match=text):
        initial_values(_raw(operators), "call_once1")


def test_variables_have_one_type_and_shape():
    builder = GraphBuilder("wrong", (1, 1, 4), SCALE, ZERO_POINT)
    given = builder.last
    state = builder.variable((1, 1, 3), SCALE, ZERO_POINT)
    builder.assign(state, given)
    builder.last = given
    builder.logistic()
    with pytest.raises(ModelError, match="variable state1: int8 of 1x1x1x3 at first, but int8 of"):
        tflite.encode(builder.build())
    right = builder.build()
    nobody = replace(right.variables[0], next=state, tensor=given)
    with pytest.raises(ModelError, match="state1"):
        tflite.encode(replace(right, variables=(nobody,)))


def test_a_subgraph_that_nothing_calls_is_refused(monkeypatch):
    graph = keyword()
    main, once = as_in_files(graph)
    monkeypatch.setattr("model.int8.tflite_writer.as_in_files", lambda graph: (main, once, once))
    with pytest.raises(ModelError, match="holds 3 subgraphs, not one"):
        tflite.decode(tflite.encode(graph), "three")


def test_a_replay_is_the_first_run():
    graph = keyword()
    x = features(np.random.default_rng(8), 1, graph.input.example_shape)
    every = reference.run(graph, x, keep="all")
    values = reference.replay(graph, x[0], {})
    for index, expected in every.items():
        np.testing.assert_array_equal(values[index].ravel(), expected[0].ravel())
