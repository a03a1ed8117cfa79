"""What is compiled is compiled once, kept, and found out in time if it cannot be."""

from __future__ import annotations

import os
import sys
import threading
import time

import pytest

from host.simulation.backends import toolchain
from host.simulation.backends.toolchain import CompileError, clean, compiled_once, run
from host.simulation.cache import Lock


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "eyespot" / "simulators"


def making(made: list[str], name: str = "one"):
    def make(directory):
        made.append(name)
        (directory / "made").write_bytes(name.encode())
        return directory / "made"

    return make


def test_made_once_and_kept(cache):
    made: list[str] = []
    for _ in range(2):
        assert compiled_once("name", making(made)).read_bytes() == b"one"
    assert made == ["one"]
    assert [file.name for file in cache.iterdir()] == ["name.so"]


def test_a_failure_leaves_nothing(cache):
    def make(directory):
        raise CompileError("the compiler has a cold")

    with pytest.raises(CompileError, match="a cold"):
        compiled_once("name", make)
    assert not list(cache.iterdir())


def test_a_cache_that_cannot_be_written_is_found_out_first(cache, monkeypatch):
    cache.parent.mkdir(parents=True)
    cache.write_text("I am no folder")
    made: list[str] = []
    with pytest.raises(CompileError, match="the cache .*simulators cannot be written: .*XDG_CACHE"):
        compiled_once("name", making(made))
    assert not made


def test_the_second_waits_for_the_first_and_says_so(cache, capsys, monkeypatch):
    monkeypatch.setattr(toolchain, "_POLL_SECONDS", 0.01)
    begun, go_on = threading.Event(), threading.Event()
    made: list[str] = []

    def slow(directory):
        begun.set()
        assert go_on.wait(10)
        return making(made)(directory)

    first = threading.Thread(target=compiled_once, args=("name", slow))
    first.start()
    assert begun.wait(10)
    found = []
    second = threading.Thread(
        target=lambda: found.append(compiled_once("name", making(made, "two")))
    )
    second.start()
    said = ""
    while "Waiting" not in said:
        said += capsys.readouterr().err
        time.sleep(0.01)
    assert not found
    go_on.set()
    first.join()
    second.join()
    assert made == ["one"] and found[0].read_bytes() == b"one"
    assert said.count("Waiting for another program") == 1


def test_where_files_cannot_be_locked_it_compiles_all_the_same(cache, monkeypatch):
    def refuse(self):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(Lock, "_take", refuse)
    made: list[str] = []
    assert compiled_once("name", making(made)).exists() and made == ["one"]


def test_old_entries_go_and_the_oldest_of_too_many(tmp_path, monkeypatch):
    monkeypatch.setattr(toolchain, "_KEEP_BYTES", 250)
    now = time.time()
    days = {"new": 0, "week": 7, "fortnight": 14, "year": 365}
    for name, age in days.items():
        (tmp_path / name).write_bytes(bytes(100))
        os.utime(tmp_path / name, (now - age * 86400,) * 2)
    clean(tmp_path, keep=tmp_path / "new")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["new", "week"]
    clean(tmp_path, keep=tmp_path / "year")
    monkeypatch.setattr(toolchain, "_KEEP_BYTES", 0)
    clean(tmp_path, keep=tmp_path / "week")
    assert [file.name for file in tmp_path.iterdir()] == ["week"]


def test_use_makes_an_entry_young(cache):
    library = compiled_once("name", making([]))
    os.utime(library, (0, 0))
    compiled_once("name", making([]))
    assert time.time() - library.stat().st_mtime < 60


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("print('Preparing to run it'); print('ERROR: no such cell'); exit(1)", "ERROR: no such"),
        ("import os; os.mkdir('/dev/null/x')", "NotADirectoryError: .*"),
        ("print('In file x:'); print('x:1: error: no'); print('note'); exit(1)", "x:1: error: no"),
        ("exit(3)", "exit status 3"),
    ],
)
def test_a_failure_is_told_by_the_line_that_says_why(tmp_path, script, reason):
    with pytest.raises(CompileError, match=f" failed: {reason}"):
        run([sys.executable, "-c", script], tmp_path)
