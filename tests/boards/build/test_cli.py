"""The builder's command line; what the tools do is in a bitstream's build."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

import boards
from boards.build import builder, cli, tools
from boards.build.report import BuildReport, PlacementError, parse_log
from boards.catalog import ROUTED_NETLIST
from boards.icebreaker import BOARD
from boards.ulx3s import BOARDS as ULX3S
from gateware.interface.sources import source_hash


def report(netlist, seed, fmax, content=b"bits"):
    directory = netlist.output / f"seed-{seed}"
    directory.mkdir()
    (directory / "eyespot.bin").write_bytes(content)
    return BuildReport(
        board="icebreaker",
        device="iCE40UP5K-SG48",
        bitstream=str(directory / "eyespot.bin"),
        sha256=builder.hashlib.sha256(content).hexdigest(),
        source_hash=f"{source_hash():08x}",
        frequency_mhz=36.0,
        fmax_mhz=fmax,
        timing_met=fmax >= 36,
        resources={"ICESTORM_LC": (4719, 5280)},
        seed=seed,
        tools={"yosys": "0.70"},
        date="2026-11-23",
        seconds=1.0,
    )


@pytest.fixture
def built(monkeypatch, tmp_path):
    """What each seed's placement gives: a frequency, or None where there is none."""
    monkeypatch.chdir(tmp_path)
    outcomes: dict[int, float | None] = {}

    def synthesize(board, *, output, frequency_mhz, progress):
        output.mkdir(parents=True, exist_ok=True)
        return builder.Netlist(board, 36e6, output, "build.sh", {}, {})

    def place(netlist, seed):
        fmax = outcomes[seed]
        if fmax is None:
            raise PlacementError("icebreaker: ERROR: Unable to find legal placement")
        return report(netlist, seed, fmax)

    monkeypatch.setattr(builder, "synthesize", synthesize)
    monkeypatch.setattr(builder, "place", place)
    return outcomes


@pytest.fixture
def programmer(monkeypatch, tmp_path):
    """A programmer that says what it was given and ends with the status in a file."""
    path = tmp_path / "iceprog"
    path.write_text(f'#!/bin/sh\necho "$@" > {tmp_path}/given\nexit $(cat {tmp_path}/status)\n')
    path.chmod(0o755)
    (tmp_path / "status").write_text("0")
    for variable in ("ICEPROG", "OPENFPGALOADER"):
        monkeypatch.setenv(variable, str(path))
    return tmp_path


def last_error(capsys):
    return capsys.readouterr().err.splitlines()[-1]


def test_first_seed_that_meets_timing_is_taken(built, capsys):
    built.update({1: None, 2: 35.0, 3: 37.0})
    assert cli.main(BOARD, ["build", "--json"]) == 0
    captured = capsys.readouterr()
    made = json.loads(captured.out)
    assert (made["seed"], made["tried"]) == (3, {"1": None, "2": 35.0, "3": 37.0})
    assert captured.err.splitlines()[-3:] == [
        "Seed 1: found no placement",
        "Seed 2: 35.00 MHz",
        "Seed 3: 37.00 MHz",
    ]


