"""How well the line and the engine are used while pictures stream through a board."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..board import Board
from ..errors import BoardError
from ..link.framing import BITS_PER_BYTE

__all__ = ["Benchmark", "benchmark"]


@dataclass(frozen=True)
class Benchmark:
    """What :func:`benchmark` measured, in the time of the board where it is simulated.

    Attributes
    ----------
    count : int
        Inferences in the time that was measured.
    seconds : float
    baud : int
    bytes_to_board, bytes_to_host : int
        On the line; delimiters that only pass the time are not counted.
    cycles : int
        Of an inference, as the engine counts them.
    repeats : int
        How often something had to be sent again.
    images_per_second : float
    line_utilisation : float
        Part of the busier direction's capacity that was used.
    engine_utilisation : float
        Part of the time in which the engine ran.
    """

    count: int
    seconds: float
    baud: int
    bytes_to_board: int
    bytes_to_host: int
    cycles: int
    repeats: int
    clock_hz: int

    @property
    def images_per_second(self) -> float:
        return self.count / self.seconds

    @property
    def line_utilisation(self) -> float:
        busier = max(self.bytes_to_board, self.bytes_to_host)
        return busier * BITS_PER_BYTE / self.baud / self.seconds

    @property
    def engine_utilisation(self) -> float:
        return self.count * self.cycles / self.clock_hz / self.seconds


def benchmark(board: Board, count: int, warm_up: int | None = None, seed: int = 1) -> Benchmark:
    """Stream random inputs through the model that the board holds.

    Parameters
    ----------
    board : Board
    count : int
        Inferences to measure.
    warm_up : int or None
        Inferences before and after those, so that the line is as full as it gets; None: as many as
        ``count``, at least 16.
    seed : int
        Of the inputs.

    Raises
    ------
    BoardError
        If the board holds no model.
    """
    card = board.model
    if card is None:
        raise BoardError("there is no model on the board to measure it with (see `--model`)")
    generator = np.random.default_rng(seed)
    around = max(16, count) if warm_up is None else warm_up
    link = board.link
    inputs = (
        tuple(generator.integers(-128, 128, each.shape, np.int8) for each in card.inputs)
        for _ in range(count + 2 * around)
    )
    begin = end = (0.0, 0)
    repeats = cycles = 0
    sent = link.bytes_sent
    for index, inference in enumerate(board.run_many(inputs)):
        if index == around - 1:
            begin, repeats = (link.now(), link.bytes_received), link.repeats
        if index == around + count - 1:
            end, repeats = (
                (link.now(), link.bytes_received),
                link.repeats - repeats,
            )
        cycles = max(cycles, inference.cycles)
    # Requests are sent ahead, by more or less: so all of them are counted.
    share = count / (count + 2 * around)
    return Benchmark(
        count=count,
        seconds=end[0] - begin[0],
        baud=board.baud,
        bytes_to_board=round((link.bytes_sent - sent) * share),
        bytes_to_host=end[1] - begin[1],
        cycles=cycles,
        repeats=repeats,
        clock_hz=board.info.clock_hz,
    )
