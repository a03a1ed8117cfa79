"""A simulated board that cannot keep what it holds says so, and where it looked."""

from __future__ import annotations

import os

import pytest

from host.link.ports import open_port
from host.simulation import port as port_module


class SilentBackend:
    """A board that does nothing, for ports that are only opened and closed."""

    name, flash, cycles, pending = "amaranth", None, 0, 0

    def set_bit_cycles(self, cycles: float) -> None:
        pass

    def snapshot(self) -> bytes:
        return b"state"

    def restore(self, state: bytes) -> None:
        assert state == b"state"

    def close(self) -> None:
        pass


@pytest.fixture(autouse=True)
def silent_board(monkeypatch):
    monkeypatch.setattr(
        port_module.SimulatedPort, "_start", lambda self, description, address: SilentBackend()
    )


def test_no_place_for_the_state_is_said_when_the_port_opens(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("I am no folder")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    open_port("sim").close()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("The simulated board forgets what it holds when this program ends: ")
    assert f"{tmp_path / 'file' / 'eyespot' / 'boards'} cannot be written" in lines[0]


def test_a_state_that_cannot_be_written_in_the_end_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    port = open_port("sim")

    def full(path, data):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(port_module, "write_atomically", full)
    port.close()
    (line,) = capsys.readouterr().err.splitlines()
    assert "forgets" in line and ".state cannot be written: No space left" in line


def test_a_board_that_need_not_remember_says_nothing(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").write_text("I am no folder")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    open_port("sim://icebreaker?memory=fresh").close()
    assert capsys.readouterr().err == ""
