"""The builder's command line; what the tools do is in a bitstream's build."""

from __future__ import annotations

import json

import pytest

from boards import builder
from boards.icebreaker import BOARD


def report(seed, fmax):
    return builder.BuildReport(
        board="icebreaker",
        device="iCE40UP5K-SG48",
        bitstream="eyespot.bin",
        frequency_mhz=36.0,
        fmax_mhz=fmax,
        timing_met=fmax >= 36,
        resources={},
        seed=seed,
        seconds=1.0,
    )


@pytest.fixture
def built(monkeypatch):
    """What each seed's build gives: a frequency, or None where there is no placement."""
    outcomes: dict[int, float | None] = {}

    def build(board, output, seed, frequency_mhz, progress):
        fmax = outcomes[seed]
        if fmax is None:
            raise builder.PlacementError("icebreaker: ERROR: Unable to find legal placement")
        return report(seed, fmax)

    monkeypatch.setattr(builder, "build", build)
    return outcomes


def test_first_seed_that_meets_timing_is_taken(built, capsys):
    built.update({1: None, 2: 35.0, 3: 37.0})
    assert builder.main(BOARD, ["build", "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["seed"] == 3
    assert captured.err.splitlines() == ["Seed 1: found no placement", "Seed 2: 35.00 MHz"]


@pytest.mark.parametrize("outcomes", [{1: None, 2: 30.0, 3: 30.0, 4: None}, {7: None}])
def test_no_placement_is_one_line(built, capsys, outcomes):
    built.update(outcomes)
    seed = ["--seed", "7"] if 7 in outcomes else []
    assert builder.main(BOARD, ["build", *seed]) == 1
    assert "Unable to find legal placement" in capsys.readouterr().err.splitlines()[-1]


def test_missed_timing_is_an_error(built, capsys):
    built.update({1: 30.0, 2: 31.0, 3: 32.0, 4: 33.0})
    assert builder.main(BOARD, ["build"]) == 1
    assert "timing missed: 33.00 MHz, 36 MHz wanted" in capsys.readouterr().err
