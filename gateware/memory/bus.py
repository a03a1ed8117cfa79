"""The byte bus by which the link's commands reach the scratchpad."""

from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out


class ByteRequest(data.Struct):
    """A write of ``data`` if ``write`` is high, otherwise a read; the address counts bytes."""

    address: 20
    write: 1
    data: 8


class ByteBusSignature(wiring.Signature):
    """Requests for single bytes and, for reads only, their responses, in order.

    Members
    -------
    request : :py:`Out(stream.Signature(ByteRequest))`
        The memory may hold ``ready`` low while the engine has precedence.
    response : :py:`In(stream.Signature(8, always_ready=True))`
        A read's byte, some cycles after its request was accepted. The requester waits for it before
        it makes another request.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "request": Out(stream.Signature(ByteRequest)),
                "response": In(stream.Signature(8, always_ready=True)),
            }
        )
