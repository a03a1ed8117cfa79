"""The model card comes from a device: nothing in it is believed."""

from __future__ import annotations

import copy

import numpy as np
import pytest

from gateware.interface.layout import TensorLayout
from host.model_card import HostStep, HostTensor, ModelCard, TensorCard

MEMORY = 4096


def card() -> ModelCard:
    return ModelCard(
        name="tiny",
        inputs=(TensorCard((3, 5, 2), 1 / 255, -128, TensorLayout(1024, 3, 5, 2, 12), "picture"),),
        outputs=(
            TensorCard(
                (10,),
                0.5,
                3,
                TensorLayout(2048, 1, 1, 16, 16),
                "scores",
                (
                    HostStep("SOFTMAX", HostTensor("int8", (10,), 1 / 256, -128), 1.0),
                    HostStep("DEQUANTIZE", HostTensor("float32", (10,))),
                ),
            ),
            TensorCard((4,), 0.5, 3, TensorLayout(3000, 1, 1, 4, 4), "others"),
        ),
        labels=("a", "b"),
        cycles=1000,
        finds_best=True,
    )


def test_a_card_survives_the_way():
    assert ModelCard.from_dict(card().to_dict(), MEMORY) == card()
    assert card().label(1) == "b"
    assert card().label(2) == "2"


@pytest.mark.parametrize("which", ["input", "output"])
def test_pack_and_unpack(which):
    tensor = getattr(card(), which)
    values = np.arange(np.prod(tensor.shape)).astype(np.int8).reshape(tensor.shape)
    data = tensor.pack(values)
    assert len(data) == tensor.layout.size
    assert (tensor.unpack(data) == values).all()


def test_stored_padding_holds_the_zero_point():
    tensor = TensorCard((2, 3, 1), 1.0, -7, TensorLayout(0, 2, 3, 1, 6, left=1))
    values = np.arange(6).astype(np.int8).reshape(tensor.shape)
    data = tensor.pack(values)
    assert np.frombuffer(data, np.int8).tolist() == [-7, 0, 1, 2, -7, -7, -7, 3, 4, 5, -7, -7]
    assert (tensor.unpack(data) == values).all()
    assert TensorCard.from_dict(tensor.to_dict(), "input", MEMORY) == tensor


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("name",), 5),
        (("name",), "x" * 300),
        (("labels",), "abc"),
        (("labels",), [1]),
        (("inputs",), None),
        (("inputs",), []),
        (("outputs",), [3]),
        (("outputs", 0, "steps"), 3),
        (("outputs", 0, "steps"), [3]),
        (("outputs", 0, "steps", 0, "kind"), "CONV_2D"),
        (("outputs", 0, "steps", 0, "parameter"), float("nan")),
        (("outputs", 0, "steps", 1, "parameter"), 1),
        (("outputs", 0, "steps", 0, "type"), "object"),
        (("outputs", 0, "steps", 0, "shape"), [1 << 20, 1 << 20]),
        (("outputs", 0, "steps", 0, "zero_point"), 1 << 40),
        (("outputs", 0, "name"), 7),
        (("finds_best",), 1),
        (("input", "shape"), [3, 5, 3]),
        (("input", "shape"), [3, -5]),
        (("input", "shape"), [True, 5, 6]),
        (("input", "scale"), 0),
        (("input", "scale"), 1e300),
        (("input", "zero_point"), 200),
        (("input", "layout"), [1024, 3, 5, 2]),
        (("input", "layout"), [4090, 3, 5, 2, 12]),
        (("input", "layout"), [1024, 3, 5, 2, 9]),
        (("input", "layout"), [1024, 3, 5, 2, 12, 2]),
        (("input", "layout"), [1024, 3, 5, 2, 12, -1]),
        (("input", "layout"), [1024, 3, 5, 2, 12, 1, 1]),
        (("input", "layout"), [1024, 0, 5, 2, 12]),
        (("input", "layout"), [1e3, 3, 5, 2, 12]),
        (("cycles",), -1),
    ],
)
def test_nonsense_is_refused(path, value):
    data = copy.deepcopy(card().to_dict())
    place = data
    if path[0] == "input":
        path = ("inputs", 0, *path[1:])
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(ValueError, match=str(path[0]).rstrip("s")):
        ModelCard.from_dict(data, MEMORY)


@pytest.mark.parametrize("value", [None, [], "text", 3, {}])
def test_what_is_no_card_is_refused(value):
    with pytest.raises(ValueError):
        ModelCard.from_dict(value, MEMORY)


def test_names_cannot_command_the_terminal():
    data = card().to_dict()
    data["labels"] = ["\x1b[2Jhello"]
    assert "\x1b" not in ModelCard.from_dict(data, MEMORY).labels[0]
