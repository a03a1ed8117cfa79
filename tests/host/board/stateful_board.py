"""A board whose engine keeps state: each run mixes the input into it, and leaves its ticket."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from gateware.interface.configuration import EngineConfiguration
from gateware.interface.image import build_image
from gateware.interface.layout import TensorLayout
from gateware.interface.protocol import EngineError, Result, State
from host.model_card import ModelCard, StateCard, TensorCard, Ticket
from tests.host.fake_board import FakeBoard

CONFIGURATION = EngineConfiguration(memory_bytes=1 << 16, banks=2)
INPUT, STATE, GIVEN, LEFT, OUTPUT = 0x2000, 0x2100, 0x2200, 0x2300, 0x2400
SIZE = 4
FIRST = np.array([1, 2, 3, 4], np.int8)
CYCLES = 4000


def _tensor(address: int) -> TensorCard:
    return TensorCard((SIZE,), 1.0, 0, TensorLayout(address, 1, 1, SIZE, SIZE))


CARD = ModelCard(
    "stateful",
    (_tensor(INPUT),),
    (_tensor(OUTPUT),),
    cycles=CYCLES,
    variables=(StateCard((SIZE,), TensorLayout(STATE, 1, 1, SIZE, SIZE), FIRST),),
    ticket=Ticket(GIVEN, LEFT),
)
IMAGE = build_image(CONFIGURATION, bytes(64), CARD.to_dict(), 1)


def following(state: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The next state: it depends on the order of all inputs, and on how often each came."""
    return (5 * state.astype(np.int64) + 3 * x + 1).astype(np.int8)


def expected(inputs: list[np.ndarray]) -> list[np.ndarray]:
    """What each run gives: the state that it leaves."""
    outputs, state = [], FIRST
    for x in inputs:
        state = following(state, x)
        outputs.append(state)
    return outputs


def _engine(memory: bytearray, layers: int) -> tuple[EngineError, int, int]:
    def at(address: int) -> np.ndarray:
        return np.frombuffer(bytes(memory[address : address + SIZE]), np.int8)

    left = following(at(STATE), at(INPUT)).tobytes()
    memory[OUTPUT : OUTPUT + SIZE] = left
    memory[STATE : STATE + SIZE] = left
    memory[LEFT : LEFT + 8] = memory[GIVEN : GIVEN + 8]
    return EngineError.NONE, 0, CYCLES


class ScriptedBoard(FakeBoard):
    """Faults at chosen requests: by number, from when `script` is set."""

    def __init__(self) -> None:
        super().__init__(CONFIGURATION, engine=_engine)
        self.script: dict[int, str] = {}
        self.seen = 0

    def reset(self) -> None:
        """As by switching it on, but that state and ticket stay: the worst that can be."""
        self.memory[OUTPUT : OUTPUT + SIZE] = b"\x33" * SIZE
        self.info = replace(self.info, state=State(0), image_bytes=0)
        self.result = Result(EngineError.NONE, 0, 0, 0)
        self.busy_until = 0.0
        self.reset_baud()

    def receive(self, byte: int, now: float) -> tuple[bytes, float] | None:
        fault = ""
        if not byte and self._partial:
            fault, self.seen = self.script.get(self.seen, ""), self.seen + 1
        if fault == "lost":
            self._partial.clear()
            return None
        if fault == "reset before":
            self._partial.clear()
            self.reset()
            return None
        answer = super().receive(byte, now)
        if answer is None or not fault:
            return answer
        if fault == "late":
            return answer[0], answer[1] + 0.08
        if fault == "break behind":
            self.reset_baud()
        if fault == "reset behind":
            self.reset()
        return None


def stateful_board() -> ScriptedBoard:
    """With the model in its memory, which holds anything but the first state."""
    board = ScriptedBoard()
    board.memory[: len(IMAGE)] = IMAGE
    board.info = replace(board.info, state=State.VALID, image_bytes=len(IMAGE))
    board.memory[STATE : STATE + SIZE] = b"\x55" * SIZE
    board.memory[LEFT : LEFT + 8] = (7).to_bytes(8, "little")
    return board
