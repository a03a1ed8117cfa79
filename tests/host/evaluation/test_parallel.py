"""Parts put together, boards that stay open, and several boards at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from gateware.interface.configuration import EngineConfiguration
from gateware.interface.protocol import Opcode
from host.board import board as board_module
from host.errors import BoardError, PortError
from host.evaluation import parallel
from host.evaluation.parallel import ParallelVerification, open_queues, verify_in_parallel
from host.evaluation.verify import LayerVerification, Verification, _rate, load_samples, merge
from host.link.ports import split_host, split_ports
from model import zoo
from model.executor import Queue, Threads, WorkerError
from model.int8 import reference
from tests.host.conftest import interpreting_engine
from tests.host.fake_board import FakeBoard, FakePort


def part(first: int, count: int, **changes) -> Verification:
    outputs = (np.arange(first, first + count, dtype=np.int8)[:, None],)
    whole = Verification(
        hardware=outputs,
        reference=outputs,
        mismatches=0,
        mismatching_bytes=0,
        accuracy=1.0,
        cycles=100,
        images_per_second=10.0,
        layers=(LayerVerification("conv", "CONV_2D", 9, True, 1, 60 + first, 64),),
    )
    return replace(whole, **changes)


def test_merge():
    first = part(0, 3, mismatches=1, mismatching_bytes=5, accuracy=1 / 3, cycles=120)
    second = part(3, 2, mismatches=2, mismatching_bytes=4, accuracy=0.5, images_per_second=40.0)
    both = merge([first, second])
    assert both.hardware[0][:, 0].tolist() == both.reference[0][:, 0].tolist() == [0, 1, 2, 3, 4]
    assert (both.mismatches, both.mismatching_bytes, both.cycles) == (3, 9, 120)
    assert both.accuracy == 2 / 5
    assert both.images_per_second == 10
    (layer,) = both.layers
    assert (layer.mismatches, layer.cycles, layer.predicted) == (2, 63, 64)
    assert merge([part(0, 1), part(1, 1, accuracy=None)]).accuracy is None


def test_the_rate_is_that_of_the_stream():
    assert _rate([0, 5, 7, 9, 10, 10.5]) == 1 / 2
    assert _rate([0, 5, 6, 7]) == 3 / 7


class Ports:
    """Boards at ``a``, ``b``, ...: which ports were opened, and are open."""

    def __init__(self, make: Callable[[], FakeBoard]) -> None:
        self.boards = {name: make() for name in "abc"}
        self.opened: list[str] = []
        #: Bytes that the host may send until the board is gone, by port.
        self.dies_after: dict[str, int] = {}

    def open(self, name: str) -> FakePort:
        if name not in self.boards:
            raise PortError(f"{name}: there is no such port")
        port = FakePort(self.boards[name])
        port.dies_after = self.dies_after.get(name)
        self.opened.append(name)
        return port

    @staticmethod
    def queues(*names: str) -> list[Queue]:
        return [Threads(1, name, (name, None), is_board=True) for name in names]


@pytest.fixture
def ports(monkeypatch) -> Ports:
    configuration = EngineConfiguration()
    ports = Ports(lambda: FakeBoard(configuration, engine=interpreting_engine(configuration)))
    monkeypatch.setattr(board_module, "open_port", ports.open)
    monkeypatch.setattr(parallel, "_BOARDS", parallel._Boards())
    return ports


PICTURES = 20


def verified(queues: list[Queue], **options) -> tuple[ParallelVerification, list[str]]:
    graph = zoo.load("patterns")
    x, y = load_samples("patterns", graph, PICTURES)
    notes: list[str] = []
    found = verify_in_parallel(queues, graph, x, y, note=notes.append, **options)
    assert (found.report.count, found.report.mismatches) == (PICTURES, 0)
    np.testing.assert_array_equal(found.report.hardware[0], reference.predict(graph, x))
    return found, notes


def test_boards_share_the_pictures_and_stay_open(ports):
    seen = []
    found, notes = verified(ports.queues("a", "b"), progress=lambda *each: seen.append(each))
    assert sorted(ports.opened) == ["a", "b"] and not notes
    assert seen[-1] == (PICTURES, PICTURES) and len(seen) > 4
    assert found.info.board == "icebreaker"
    assert all(ports.boards[name].requests.count(Opcode.RUN) > 1 for name in "ab")
    found, _ = verified(ports.queues("a"), layers=True)
    assert ports.opened.count("a") == 1 and found.report.layers


@pytest.mark.parametrize("sent", [2000, 3000, 4000])
def test_a_board_that_is_unplugged(ports, sent):
    ports.dies_after["a"] = sent
    _, notes = verified(ports.queues("a", "b"))
    # The model has 2,500 bytes; how many pictures follow depends on how quick the other one is.
    assert notes or sent > 2500
    assert all(note.startswith("a: ") for note in notes)


def test_all_boards_are_unplugged(ports):
    ports.dies_after = {"a": 2000, "b": 2500}  # during the upload
    with pytest.raises(WorkerError, match="^[ab]: the board does not answer"):
        verified(ports.queues("a", "b"))


def test_boards_of_two_kinds(ports):
    configuration = EngineConfiguration(lanes=4, pixels=1)
    ports.boards["b"] = FakeBoard(configuration, engine=interpreting_engine(configuration))
    with pytest.raises(BoardError, match="b: is another board than a"):
        verified(ports.queues("a", "b"))


def test_no_port(ports):
    with pytest.raises(WorkerError, match="^d: there is no such port"):
        verified(ports.queues("a", "d"))


def test_a_new_board_is_one_that_did_nothing(ports):
    boards = parallel._Boards()
    with boards.use("a", None, None, False) as first:
        pass
    with boards.use("a", None, b"model", True) as again:
        assert again is first
        again.model = b"model"
    with boards.use("a", None, b"model", False) as again:
        assert again is first
    with boards.use("a", None, b"model", True) as other:
        assert other is not first and not first.board.link.port.is_open
    with pytest.raises(KeyError), boards.use("a", None, None, False):
        raise KeyError
    assert not other.board.link.port.is_open


def test_ports_are_split():
    assert split_ports("/dev/ttyUSB0,/dev/ttyUSB1,/dev/ttyUSB0") == ["/dev/ttyUSB0", "/dev/ttyUSB1"]
    assert split_ports("sim://icebreaker?faults=flip:1e-3,latency:16ms") == [
        "sim://icebreaker?faults=flip:1e-3,latency:16ms"
    ]


def test_one_real_board_is_no_several():
    with pytest.raises(PortError, match="one board at a real port"), open_queues("a", None, 2):
        pass


def test_boards_of_a_clusters_workers(ports, local):
    """Each is at one worker, in one program at a time, and free in the end."""
    with open_queues("lab:a,lab:b", None, 1, local.scheduler_address) as queues:
        alone, _ = verified(queues[:1])
        found, notes = verified(queues)
    assert not notes and found.report.cycles == alone.report.cycles
    assert all(ports.boards[name].requests.count(Opcode.RUN) > 1 for name in "ab")
    assert not parallel._BOARDS._idle


def test_a_board_of_a_cluster_that_is_unplugged(ports, local):
    ports.dies_after["a"] = 2000
    with open_queues("lab:a,lab:b", None, 1, local.scheduler_address) as queues:
        _, notes = verified(queues)
    assert notes and all(note.startswith("lab:a: ") for note in notes)


def test_ports_of_a_cluster(local):
    for port in ("/dev/ttyUSB1", "socket://lab:4000"):
        with pytest.raises(PortError, match=f"^{port}: .* HOST:PORT"):
            with open_queues(port, None, 1, local.scheduler_address):
                pass
    assert split_host("lab2:/dev/ttyUSB1") == ("lab2", "/dev/ttyUSB1")
    assert split_host("lab2:COM3") == ("lab2", "COM3")
    assert split_host("lab2:socket://127.0.0.1:4000") == ("lab2", "socket://127.0.0.1:4000")
