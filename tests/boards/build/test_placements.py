"""Seeds placed on this machine and by a cluster's workers, with a script for the tools."""

from __future__ import annotations

import json
import threading

import pytest

from boards.build import builder, cli
from boards.icebreaker import BOARD

#: What the tools leave, by the seed; the third one finds no place.
SCRIPT = """\
cat eyespot.json eyespot.pcf > eyespot.asc
echo "seed $EYESPOT_SEED" >> eyespot.asc
cp eyespot.asc eyespot.bin
echo "Info: ICESTORM_LC: 4700/ 5280 89%" > eyespot.tim
echo "Info: Max frequency for clock 'clk': $((36 + EYESPOT_SEED * 5 % 7)).00 MHz" >> eyespot.tim
test $EYESPOT_SEED != 3 || { echo "ERROR: Unable to find legal placement" > build.log; exit 1; }
"""


@pytest.fixture
def tools(monkeypatch, tmp_path):
    """The versions of the tools, by the thread that asks: the main one, and workers."""
    monkeypatch.chdir(tmp_path)
    found = {"here": {"yosys": "0.70"}, "there": {"yosys": "0.70"}}

    def synthesize(board, *, output, frequency_mhz, progress):
        output.mkdir(parents=True, exist_ok=True)
        for name, content in {"build.sh": SCRIPT, "eyespot.json": "{}", "eyespot.pcf": "#"}.items():
            (output / name).write_text(content)
        return builder.Netlist(board, 36e6, output, "build.sh", {}, found["here"])

    def versions(technology, environment):
        assert threading.current_thread() is not threading.main_thread()
        return found["there"]

    monkeypatch.setattr(builder, "synthesize", synthesize)
    monkeypatch.setattr(builder, "find_tools", lambda technology: {})
    monkeypatch.setattr(builder, "versions", versions)
    return found


def built(capsys, folder, *words):
    """The report, without times and places, and the files."""
    command = ["build", "--seeds", "8", "--json", "--output", folder, *words]
    assert cli.main(BOARD, command) == 0
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    for each in ("seconds", "bitstream"):
        del report[each]
    from pathlib import Path

    files = {path.name: path.read_bytes() for path in Path(folder).iterdir()}
    del files["report.json"]
    return report, files, sorted(captured.err.splitlines())


def test_workers_make_what_this_machine_makes(tools, local, capsys, tmp_path):
    here = built(capsys, "here", "--jobs", "2")
    there = built(capsys, "there", "--scheduler", local.scheduler_address)
    assert here == there
    report, files, _ = here
    assert (report["seed"], report["fmax_mhz"], report["tried"]["3"]) == (4, 42.0, None)
    assert files["eyespot.bin"] == b"{}#seed 4\n"
    assert not list(tmp_path.glob("placement-*"))


def test_workers_with_other_tools(tools, local, capsys):
    tools["there"] = {"yosys": "0.71"}
    words = ["build", "--seeds", "2", "--scheduler", local.scheduler_address]
    assert cli.main(BOARD, words) == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.endswith("a worker has other tools (yosys 0.71) than this machine (yosys 0.70)")


def test_no_scheduler(tools, monkeypatch, capsys):
    pytest.importorskip("distributed", reason="the extra `cluster` is not installed")
    monkeypatch.setattr("model.cluster._CONNECT", 0.2)
    assert cli.main(BOARD, ["build", "--seeds", "2", "--scheduler", "tcp://127.0.0.1:9"]) == 1
    errors = capsys.readouterr().err.splitlines()
    assert errors[-1].startswith("boards.icebreaker: error: tcp://127.0.0.1:9: no scheduler")
    assert len(errors) == 1, "before the long work"
