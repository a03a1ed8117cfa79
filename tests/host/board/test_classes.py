"""What an inference says in classes: one answer, or one for each pixel."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gateware.interface.layout import TensorLayout
from host.board.classes import Cell, classification, grid
from host.board.inference import Inference
from host.model_card import HostStep, HostTensor, ModelCard, TensorCard

SCALE, ZERO_POINT = 0.25, 4


def card(shape, *steps: HostStep, labels=("none", "cat", "dog")) -> ModelCard:
    layout = TensorLayout(0, 1, 1, math.prod(shape), math.prod(shape))
    tensor = TensorCard(shape, SCALE, ZERO_POINT, layout, steps=steps)
    return ModelCard("model", (tensor,), (tensor,), labels=labels)


def inference(values, output=None) -> Inference:
    values = np.array(values, np.int8)
    return Inference((values,), (values if output is None else output,), 100, 0, 0)


@pytest.mark.parametrize("shape", [(3,), (1, 3), (1, 1, 3), (3, 1, 1)])
def test_one_answer(shape):
    answer = classification(card(shape), inference(np.reshape([0, 8, 4], shape)))
    assert grid(card(shape)) is None and answer.cells is None
    assert (answer.index, answer.label) == (1, "cat")
    assert answer.scores.tolist() == [-1, 1, 0]


def test_a_cell_for_each_pixel_that_is_not_background():
    values = np.full((3, 2, 3), -50, np.int8)
    values[..., 0] = 0
    values[0, 1, 2], values[2, 0, 1], values[2, 1, 1] = 12, 8, 0  # the last is equal to class 0
    answer = classification(card((3, 2, 3)), inference(values))
    assert grid(card((3, 2, 3))) == (3, 2)
    assert answer.cells == (Cell((0, 1), 2, "dog", 2.0), Cell((2, 0), 1, "cat", 1.0))
    assert (answer.index, answer.label) == (2, "dog")
    assert answer.scores.shape == (3, 2, 3) and answer.scores[0, 1, 2] == 2.0


def test_nothing_found():
    values = np.zeros((3, 1, 3), np.int8)
    answer = classification(card((3, 1, 3)), inference(values))
    assert answer.cells == () and (answer.index, answer.label) == (0, "none")


def test_one_channel_has_no_classes():
    values = np.arange(4, dtype=np.int8).reshape(2, 2, 1)
    answer = classification(card((2, 2, 1)), inference(values))
    assert grid(card((2, 2, 1))) == (2, 2) and answer.cells == ()


def test_a_row_of_pixels():
    values = np.eye(4, 3, 1, np.int8)
    answer = classification(card((4, 3)), inference(values))
    assert [(each.position, each.index) for each in answer.cells] == [((0,), 1), ((1,), 2)]


def test_a_class_without_a_name_is_its_number():
    values = np.zeros((1, 2, 5), np.int8)
    values[0, 1, 4] = 1
    assert classification(card((1, 2, 5)), inference(values)).label == "4"


def test_real_values_behind_a_step_of_the_host():
    step = HostStep("DEQUANTIZE", HostTensor("float32", (2, 1, 2)))
    output = np.array([[[0.5, 0.75]], [[0.5, 0.25]]], np.float32)
    answer = classification(card((2, 1, 2), step), inference(np.zeros((2, 1, 2)), output))
    assert answer.cells == (Cell((0, 0), 1, "cat", 0.75),)


def test_a_model_that_chooses_the_class_itself():
    step = HostStep("ARG_MAX", HostTensor("int32", ()), 0)
    answer = classification(card((3,), step), inference([0, 8, 12], np.array(2, np.int32)))
    assert (answer.index, answer.label, answer.scores.tolist()) == (2, "dog", [-1, 1, 2])
    step = HostStep("ARG_MAX", HostTensor("int64", (2, 2)), 2)
    values = np.zeros((2, 2, 3), np.int8)
    values[1, 0, 2] = 8
    choice = values.argmax(axis=2)
    answer = classification(card((2, 2, 3), step), inference(values, choice))
    assert answer.cells == (Cell((1, 0), 2, "dog", 1.0),)
    # Classes may lie along any axis.
    step = HostStep("ARG_MAX", HostTensor("int64", (2, 2)), 0)
    values = np.moveaxis(values, -1, 0)
    answer = classification(card((3, 2, 2), step), inference(values, choice))
    assert answer.cells == (Cell((1, 0), 2, "dog", 1.0),)
