"""The public API: a board at a serial port, and the model in it.

>>> from host.board import Board
>>> with Board.open("sim") as board:
...     board.load("digits")
...     for answer in board.classify(["three.png", "seven.png"]):
...         print(answer.label, answer.cycles)
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from gateware.interface.configuration import EngineConfiguration
from gateware.interface.image import HEADER_BYTES, ImageHeader, read_metadata
from gateware.interface.layout import TensorLayout
from gateware.interface.protocol import (
    MAX_PAYLOAD,
    MAX_READ,
    EngineError,
    Info,
    Opcode,
    Result,
    StallCause,
    State,
    Status,
)

from ..errors import BoardError, LinkError
from ..link.framing import Reply, Request
from ..link.link import Link, Port
from ..link.ports import open_port
from ..model_card import ModelCard
from .flash import BoardFlash
from .flash_slots import FlashError, Slot

if TYPE_CHECKING:
    from PIL.Image import Image

    from model.int8.graph import Graph

    from ..compiler import CompiledModel

__all__ = ["Board", "Classification", "Inference", "LayerRun"]

Int8Array = npt.NDArray[np.int8]
Progress = Callable[[int, int], None]
"""Called with how much is done and how much there is to do."""

_REFUSALS = {
    Status.BAD_OPCODE: "it does not know the command: its gateware is older than this program",
    Status.BAD_ADDRESS: "the address is outside its memory",
    Status.BAD_LENGTH: "the command has the wrong length",
    Status.BUSY: "it is busy",
    Status.NO_MODEL: (
        "it holds no valid model: none was uploaded, or an upload was cut off "
        "(`host upload-weights MODEL --port PORT` loads one)"
    ),
    Status.CRC_MISMATCH: "what arrived is damaged: its CRC does not match",
}


@dataclass(frozen=True, eq=False)
class Inference:
    """What the board computed for one input.

    Attributes
    ----------
    logits : ndarray of int8
        What the board gave, in the model's output shape.
    output : ndarray of int8
        The model's output: the softmax of ``logits`` if the model ends with one.
    cycles, stalls : int
        Clock cycles of the engine, and those in which it waited for the chosen cause: 0 where the
        board does not count them.
    best : int
        Index of the greatest of ``logits``, found by the board if it does that.
    """

    logits: Int8Array
    output: Int8Array
    cycles: int
    stalls: int
    best: int


@dataclass(frozen=True, eq=False)
class Classification:
    """An inference, told in the model's classes.

    Attributes
    ----------
    index : int
        Of the class with the greatest score.
    label : str
        Its name.
    scores : ndarray of float64
        Real values of the model's output; probabilities if it ends with a softmax.
    inference : Inference
    """

    index: int
    label: str
    scores: npt.NDArray[np.float64]
    inference: Inference


@dataclass(frozen=True, eq=False)
class LayerRun:
    """What a layer left in memory, and the cycles from the start to its end."""

    data: bytes
    cycles: int


def _read(opcode: Opcode, address: int, count: int) -> Request:
    """READ or RESULT."""
    extra = Result.BYTES if opcode == Opcode.RESULT else 0
    return Request(opcode, address, bytes([count]), reply_bytes=extra + count)


def _reads(layout: TensorLayout, first: Opcode = Opcode.READ) -> list[Request]:
    """Requests for a tensor, the first of which may be RESULT."""
    end = layout.address + layout.size
    return [
        _read(
            first if address == layout.address else Opcode.READ,
            address,
            min(MAX_READ, end - address),
        )
        for address in range(layout.address, end, MAX_READ)
    ]


def _writes(address: int, data: bytes) -> list[Request]:
    return [
        Request(Opcode.WRITE, address + start, data[start : start + MAX_PAYLOAD])
        for start in range(0, len(data), MAX_PAYLOAD)
    ]


#: The counters, and a byte for which nobody asks.
_RESULT = _read(Opcode.RESULT, 0, 1)
#: Behind RUN, where what follows must not come at once.
_FILLER = _read(Opcode.READ, 0, 1)
_WAS_RESET = "the board was reset meanwhile: what it held is lost"


class Board:
    """A board that answers.

    Use :meth:`open`, with ``with``: the port is this program's alone until the block ends.

    Parameters
    ----------
    link : Link
        Connected.

    Attributes
    ----------
    info : Info
        What the board is.
    configuration : EngineConfiguration
        Its engine.
    flash : BoardFlash or None
        Its flash, if models can lie in it.
    """

    def __init__(self, link: Link) -> None:
        if link.info is None:
            raise ValueError("The link must be connected")
        self.link = link
        self.info: Info = link.info
        try:
            self.configuration = EngineConfiguration(
                lanes=self.info.lanes,
                pixels=self.info.pixels,
                ring_entries=self.info.ring_entries,
                memory_bytes=self.info.memory_bytes,
                banks=self.info.banks,
                accumulator_bits=self.info.accumulator_bits,
                requantizers=self.info.requantizers,
                pooling=self.info.pooling,
                flash=self.info.flash,
                diagnostics=self.info.diagnostics,
            )
        except ValueError as error:
            raise LinkError(f"the board's description of itself is wrong: {error}") from error
        self._model: ModelCard | None = None
        self._model_is_known = False
        #: Clock cycles after which the engine has read the input; None: not known yet.
        self._input_cycles: int | None = None
        self.flash = BoardFlash(self) if self.configuration.flash else None

    @classmethod
    def open(cls, port: str | Port, baud: int | None = None) -> Board:
        """Connect to a board.

        Parameters
        ----------
        port : str or Port
            A device name, a pyserial URL, ``sim`` or ``sim://BOARD``; or a port that is open.
        baud : int or None
            Baud rate; None for the fastest that works.

        Raises
        ------
        PortError
            If the port cannot be opened.
        LinkError
            If what is connected there is no board.
        """
        opened = open_port(port) if isinstance(port, str) else port
        try:
            link = Link(opened)
            link.connect(baud)
            return cls(link)
        except LinkError as error:
            opened.close()
            where = f"{port}: " if isinstance(port, str) else ""
            raise LinkError(f"{where}{error}") from error
        except BaseException:
            opened.close()
            raise

    def close(self) -> None:
        """Give the port back."""
        self.link.port.close()

    def __enter__(self) -> Board:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def baud(self) -> int:
        """The rate that was agreed on."""
        return self.link.port.baudrate

    def now(self) -> float:
        """Seconds, in the time of the board: simulated where it is."""
        return self.link.now()

    # The model.

    @property
    def model(self) -> ModelCard | None:
        """The model that the board holds, as its memory says; None if it holds no valid one.

        A board that holds none and has models in its flash runs the newest of them from now on.

        Raises
        ------
        BoardError
            If it holds one that was compiled for another board, or by another version.
        """
        if not self._model_is_known:
            self._model = self._read_model()
            self._model_is_known = True
            if self._model is None and self.flash is not None and self.boot_flash() is not None:
                return self.model
            if self._model is not None and self._model.cycles:
                self.link.run_cycles = self._model.cycles
        return self._model

    def _read_model(self) -> ModelCard | None:
        self.info = self.link.read_info()
        if State.VALID not in self.info.state:
            return None
        try:
            header = ImageHeader.unpack(self.read(0, HEADER_BYTES))
            if (header.lanes, header.pixels) != (self.info.lanes, self.info.pixels):
                raise ValueError("it was compiled for another board")
            if header.image_bytes != self.info.image_bytes or (
                header.image_bytes > self.info.memory_bytes
            ):
                raise ValueError("the image header contradicts the board")
            text = self.read(header.metadata_address, header.metadata_bytes)
            return ModelCard.from_dict(read_metadata(header, text), self.info.memory_bytes)
        except ValueError as error:
            raise BoardError(f"the board's model cannot be used: {error}") from error

    def _require_model(self) -> ModelCard:
        card = self.model
        if card is None:
            raise BoardError(f"the board refuses to run: {_REFUSALS[Status.NO_MODEL]}")
        return card

    def load(
        self,
        model: str | os.PathLike[str] | Graph | CompiledModel,
        progress: Progress | None = None,
        *,
        flash: bool | None = False,
    ) -> CompiledModel:
        """Upload a model; it is there once the board's own CRC of it is right.

        Parameters
        ----------
        model : str, path, Graph or CompiledModel
            A model's name or file, a network, or what the compiler made of one.
        progress : callable, optional
            Called with the bytes sent and the bytes to send.
        flash : bool or None
            Into the board's flash, to stay when the power goes: whatever happens meanwhile, the
            flash has the model that it had before, or this one. None: if it needs to.

        Returns
        -------
        CompiledModel

        Raises
        ------
        ModelError
            If the model cannot be read, or cannot run on this board.
        BoardError, FlashError
            If the board, or its flash, did not take it.
        """
        from .. import compiler
        from ..models import load_model

        if isinstance(model, compiler.CompiledModel):
            compiled = model
        else:
            graph = load_model(model) if isinstance(model, (str, os.PathLike)) else model
            compiled = compiler.compile(graph, self.configuration)
        if compiled.configuration != self.configuration:
            raise BoardError("the model was compiled for another board")
        show = progress or (lambda done, total: None)
        if flash or (compiled.stream and flash is None):
            self._store(compiled, show)
        elif compiled.stream:
            raise BoardError(
                f"{compiled.card.name} does not fit into the board's memory: it must lie in its "
                "flash (`host upload-weights --flash`)"
            )
        else:
            self._upload(compiled.image, show)
        self.link.run_cycles = compiled.cycles
        return compiled

    def _store(self, compiled: CompiledModel, progress: Progress) -> None:
        flash = self._require_flash()
        slot = flash.write(compiled.image, compiled.stream, progress)
        self._forget_model()
        if not flash.boot(slot):
            flash.slots.erase(slot.number)
            flash.boot_newest()
            raise FlashError("the flash does not hold what was written: the board's CRC differs")

    def boot_flash(self) -> Slot | None:
        """Let the newest model in the flash run from now on; None if there is none.

        Raises
        ------
        BoardError, FlashError
            If the board has no models in its flash, or the flash does not answer.
        """
        flash = self._require_flash()
        self._forget_model()
        return flash.boot_newest()

    def _require_flash(self) -> BoardFlash:
        if self.flash is None:
            raise BoardError(f"the {self.info.board} was built without models in its flash")
        return self.flash

    def _forget_model(self) -> None:
        self._model_is_known = False
        self._input_cycles = None

    def _upload(self, image: bytes, progress: Progress) -> None:
        self._forget_model()
        requests = _writes(0, image)
        replies = self.link.exchange([request] for request in requests)
        sent = 0
        for request, (reply,) in zip(requests, replies):
            self._check(reply, "the upload failed")
            sent += len(request.payload)
            progress(sent, len(image))
        if not self.check_image(len(image)):
            raise BoardError(f"the upload failed: {_REFUSALS[Status.CRC_MISMATCH]}")

    # Memory.

    @staticmethod
    def _check(reply: Reply, what: str) -> None:
        if reply.status != Status.OK:
            raise BoardError(f"{what}: the board says that {_REFUSALS[reply.status]}")

    def check_image(self, count: int) -> bool:
        """Whether memory begins with ``count`` bytes that end with their CRC: a valid image."""
        (reply,) = next(self.link.exchange([[Request(Opcode.CHECK, count)]]))
        if reply.status == Status.CRC_MISMATCH:
            return False
        self._check(reply, "the check failed")
        return True

    def write(self, address: int, data: bytes) -> None:
        """Bytes into the board's memory; where a valid image lies, it is one no more."""
        for (reply,) in self.link.exchange([each] for each in _writes(address, data)):
            self._check(reply, "WRITE failed")

    def read(self, address: int, count: int) -> bytes:
        """Bytes of the board's memory."""
        requests = _reads(TensorLayout(address, 1, count, 1, count))
        parts = []
        for request, (reply,) in zip(requests, self.link.exchange([each] for each in requests)):
            parts.append(self._payload(reply, request))
        return b"".join(parts)

    def _payload(self, reply: Reply, request: Request) -> bytes:
        self._check(reply, f"{request.opcode.name} failed")
        if len(reply.payload) != request.reply_bytes:
            raise LinkError(f"the answer to {request.opcode.name} has the wrong length")
        return reply.payload

    # Inference.

    def run(self, x: Int8Array, stall_cause: StallCause = StallCause.PIXELS) -> Inference:
        """Run the model on one input of int8."""
        return next(self.run_many([x], stall_cause))

    def run_many(
        self, inputs: Iterable[Int8Array], stall_cause: StallCause = StallCause.PIXELS
    ) -> Iterator[Inference]:
        """Run the model on one input after the other; the next is sent while one is awaited.

        Parameters
        ----------
        inputs : iterable of ndarray of int8
            Each of the model's input shape; taken as they are needed.
        stall_cause : StallCause
            What :attr:`Inference.stalls` counts.

        Raises
        ------
        BoardError
            If the board holds no model, or the engine stops with an error.
        ValueError
            If an input does not fit the model.
        """
        card = self._require_model()
        reads = _reads(card.output.layout, Opcode.RESULT)
        source = iter(inputs)
        first = list(islice(source, 2))
        free_after = self._measure_input(card) if len(first) > 1 else None

        def transactions() -> Iterator[list[Request]]:
            for x in chain(first, source):
                writes = self._writes_of(card, x)
                filler = free_after is not None and not self.link.covers(writes[0], free_after)
                run = Request(Opcode.RUN, 0, bytes([0, stall_cause]))
                yield [*writes, run, *([_FILLER] if filler else []), *reads]
            yield [_RESULT]

        # What was read after a reset of the board is not what it computed. A RUN that follows, or
        # the counters at the end, prove that there was none: so an answer waits for that.
        unproven: Inference | None = None
        for replies in self.link.exchange(transactions(), free_after=free_after):
            wanted = reads if len(replies) > 1 else [_RESULT]
            result, data = self._answer(replies, wanted)
            if unproven is not None:
                if len(replies) == 1 and result.cycles != unproven.cycles:
                    raise BoardError(_WAS_RESET)
                yield unproven
            if len(replies) == 1:
                return
            logits = card.output.unpack(data)
            unproven = Inference(
                logits=logits,
                output=_finish(card, logits),
                cycles=result.cycles,
                stalls=result.stalls if self.info.diagnostics else 0,
                best=result.best if self.info.diagnostics else int(logits.argmax()),
            )

    def _measure_input(self, card: ModelCard) -> int | None:
        """Clock cycles of a run after which the next input may be written.

        None if only after the output has been read. Measured by the board, once for a model: a
        wrong figure would mean a wrong answer.
        """
        if not card.input_layers:
            return None
        if self._input_cycles is None:
            runs = (
                [Request(Opcode.RUN, 0, bytes([layers, StallCause.PIXELS])), _RESULT]
                for layers in (card.input_layers, 0)
            )
            # The second RUN proves that the board was not reset after the first.
            read, whole = (
                self._answer(replies, [_RESULT])[0].cycles for replies in self.link.exchange(runs)
            )
            self.link.run_cycles = whole
            self._input_cycles = read
        return self._input_cycles

    def run_layers(self, x: Int8Array, layouts: Sequence[TensorLayout]) -> list[LayerRun]:
        """Run the model once for each of its layers, up to that layer, and read what it left.

        Parameters
        ----------
        x : ndarray of int8
            Of the model's input shape.
        layouts : sequence of TensorLayout
            Where each layer's output lies, in running order.
        """
        card = self._require_model()
        runs = []
        for count, layout in enumerate(layouts, start=1):
            run = Request(Opcode.RUN, 0, bytes([count, StallCause.PIXELS]))
            reads = _reads(layout, Opcode.RESULT)
            requests = [*self._writes_of(card, x), run, *reads, _RESULT]
            *replies, proof = next(self.link.exchange([requests]))
            result, data = self._answer(replies, reads)
            if self._answer([proof], [_RESULT])[0].cycles != result.cycles:
                raise BoardError(_WAS_RESET)
            runs.append(LayerRun(data, result.cycles))
        return runs

    @staticmethod
    def _writes_of(card: ModelCard, x: Int8Array) -> list[Request]:
        x = np.asarray(x)
        if x.dtype != np.int8 or x.size != math.prod(card.input.shape):
            wanted = "x".join(map(str, card.input.shape))
            given = "x".join(map(str, x.shape))
            raise ValueError(f"The model takes int8 of {wanted}, not {x.dtype} of {given}")
        return _writes(card.input.layout.address, card.input.pack(x))

    def _answer(self, replies: Sequence[Reply], reads: Sequence[Request]) -> tuple[Result, bytes]:
        """The engine's result and the memory that ``reads``, the last requests, ask for."""
        before = len(replies) - len(reads)
        for reply in replies[:before]:
            self._check(reply, "the run failed")
        data = b"".join(self._payload(*pair) for pair in zip(replies[before:], reads))
        try:
            result = Result.unpack(data[: Result.BYTES])
        except ValueError as error:
            raise LinkError(f"the board's answer makes no sense: {error}") from error
        if result.error != EngineError.NONE:
            raise BoardError(f"the engine stopped: {result.error.name}")
        return result, data[Result.BYTES :]

    def classify(
        self,
        images: Iterable[str | os.PathLike[str] | Image | npt.NDArray[np.uint8]],
        invert: bool | None = None,
    ) -> Iterator[Classification]:
        """Classify pictures: files, Pillow images, or arrays of uint8 pixels.

        Parameters
        ----------
        images : iterable
        invert : bool or None
            Whether to exchange bright and dark; None: where the model seems to need it.

        Raises
        ------
        PictureError
            If a picture cannot be read.
        """
        from .. import pictures

        card = self._require_model()
        inputs = (pictures.to_input(image, card, invert) for image in images)
        for inference in self.run_many(inputs):
            yield classification(card, inference)


def _finish(card: ModelCard, logits: Int8Array) -> Int8Array:
    """The softmax that the host computes, exactly as the reference does."""
    if card.softmax is None:
        return logits
    from model.int8 import fixed_point

    try:
        return fixed_point.softmax(logits, card.output.scale, card.softmax.beta)
    except ValueError as error:
        raise BoardError(f"the board's model cannot be used: {error}") from error


def classification(card: ModelCard, inference: Inference) -> Classification:
    """Tell an inference in the model's classes."""
    flat = inference.output.reshape(-1).astype(np.float64)
    if card.softmax is not None:
        scores = (flat + 128) / 256
    else:
        scores = (flat - card.output.zero_point) * card.output.scale
    index = int(inference.output.reshape(-1).argmax())
    return Classification(index, card.label(index), scores, inference)
