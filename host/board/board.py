"""The public API: a board at a serial port, and the model in it.

>>> from host.board import Board
>>> with Board.open("sim") as board:
...     compiled = board.load("digits")
...     for answer in board.classify(["three.png", "seven.png"]):
...         print(answer.label, answer.inference.cycles > 0)
3 True
7 True

`docs/api.md` lists what is public.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from gateware.interface.image import HEADER_BYTES, ImageHeader, read_metadata
from gateware.interface.layout import TensorLayout
from gateware.interface.protocol import Info, StallCause, State, Status

from ..errors import BoardError, LinkError
from ..link.line import Port
from ..link.link import Link
from ..link.ports import open_port
from ..model_card import ModelCard
from .classes import Classification, classification
from .flash import BoardFlash
from .flash_slots import FlashError, Slot
from .inference import Example, Inference, LayerRun, Progress, Runner
from .memory import REFUSALS, BoardMemory, checked, write_requests

if TYPE_CHECKING:
    from PIL.Image import Image

    from model.int8.graph import Graph

    from ..compiler import CompiledModel
    from ..listening import Event, Parameters
    from ..listening.features import Samples

__all__ = ["Board"]


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
    memory : BoardMemory
        Its memory, to read and write.
    flash : BoardFlash or None
        Its flash, if models can lie in it.
    """

    def __init__(self, link: Link) -> None:
        if link.info is None:
            raise ValueError("The link must be connected")
        self.link = link
        self.info: Info = link.info
        try:
            self.configuration = self.info.configuration
        except ValueError as error:
            raise LinkError(f"the board's description of itself is wrong: {error}") from error
        #: Of the model in memory; None if there is none.
        self._runner: Runner | None = None
        self._model_is_known = False
        self.memory = BoardMemory(link)
        self.flash = (
            BoardFlash(self.memory, self.configuration) if self.configuration.flash else None
        )

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
            card = self._read_model()
            self._runner = None
            if card is not None:
                self._runner = Runner(self.link, card, diagnostics=self.info.diagnostics)
                self.link.run_cycles = card.cycles or self.link.run_cycles
            self._model_is_known = True
            if card is None and self.flash is not None and self.boot_flash() is not None:
                return self.model
        return self._runner.card if self._runner is not None else None

    def _read_model(self) -> ModelCard | None:
        self.info = self.link.read_info()
        if State.VALID not in self.info.state:
            return None
        try:
            header = ImageHeader.unpack(self.memory.read(0, HEADER_BYTES))
            if (header.lanes, header.pixels) != (self.info.lanes, self.info.pixels):
                raise ValueError("it was compiled for another board")
            if header.image_bytes != self.info.image_bytes or (
                header.image_bytes > self.info.memory_bytes
            ):
                raise ValueError("the image header contradicts the board")
            text = self.memory.read(header.metadata_address, header.metadata_bytes)
            return ModelCard.from_dict(read_metadata(header, text), self.info.memory_bytes)
        except ValueError as error:
            raise BoardError(f"the board's model cannot be used: {error}") from error

    def _require_runner(self) -> Runner:
        if self.model is None:
            raise BoardError(f"the board refuses to run: {REFUSALS[Status.NO_MODEL]}")
        assert self._runner is not None
        return self._runner

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
        from model import zoo

        from .. import compiler

        if isinstance(model, compiler.CompiledModel):
            compiled = model
        else:
            graph = zoo.load(model) if isinstance(model, (str, os.PathLike)) else model
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

    def _upload(self, image: bytes, progress: Progress) -> None:
        self._forget_model()
        requests = write_requests(0, image)
        replies = self.link.exchange([request] for request in requests)
        sent = 0
        for request, (reply,) in zip(requests, replies):
            checked(reply, "the upload failed")
            sent += len(request.payload)
            progress(sent, len(image))
        if not self.memory.check_image(len(image)):
            raise BoardError(f"the upload failed: {REFUSALS[Status.CRC_MISMATCH]}")

    # Inference.

    def run(self, x: Example, stall_cause: StallCause = StallCause.PIXELS) -> Inference:
        """Run the model on one example; see :meth:`run_many`."""
        return next(self.run_many([x], stall_cause))

    def run_many(
        self, inputs: Iterable[Example], stall_cause: StallCause = StallCause.PIXELS
    ) -> Iterator[Inference]:
        """Run the model on one example after the other; the next is sent while one is awaited.

        Parameters
        ----------
        inputs : iterable of ndarray, of tuple of ndarray, or of dict of str to ndarray
            The model's input, or all of them in their order or by name; taken as they are needed.
            Of the type and shape of the model's input, or int8 as the board takes it.
        stall_cause : StallCause
            What :attr:`Inference.stalls` counts.

        Raises
        ------
        BoardError
            If the board holds no model, or the engine stops with an error.
        ValueError
            If an input does not fit the model.
        """
        return self._require_runner().run_many(inputs, stall_cause)

    def reset_state(self) -> None:
        """Let the next run of a model with state be the first again.

        A model that was uploaded, or found on the board, begins so. What one run leaves, the next
        one finds, as long as this object lives.

        Raises
        ------
        BoardError
            If the board holds no model.
        """
        self._require_runner().reset_state()

    def run_layers(
        self, x: Example, layouts: Sequence[TensorLayout], progress: Progress | None = None
    ) -> list[LayerRun]:
        """Run the model once for each of its layers, up to that layer, and read what it left.

        Parameters
        ----------
        x : ndarray, tuple of ndarray, or dict of str to ndarray
            The model's inputs.
        layouts : sequence of TensorLayout
            Where each layer's output lies, in running order.
        progress : callable, optional
            Called with the layers that were run and how many there are.
        """
        return self._require_runner().run_layers(x, layouts, progress)

    def listen(
        self,
        source: str | os.PathLike[str] | Iterable[Samples],
        parameters: Parameters | None = None,
    ) -> Iterator[Event]:
        """Listen for what the model knows, from its first run on.

        Parameters
        ----------
        source : str, path, or iterable of ndarray of int16
            A WAV file, or sound of 16,000 samples a second in pieces of any size.
        parameters : Parameters, optional
            How scores become events; what is usual without them. See
            :func:`host.listening.read_parameters`.

        Yields
        ------
        Event
            As soon as the word has been heard.

        Raises
        ------
        BoardError
            If the board holds no model.
        DataError
            If the model is none that listens, the sound cannot be read, or the package for its
            features is missing.
        """
        from ..listening import Listener
        from ..listening.listener import rows_of
        from ..listening.parameters import usual
        from ..listening.sound import from_file

        runner = self._require_runner()
        blocks = from_file(source) if isinstance(source, (str, os.PathLike)) else source
        if runner.card.variables:
            runner.reset_state()
        listener = Listener(
            lambda x: self.run(x).output, runner.card, parameters or usual(rows_of(runner.card))
        )
        yield from listener.events(blocks)

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

        runner = self._require_runner()
        inputs = (pictures.to_input(image, runner.card, invert) for image in images)
        for inference in runner.run_many(inputs):
            yield classification(runner.card, inference)