def test_seeds_keep_the_fastest(built, capsys, tmp_path):
    built.update({1: None, 2: 37.0, 3: 39.0, 4: 39.0, 5: 36.5})
    assert cli.main(BOARD, ["build", "--seeds", "5", "--jobs", "2", "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert (made["seed"], made["fmax_mhz"]) == (3, 39.0)
    assert made["tried"] == {"1": None, "2": 37.0, "3": 39.0, "4": 39.0, "5": 36.5}
    kept = sorted(path.name for path in (tmp_path / "build" / "icebreaker").iterdir())
    assert kept == ["eyespot.bin", "report.json"]
    assert cli.main(BOARD, ["report", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == made


@pytest.mark.parametrize("outcomes", [{1: None, 2: None, 3: None, 4: None}, {7: None}])
def test_no_placement_is_one_line(built, capsys, outcomes):
    built.update(outcomes)
    seed = ["--seed", "7"] if 7 in outcomes else []
    assert cli.main(BOARD, ["build", *seed]) == 1
    assert "Unable to find legal placement" in last_error(capsys)


def test_missed_timing_is_an_error_and_is_not_programmed(built, capsys, programmer):
    built.update({1: 30.0, 2: 31.0, 3: 33.0, 4: 32.0})
    assert cli.main(BOARD, ["build"]) == 1
    assert "timing missed: 33.00 MHz, 36 MHz wanted" in last_error(capsys)
    assert cli.main(BOARD, ["program"]) == 1
    assert "missed timing" in last_error(capsys)
    assert not (programmer / "given").exists()


def test_program_sends_what_was_built(built, capsys, programmer):
    built.update({1: 37.0})
    assert cli.main(BOARD, ["build", "--program"]) == 0
    assert (programmer / "given").read_text() == "build/icebreaker/eyespot.bin\n"
    assert f"source hash {source_hash():08x}" in last_error(capsys)
    (programmer / "status").write_text("3")
    assert cli.main(BOARD, ["program"]) == 1
    assert "failed with status 3; the board may hold a part" in last_error(capsys)


def test_program_refuses_another_bitstream(built, capsys, programmer):
    built.update({1: 37.0})
    assert cli.main(BOARD, ["program"]) == 1
    assert "build the board first" in last_error(capsys)
    assert cli.main(BOARD, ["build"]) == 0
    output = ["--output", "build/icebreaker"]
    assert cli.main(ULX3S, ["program", "--size", "12f", *output], name="ulx3s") == 1
    assert "has a bitstream for icebreaker, not for ulx3s-12f" in last_error(capsys)
    assert not (programmer / "given").exists()
    (programmer / "build" / "icebreaker" / "eyespot.bin").write_bytes(b"other")
    assert cli.main(BOARD, ["program"]) == 1
    assert "is not what its report tells of" in last_error(capsys)
    assert not (programmer / "given").exists()


def test_a_failed_build_leaves_nothing_to_program(built, capsys, programmer):
    built.update({1: 37.0, 2: None})
    assert cli.main(BOARD, ["build", "--seed", "1"]) == 0
    assert cli.main(BOARD, ["build", "--seed", "2"]) == 1
    assert cli.main(BOARD, ["program"]) == 1
    assert "build the board first" in last_error(capsys)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["build", "--size", "99F"], "there is no ulx3s of size '99F'; there are: 12F, 25F, 45F"),
        (["build"], "--size is needed: ulx3s comes as 12F, 25F, 45F, 85F"),
    ],
)
def test_size_is_one_line(capsys, arguments, text):
    assert cli.main(ULX3S, arguments, name="ulx3s") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert text in line


def test_a_board_of_one_size_takes_none(capsys):
    assert cli.main(BOARD, ["report", "--size", "85F"]) == 1
    assert "there is no icebreaker of size '85F'; it has one size only" in last_error(capsys)


@pytest.mark.parametrize("frequency", ["900", "0.5"])
def test_a_clock_that_cannot_be_made_is_one_line(capsys, tmp_path, monkeypatch, frequency):
    monkeypatch.setattr(builder, "find_tools", lambda technology: {})
    arguments = ["build", "--size", "85F", "--output", str(tmp_path), "--frequency", frequency]
    assert cli.main(ULX3S, arguments, name="ulx3s") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{frequency} MHz cannot be made of 25 MHz; the nearest is" in line


def test_missing_tools_are_named(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setattr(tools.importlib.util, "find_spec", lambda name: None)
    for variable in ("YOSYS", "NEXTPNR_ECP5", "ECPPACK", "OPENFPGALOADER"):
        monkeypatch.delenv(variable, raising=False)
    arguments = ["build", "--size", "25F", "--output", str(tmp_path / "out")]
    assert cli.main(ULX3S, arguments, name="ulx3s") == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.endswith("yosys is not installed: pip install 'eyespot[ecp5]' brings it")
    monkeypatch.setenv("YOSYS", "no-such-yosys")
    assert cli.main(ULX3S, arguments, name="ulx3s") == 1
    assert "YOSYS is 'no-such-yosys', and there is no such program" in last_error(capsys)
    assert cli.main(ULX3S, [*arguments, "--program"], name="ulx3s") == 1
    assert "openFPGALoader is not installed: apt install openfpgaloader" in last_error(capsys)


def test_the_frequency_after_routing_counts():
    log = """Info:              ICESTORM_LC:  4719/ 5280    89%
Info:                 SB_WARMBOOT:     0/    1     0%
Info: Max frequency for clock 'clk': 30.00 MHz (FAIL at 36.00 MHz)
Info: Max frequency for clock 'clk': 37.50 MHz (PASS at 36.00 MHz)
Info: Max frequency for clock 'other': 90.00 MHz (PASS at 12.00 MHz)
"""
    assert parse_log(log) == (37.5, {"ICESTORM_LC": (4719, 5280)})
    with pytest.raises(builder.BuildError, match="no clock"):
        parse_log("")


def test_a_report_that_is_none_is_one_line(capsys, tmp_path):
    for text in ("", "{}", '{"resources": 3}', "[]"):
        (tmp_path / "report.json").write_text(text)
        assert cli.main(BOARD, ["report", "--output", str(tmp_path)]) == 1
        assert "report.json: cannot be read" in last_error(capsys)


def test_simulate_starts_host_on_what_was_routed(built, capfd, tmp_path, monkeypatch):
    """The build's directory, the model and the exit status go from one process to the other."""
    monkeypatch.setenv("PYTHONPATH", str(Path(boards.__file__).parents[1]))
    built.update({1: 37.0})
    assert cli.main(BOARD, ["simulate", "--model", "no-such-model"]) == 1
    captured = capfd.readouterr()
    assert "Seed 1: 37.00 MHz" in captured.err
    assert "host: error: no-such-model: there is no such model" in captured.err
    output = tmp_path / "routed"
    output.mkdir()
    (output / ROUTED_NETLIST).write_text("{}")
    assert cli.main(BOARD, ["simulate", "--output", str(output)]) == 1
    captured = capfd.readouterr()
    assert captured.err.startswith(f"host: error: {output}") and "Seed" not in captured.err
    with pytest.raises(SystemExit):
        cli.main(BOARD, ["simulate", "--count", "0"])
