"""What :func:`serial.serial_for_url` looks for to open ``sim://`` addresses."""

from .port import SimulatedPort as Serial

__all__ = ["Serial"]
