"""The byte bus by which the link's commands reach the scratchpad."""

from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out


class ByteRequest(data.Struct):
    """``write``: store ``data``; otherwise read. The address counts bytes."""

    address: 20
    write: 1
    data: 8


class ByteBusSignature(wiring.Signature):
    """Requests for single bytes and, for reads only, their answers, in order.

    Members
    -------
    request : :py:`Out(stream.Signature(ByteRequest))`
        The memory may hold ``ready`` low for as long as the engine has precedence.
    response : :py:`In(stream.Signature(8, always_ready=True))`
        A read's byte, some cycles after its request was accepted. The requester waits for it
        before it asks again.
    """

    def __init__(self) -> None:
        super().__init__(
            {
                "request": Out(stream.Signature(ByteRequest)),
                "response": In(stream.Signature(8, always_ready=True)),
            }
        )
