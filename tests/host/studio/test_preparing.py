"""The simulated board is compiled by another process, once."""

from __future__ import annotations

import subprocess

import pytest

from host.studio import preparing


@pytest.fixture
def started(monkeypatch, tmp_path):
    """The addresses for which a process was started; the first one fails."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    found = []

    def run(command, **options):
        found.append(command[-1])
        return subprocess.CompletedProcess(command, 1 if len(found) == 1 else 0)

    monkeypatch.setattr(subprocess, "run", run)
    return found


def test_it_is_prepared_once(started):
    for _ in range(4):
        preparing.prepare_board("sim")
    # The first process failed; of the second there is a note.
    assert started == ["sim://?memory=fresh"] * 2
    preparing.prepare_board("sim://ulx3s-12f?memory=kept")
    assert started[2:] == ["sim://ulx3s-12f?memory=fresh"]


def test_other_ports_need_nothing(started):
    for port in ("/dev/ttyUSB1", "COM3", "sim://icebreaker?netlist=build", "sim://x?none=1"):
        preparing.prepare_board(port)
    assert started == []
