"""The flash of a board: what the link's window behind the memory can do, and models in it."""

from __future__ import annotations

from collections.abc import Callable

from gateware.interface.configuration import EngineConfiguration
from gateware.interface.flash import (
    PAGE_BYTES,
    REQUEST_BYTES,
    SECTOR_BYTES,
    SLOT_PAGES,
    FlashOperation,
    FlashStatus,
    pack_request,
)
from gateware.interface.image import HEADER_BYTES, ImageHeader, read_metadata
from gateware.interface.protocol import CRC_BYTES, MAX_PAYLOAD, Opcode, State, Status

from ..errors import BoardError
from ..link.framing import Request
from ..model_card import ModelCard
from .flash_slots import CHUNK_BYTES, FlashError, Slot, Slots
from .memory import BoardMemory

__all__ = ["BoardFlash"]

#: Seconds that erasing or programming may take: several times what datasheets allow.
_PATIENCE = 4.0


class BoardFlash:
    """Access to a board's model flash, through the window behind its memory.

    It is a :class:`.FlashDevice`.

    Parameters
    ----------
    memory : BoardMemory
        Of a board whose gateware has the window.
    configuration : EngineConfiguration
        Of that board's engine.
    """

    def __init__(self, memory: BoardMemory, configuration: EngineConfiguration) -> None:
        self._memory = memory
        self._link = memory.link
        self._memory_bytes = self._window = configuration.memory_bytes
        self._usable_bytes = configuration.usable_bytes
        self._last_page = self._window - PAGE_BYTES
        self.slots = Slots(self)

    # The window.

    def status(self) -> FlashStatus:
        """State of the flash and of the last operation."""
        request = Request(Opcode.READ, self._window, b"\1", reply_bytes=1)
        reply = self._link.request(request)
        if reply.status != Status.OK or len(reply.payload) != 1:
            raise BoardError("the board does not tell the state of its flash")
        return FlashStatus(reply.payload[0] & sum(FlashStatus))

    def require(self) -> None:
        """Raise FlashError if there is none."""
        if FlashStatus.PRESENT not in self._wait("waking up"):
            raise FlashError(
                "the board's flash does not answer as the part that its gateware expects: there "
                "is none, or another, or its quad mode is off"
            )

    def _wait(self, what: str) -> FlashStatus:
        end = self._memory.now() + _PATIENCE
        while FlashStatus.BUSY in (status := self.status()):
            if self._memory.now() > end:
                raise FlashError(f"the flash is still busy {what} after {_PATIENCE:g} seconds")
        return status

    def _carry_out(self, operation: FlashOperation, what: str, argument: int = 0) -> None:
        tag = not self._wait(what) & FlashStatus.TAG
        payload = pack_request(operation, int(tag), argument)
        assert len(payload) == REQUEST_BYTES <= MAX_PAYLOAD
        reply = self._link.request(Request(Opcode.WRITE, self._window, payload))
        if reply.status != Status.OK:
            raise BoardError("the board does not take requests for its flash")
        status = self._wait(what)
        if bool(status & FlashStatus.TAG) != tag:
            raise BoardError("the board refuses to use its flash: it is busy")
        if FlashStatus.FAILED in status and operation is not FlashOperation.SELECT:
            self.require()
            raise FlashError(
                f"the flash refused {what}: it is write-protected, or the board was reset"
            )

    # Pages of the model area.

    def erase(self, page: int) -> None:
        """Erase the page's sector."""
        self._carry_out(FlashOperation.ERASE, "erasing", page)

    def program(self, data: bytes) -> None:
        """Program the next page of the sector that was erased last."""
        self._memory.write(self._last_page, data)
        self._carry_out(FlashOperation.PROGRAM, "programming", self._last_page)

    def read(self, page: int, count: int) -> bytes:
        """Bytes from a page on; the model in memory stays what it is."""
        data = bytearray()
        while len(data) < count:
            self._seek(page)
            self._carry_out(FlashOperation.READ, "reading", self._last_page)
            data += self._memory.read(self._last_page, min(PAGE_BYTES, count - len(data)))
            page += 1
        return bytes(data)

    def _seek(self, page: int) -> None:
        self._carry_out(FlashOperation.SEEK, "reading", page)

    def load(self, page: int, count: int) -> None:
        """Copy so many bytes, and up to a sector more, to the memory's beginning."""
        self._seek(page)
        for address in range(0, count, SECTOR_BYTES):
            self._carry_out(FlashOperation.READ, "reading", address)

    # Models.

    @property
    def selected(self) -> int:
        """The slot from which a run streams."""
        return int(FlashStatus.SLOT in self.status())

    def select(self, number: int) -> None:
        """Let runs stream from this slot. The image in memory is not valid any more."""
        self._carry_out(FlashOperation.SELECT, "selecting a slot", number * SLOT_PAGES)

    def card(self, slot: Slot) -> ModelCard | None:
        """What the slot's image says of itself; None if it is damaged."""
        try:
            header = ImageHeader.unpack(self.read(slot.image_page, HEADER_BYTES))
            if header.image_bytes != slot.header.image_length:
                return None
            first, before = divmod(header.metadata_address, PAGE_BYTES)
            text = self.read(slot.image_page + first, before + header.metadata_bytes)[before:]
            return ModelCard.from_dict(read_metadata(header, text), self._memory_bytes)
        except ValueError:
            return None

    def boot(self, slot: Slot) -> bool:
        """Make a slot's model the one that runs; False if the board's CRC refuses it.

        What streams is checked first: each piece in memory, by the board, against the header.
        """
        self.select(slot.number)
        left = slot.header.stream_length
        for number, crc in enumerate(slot.header.stream_crcs):
            size = min(left, CHUNK_BYTES)
            self.load(slot.stream_page + number * CHUNK_BYTES // PAGE_BYTES, size)
            self._memory.write(size, crc.to_bytes(CRC_BYTES, "little"))
            if not self._memory.check_image(size + CRC_BYTES):
                return False
            left -= size
        self.load(slot.image_page, slot.header.image_length)
        return self._memory.check_image(slot.header.image_length)

    def boot_newest(self) -> Slot | None:
        """The newest whole model in the flash runs from now on; None if there is none."""
        self.require()
        for slot in self.slots.headers():
            if slot.header.image_length <= self._usable_bytes and self.boot(slot):
                return slot
        return None

    def running_slot(self) -> Slot | None:
        """The slot that holds the very image that is valid in memory."""
        info = self._link.read_info()
        if State.VALID not in info.state:
            return None
        here = self._memory.read(info.image_bytes - CRC_BYTES, CRC_BYTES)
        for slot in self.slots.headers():
            if slot.number == self.selected and slot.header.image_length == info.image_bytes:
                # Images are whole pages, and their CRC comes last.
                last = slot.image_page + info.image_bytes // PAGE_BYTES - 1
                if self.read(last, PAGE_BYTES)[-CRC_BYTES:] == here:
                    return slot
        return None

    def write(self, image: bytes, stream: bytes, progress: Callable[[int, int], None]) -> Slot:
        """Write a model into a slot that is neither running nor the only one to run next.

        The model in memory stays valid. A slot that holds this very model already is not written
        again. See :meth:`.Slots.update` for errors.
        """
        self.require()
        running, headers = self.running_slot(), self.slots.headers()
        if headers and headers[0].header.is_of(image, stream):
            return headers[0]
        if running is not None:
            keep = running.number
        elif headers:
            keep = headers[0].number
        else:
            keep = self.selected
        if self.selected != keep:
            # Nothing streams from the slot that is selected now: it may be erased.
            info = self._link.read_info()
            self.select(keep)
            if State.VALID in info.state:
                self._memory.check_image(info.image_bytes)
        return self.slots.update(image, stream, keep=keep, progress=progress)
