"""A board's memory over the link: written, read, and checked, which makes an image valid."""

from __future__ import annotations

from gateware.interface.layout import TensorLayout
from gateware.interface.protocol import MAX_PAYLOAD, MAX_READ, Opcode, Result, Status

from ..errors import BoardError, LinkError
from ..link.framing import Reply, Request
from ..link.link import Link

__all__ = [
    "REFUSALS",
    "BoardMemory",
    "checked",
    "payload_of",
    "read_request",
    "read_requests",
    "write_requests",
]

#: What a status other than OK means, behind "the board says that".
REFUSALS = {
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


def read_request(opcode: Opcode, address: int, count: int) -> Request:
    """READ or RESULT of so many bytes, 1 to ``MAX_READ``."""
    extra = Result.BYTES if opcode == Opcode.RESULT else 0
    return Request(opcode, address, bytes([count]), reply_bytes=extra + count)


def read_requests(layout: TensorLayout, first: Opcode = Opcode.READ) -> list[Request]:
    """Requests for a tensor, the first of which may be RESULT."""
    end = layout.address + layout.size
    return [
        read_request(
            first if address == layout.address else Opcode.READ,
            address,
            min(MAX_READ, end - address),
        )
        for address in range(layout.address, end, MAX_READ)
    ]


def write_requests(address: int, data: bytes) -> list[Request]:
    """WRITEs that together put ``data`` at ``address``."""
    return [
        Request(Opcode.WRITE, address + start, data[start : start + MAX_PAYLOAD])
        for start in range(0, len(data), MAX_PAYLOAD)
    ]


def checked(reply: Reply, what: str) -> None:
    """Raise BoardError, beginning with ``what``, if the board refused."""
    if reply.status != Status.OK:
        raise BoardError(f"{what}: the board says that {REFUSALS[reply.status]}")


def payload_of(reply: Reply, request: Request) -> bytes:
    """What a READ or RESULT brought; raise BoardError or LinkError if it is not what was asked."""
    checked(reply, f"{request.opcode.name} failed")
    if len(reply.payload) != request.reply_bytes:
        raise LinkError(f"the answer to {request.opcode.name} has the wrong length")
    return reply.payload


class BoardMemory:
    """The memory behind a link.

    Parameters
    ----------
    link : Link
        Connected.
    """

    def __init__(self, link: Link) -> None:
        self.link = link

    def now(self) -> float:
        """Seconds, in the time of the board: simulated where it is."""
        return self.link.now()

    def check_image(self, count: int) -> bool:
        """Whether memory begins with ``count`` bytes that end with their CRC: a valid image.

        Raises
        ------
        BoardError
            If the board cannot check so many bytes, or is busy.
        """
        (reply,) = next(self.link.exchange([[Request(Opcode.CHECK, count)]]))
        if reply.status == Status.CRC_MISMATCH:
            return False
        checked(reply, "the check failed")
        return True

    def write(self, address: int, data: bytes) -> None:
        """Write bytes to memory; writing into a valid image invalidates it.

        Raises
        ------
        BoardError
            If the board refuses: outside its memory, or into an image that runs.
        """
        for (reply,) in self.link.exchange([each] for each in write_requests(address, data)):
            checked(reply, "WRITE failed")

    def read(self, address: int, count: int) -> bytes:
        """Bytes of memory.

        Raises
        ------
        BoardError
            If the board refuses: outside its memory.
        LinkError
            If the answer has another length.
        """
        requests = read_requests(TensorLayout(address, 1, count, 1, count))
        replies = self.link.exchange([each] for each in requests)
        return b"".join(payload_of(reply, one) for one, (reply,) in zip(requests, replies))
