"""The public API against a board in plain Python that executes the tape literally."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gateware.interface.configuration import EngineConfiguration
from gateware.interface.protocol import EngineError, State
from host.board import Board
from host.board.inference import Runner
from host.errors import BoardError, LinkError
from host.evaluation.verify import load_samples, verify
from model import zoo
from model.int8 import reference
from tests.host.fake_board import FakeBoard, FakePort, Faults


@pytest.fixture(scope="module")
def patterns():
    graph = zoo.load("patterns")
    x, y = load_samples("patterns", graph, 12)
    return graph, x, y


def test_load_run_and_classify(fake_board, patterns):
    graph, x, y = patterns
    with Board.open(FakePort(fake_board)) as board:
        assert board.info.board == "icebreaker"
        assert board.model is None
        seen = []
        compiled = board.load("patterns", lambda done, total: seen.append((done, total)))
        assert seen[-1] == (len(compiled.image), len(compiled.image))
        assert board.model == compiled.card
        expected = reference.predict(graph, x)
        for inference, wanted in zip(board.run_many(x), expected):
            assert (inference.output == wanted).all()
            assert inference.best == wanted.argmax()
        pictures = [(one ^ np.int8(-128)).view(np.uint8) for one in x]
        answers = list(board.classify(pictures))
        assert [answer.index for answer in answers] == expected.argmax(axis=1).tolist()
        assert answers[0].label == graph.labels[answers[0].index]
        assert answers[0].scores.sum() == pytest.approx(1, abs=0.02)
        with pytest.raises(ValueError, match="4x4x1"):
            board.run(np.zeros((5, 5), np.int8))
    assert not board.link.port.is_open


def test_another_program_finds_the_model(fake_board, patterns):
    graph, x, _ = patterns
    with Board.open(FakePort(fake_board)) as board:
        board.load(graph)
    with Board.open(FakePort(fake_board)) as board:
        assert board.model is not None and board.model.name == "patterns"
        assert (board.run(x[0]).output == reference.predict(graph, x[:1])[0]).all()


def test_verify_with_layers(fake_board, patterns):
    graph, x, y = patterns
    with Board.open(FakePort(fake_board)) as board:
        compiled = board.load(graph)
        report = verify(board, graph, compiled, x[:4], y[:4], layers=True)
    assert report.mismatches == report.mismatching_bytes == 0
    assert report.count == 4
    assert len(report.layers) == len(compiled.layers)
    assert all(layer.mismatches == 0 for layer in report.layers)


def test_verify_sees_one_wrong_byte(fake_board, patterns):
    graph, x, y = patterns
    right = fake_board.engine
    with Board.open(FakePort(fake_board)) as board:
        compiled = board.load(graph)

        def wrong(memory, layers):
            answer = right(memory, layers)
            memory[compiled.output.address] ^= 1
            return answer

        fake_board.engine = wrong
        report = verify(board, graph, compiled, x[:3], y[:3], layers=True)
    assert report.mismatches == 3
    assert [layer.mismatches > 0 for layer in report.layers][-1]


@pytest.mark.parametrize("seed", range(3))
def test_right_answers_over_a_bad_line(fake_board, patterns, seed):
    graph, x, _ = patterns
    port = FakePort(fake_board, Faults(1e-3, 1e-3, seed))
    with Board.open(port, baud=115_200) as board:
        board.load(graph)
        outputs = [inference.output for inference in board.run_many(x)]
        assert board.link.repeats > 0
    assert (np.array(outputs) == reference.predict(graph, x)).all()


def test_an_upload_that_is_cut_off_leaves_no_model(fake_board, patterns):
    graph, x, _ = patterns
    port = FakePort(fake_board)
    with Board.open(port) as board:
        compiled = board.load(graph)
        port.dies_after = port.sent + 700
        with pytest.raises(LinkError, match="does not answer any more"):
            board.load(graph)
    with Board.open(FakePort(fake_board)) as board:
        assert board.model is None
        with pytest.raises(BoardError, match="refuses to run.*an upload was cut off"):
            board.run(x[0])
        # The board itself refuses, too.
        board._runner, board._model_is_known = Runner(board.link, compiled.card), True
        with pytest.raises(BoardError, match="no valid model"):
            board.run(x[0])
        board.load(graph)
        assert (board.run(x[0]).output == reference.predict(graph, x[:1])[0]).all()


def test_ctrl_c_gives_the_port_back(fake_board, patterns):
    port = FakePort(fake_board)

    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), Board.open(port) as board:
        board.load(patterns[0], interrupt)
    assert not port.is_open
    assert State.VALID not in fake_board.info.state


def test_the_engines_errors_are_told(fake_board, patterns):
    graph, x, _ = patterns
    with Board.open(FakePort(fake_board)) as board:
        board.load(graph)
        fake_board.engine = lambda memory, layers: (EngineError.BAD_DESCRIPTOR, 0, 10)
        with pytest.raises(BoardError, match="BAD_DESCRIPTOR"):
            board.run(x[0])


def test_a_model_for_another_board_is_refused(fake_board, patterns):
    other = EngineConfiguration(lanes=4, pixels=4)
    with Board.open(FakePort(FakeBoard(other))) as board:
        image = bytearray(board.load(patterns[0]).image)
    fake_board.memory[: len(image)] = image
    fake_board.info = replace(fake_board.info, state=State.VALID, image_bytes=len(image))
    with Board.open(FakePort(fake_board)) as board:
        with pytest.raises(BoardError, match="compiled for another board"):
            _ = board.model


def test_a_board_that_describes_nonsense_is_refused():
    board = FakeBoard()
    board.info = replace(board.info, lanes=99)
    with pytest.raises(LinkError, match="Lanes must be"):
        Board.open(FakePort(board))
