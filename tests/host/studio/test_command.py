"""`host studio` on the command line."""

from __future__ import annotations

import builtins
import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request

import pytest

pytest.importorskip("starlette", reason="the extra `studio` is not installed")
pytest.importorskip("uvicorn", reason="the extra `studio` is not installed")

from host.cli import main


def test_it_says_what_is_missing(monkeypatch, capsys):
    importing = builtins.__import__

    def without(name, *arguments, **options):
        if name.partition(".")[0] in ("starlette", "uvicorn"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return importing(name, *arguments, **options)

    for name in list(sys.modules):
        if name.startswith("host.studio"):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without)
    assert main(["studio"]) == 1
    line = "host studio needs Starlette and uvicorn: pip install 'eyespot[studio]'"
    assert capsys.readouterr().err.strip().endswith(f"error: {line}")


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["--model", "digit"], "there is no such model"),
        (["--page-port", "99999"], "port 99999 of the page cannot be used"),
    ],
)
def test_what_cannot_be_is_refused_at_once(arguments, part, capsys):
    assert main(["studio", "--no-browser", *arguments]) == 1
    assert part in capsys.readouterr().err


def test_a_port_that_is_taken(capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["studio", "--no-browser", "--page-port", str(port)]) == 1
    assert f"port {port} of the page cannot be used" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is another thing there")
def test_it_serves_until_ctrl_c(tmp_path):
    """A port that is not there is no reason to end: a board may be plugged in later."""
    command = [sys.executable, "-m", "host", "studio", "--port", "/dev/none", "--no-browser"]
    process = subprocess.Popen(
        [*command, "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stderr is not None
        address = process.stderr.readline().split()[-1]
        assert address.startswith("http://127.0.0.1:") and "token=" in address
        with urllib.request.urlopen(address) as answer:
            assert b"Eyespot Studio" in answer.read()
        os.kill(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=20)
    finally:
        process.kill()
    assert json.loads(out) == {"address": address, "port": "/dev/none"}
    assert process.returncode == 0 and "Traceback" not in err
