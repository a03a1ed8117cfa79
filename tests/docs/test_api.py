"""The examples of the public interface, run: on the page, and in docstrings."""

from __future__ import annotations

import doctest
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import host.board.board
from model.datasets import datasets
from tests.host.conftest import connect, fake_board  # noqa: F401 fixtures
from tests.host.fake_board import FakePort

PAGE = Path(__file__).parents[2] / "docs" / "api.md"


@pytest.fixture
def board_at_sim(connect, fake_board):  # noqa: F811
    """The board of these examples is one in Python that computes what the tape says."""
    connect(FakePort(fake_board))


def failures(text: str, name: str, names: dict[str, object]) -> str:
    """What running the examples of a text says; empty if all is as written."""
    told: list[str] = []
    test = doctest.DocTestParser().get_doctest(text, names, name, None, 0)
    assert test.examples
    options = doctest.IGNORE_EXCEPTION_DETAIL | doctest.NORMALIZE_WHITESPACE
    doctest.DocTestRunner(optionflags=options).run(test, out=told.append)
    return "".join(told)


def test_the_page(board_at_sim):
    assert failures(re.sub(r"```\w*", "", PAGE.read_text()), "api.md", {}) == ""


def test_a_wrong_example_is_noticed():
    assert "Expected:" in failures(">>> 1 + 1\n3\n", "wrong", {})
    assert "no_such" in failures(">>> (0).no_such\n", "wrong", {})


def test_the_boards_docstring(board_at_sim, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    digits = datasets.load("digits")
    for name, label in (("three", 3), ("seven", 7)):
        picture = digits.x_test[np.flatnonzero(digits.y_test == label)[0], :, :, 0]
        Image.fromarray(picture).save(f"{name}.png")
    assert failures(host.board.board.__doc__ or "", "host.board", {}) == ""


def test_every_name_on_the_page_is_there():
    from host import board

    listed = PAGE.read_text()
    for name in board.__all__:
        assert f"`{name}" in listed or name in ("FlashError", "Slot"), name
    for name in re.findall(r"`board\.(\w+)", listed):
        assert hasattr(board.Board, name) or name in ("info", "configuration", "memory", "flash")
