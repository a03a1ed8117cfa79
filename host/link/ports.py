"""Serial ports by name: ``/dev/ttyUSB1``, ``COM3``, any pyserial URL, ``sim``, ``sim://BOARD``."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass

import serial
import serial.tools.list_ports

from gateware.interface.protocol import RESET_BAUD
from model.errors import EyespotError, reason

from ..errors import PortError

__all__ = ["PortDescription", "list_ports", "open_port", "split_host", "split_ports"]

#: Where pyserial looks for what ``sim://`` means.
_HANDLERS = "host.simulation"
_WRITE_TIMEOUT = 10.0

#: USB serial adapters of the supported boards, by (vendor, product).
_ADAPTERS = {
    (0x0403, 0x6010): "FT2232H: iCEBreaker, ECPIX-5",
    (0x0403, 0x6015): "FT231X: ULX3S",
    (0x0403, 0x6014): "FT232H: UPduino",
    (0x1D50, 0x602B): "iCESugar",
    (0x1209, 0x5AF0): "OrangeCrab",
}


@dataclass(frozen=True)
class PortDescription:
    """A serial port of this machine.

    Attributes
    ----------
    device : str
        What ``--port`` takes.
    description : str
    likely : bool
        It is of a kind that is on a supported board.
    """

    device: str
    description: str
    likely: bool


def list_ports() -> list[PortDescription]:
    """Serial ports that may be boards, likely ones first."""
    found = []
    for port in serial.tools.list_ports.comports():
        adapter = _ADAPTERS.get((port.vid or 0, port.pid or 0))
        if port.vid is None and port.device.startswith("/dev/ttyS"):
            continue  # a PC's own ports, mostly not even there
        description = adapter or (port.description if port.description != "n/a" else "")
        found.append(PortDescription(port.device, description, adapter is not None))
    return sorted(found, key=lambda each: (not each.likely, each.device))


def split_ports(names: str) -> list[str]:
    """Ports with commas between them; those in the address of a simulated board are its own.

    >>> split_ports("/dev/ttyUSB0,/dev/ttyUSB1")
    ['/dev/ttyUSB0', '/dev/ttyUSB1']
    """
    if names.lower().startswith("sim"):
        return [names]
    return list(dict.fromkeys(name for name in names.split(",") if name)) or [names]


def split_host(name: str) -> tuple[str, str]:
    """The machine that a port of a cluster's is at, empty if none is named, and its name there.

    >>> split_host("lab2:/dev/ttyUSB1"), split_host("socket://lab2:4000")
    (('lab2', '/dev/ttyUSB1'), ('', 'socket://lab2:4000'))
    """
    host, colon, rest = name.partition(":")
    return (host, rest) if colon and not rest.startswith("//") else ("", name)


def _reason(name: str, error: Exception) -> str:
    if isinstance(error, ValueError):  # pyserial's word on a URL
        return f"{name}: {reason(error)}"
    code = getattr(error, "errno", None)
    text = str(error).lower()
    if code == errno.ENOENT or "no such file" in text or "filenotfounderror" in text:
        return f"{name}: there is no such port (`host ports` lists those that there are)"
    if "exclusively lock" in text or code in (errno.EBUSY, errno.EAGAIN):
        return f"{name}: the port is in use by another program"
    if code == errno.EACCES or "permission" in text:
        hint = " (on Linux, your user must be in the group dialout)" if os.name == "posix" else ""
        return f"{name}: no permission to open the port, or it is in use{hint}"
    if "inappropriate ioctl" in text or "is a directory" in text:
        return f"{name}: this is no serial port (`host ports` lists those that there are)"
    return f"{name}: cannot be opened: {reason(error)}"


def _hurry(port: serial.SerialBase) -> None:
    """Let a USB adapter's driver pass on answers at once, where it can be told to.

    Some wait for more bytes, 16 ms by default, and all that takes turns with the board would wait
    for that.
    """
    set_low_latency = getattr(port, "set_low_latency_mode", None)
    if set_low_latency is None:
        return
    try:
        set_low_latency(True)
    except Exception:  # what drivers say that cannot is in no list, and no matter
        return


def open_port(name: str) -> serial.SerialBase:
    """Open a port for one program alone, at the rate that boards have after reset.

    Raises
    ------
    PortError
        If it does not exist, is in use, or cannot be opened for another reason.
    """
    if name == "sim":
        name = "sim://"
    if _HANDLERS not in serial.protocol_handler_packages:
        serial.protocol_handler_packages.append(_HANDLERS)
    try:
        port = serial.serial_for_url(name, do_not_open=True)
        port.baudrate = RESET_BAUD
        scheme = name.partition("://")[0].lower()
        if scheme != "rfc2217":  # pyserial's port refuses every time-out of writing
            port.write_timeout = _WRITE_TIMEOUT
        # Behind a bare socket, the rate is set at the other end, for good.
        port.has_fixed_rate = scheme == "socket"
        if os.name == "posix" and "://" not in name:
            port.exclusive = True
        port.open()
        _hurry(port)
    except EyespotError:
        raise  # of a simulated board
    except Exception as error:  # what pyserial's ports raise is in no list
        raise PortError(_reason(name, error)) from error
    return port
