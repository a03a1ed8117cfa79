"""The table of the boards' builds."""

from __future__ import annotations

import pytest

from boards.build.report import BuildError, BuildReport
from boards.catalog import BOARDS
from docs import boards_table as table

DOCUMENT = "before\n<!-- python -m docs.boards_table -->\n{}\n<!-- end -->\nafter\n"


def report(name, **values):
    made = {
        "board": name,
        "device": "a device",
        "bitstream": "eyespot.bit",
        "sha256": "",
        "source_hash": "0badcafe",
        "frequency_mhz": 36.0,
        "fmax_mhz": 37.25,
        "timing_met": True,
        "resources": {"ICESTORM_LC": (4719, 5280)},
        "seed": 1,
        "tools": {"yosys": "0.70", "nextpnr": "0.11"},
        "date": "2026-11-24",
        "seconds": 1.0,
        "tried": {1: 37.25},
    }
    return BuildReport(**(made | values))


@pytest.fixture
def document(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").mkdir()
    path = tmp_path / "docs" / "boards.md"
    path.write_text(DOCUMENT.format("nothing yet"))
    return path


def save(tmp_path, made):
    directory = tmp_path / "build" / made.board
    directory.mkdir(parents=True, exist_ok=True)
    made.save(directory)


def rows(document):
    lines = document.read_text().splitlines()
    assert lines[0] == "before" and lines[-1] == "after"
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[2:-2]]
    assert len({len(row) for row in cells}) == 1
    return {row[0].strip("`"): dict(zip(cells[0], row, strict=True)) for row in cells[2:]}


def test_a_row_for_every_board(document, tmp_path):
    save(tmp_path, report("icebreaker"))
    save(tmp_path, report("upduino", fmax_mhz=18.0, timing_met=False))
    assert table.main([]) == 0
    found = rows(document)
    assert list(found) == [each.name for each in BOARDS]
    row = found["icebreaker"]
    assert row["Fmax"] == "37.2 of 36 MHz" and row["logic"] == "4,719 of 5,280"
    assert (row["seed"], row["built"]) == ("1", "2026-11-24, 0.70 0.11, `0badcafe`")
    assert found["upduino"]["Fmax"] == "18.0 of 36 MHz (missed)"
    # What misses its clock is counted at what it reaches; what is not built, at its clock.
    assert float(row["mnist/s"]) == pytest.approx(2 * float(found["upduino"]["mnist/s"]), rel=0.01)
    assert found["icesugar"]["Fmax"] == "not built"
    assert found["icesugar"]["mnist/s"] == row["mnist/s"]


def test_boards_that_are_not_in_build_keep_their_rows(document, tmp_path):
    save(tmp_path, report("icebreaker"))
    save(tmp_path, report("upduino"))
    assert table.main([]) == 0
    first = rows(document)
    (tmp_path / "build" / "icebreaker" / "report.json").unlink()
    save(tmp_path, report("upduino", seed=2))
    assert table.main([]) == 0
    second = rows(document)
    assert second["icebreaker"] == first["icebreaker"]
    assert (first["upduino"]["seed"], second["upduino"]["seed"]) == ("1", "2")
    # With another model the row keeps what it says of the build, and has no rate.
    assert table.main(["--model", "digits"]) == 0
    third = rows(document)
    assert third["icebreaker"] == {
        heading: cell for heading, cell in first["icebreaker"].items() if heading != "mnist/s"
    } | {"digits/s": ""}
    assert third["upduino"]["digits/s"]


def test_no_models_rates_are_lost_unasked(document, tmp_path, monkeypatch, capsys):
    """A table that also has another model's rates stays, and nothing is built for it."""
    save(tmp_path, report("icebreaker"))
    assert table.main(["--model", "mnist", "--model", "digits"]) == 0
    before = document.read_text()
    monkeypatch.setattr(table, "build", lambda *_, **__: pytest.fail("built"))
    capsys.readouterr()
    assert table.main(["--build", "icebreaker"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "also has rates of digits: name all its models with --model" in line
    assert document.read_text() == before
    assert table.main(["--model", "mnist"]) == 0
    assert list(rows(document)["icebreaker"])[-1] == "mnist/s"


def test_seeds_that_were_tried(document, tmp_path):
    tried = {1: 35.0, 2: None, 3: 38.0, 4: 36.0}
    save(tmp_path, report("icebreaker", seed=3, fmax_mhz=38.0, tried=tried))
    assert table.main([]) == 0
    seeds = "1 to 4: 35.0 to 38.0 MHz, median 36.0, 2 of 4 met"
    assert rows(document)["icebreaker"]["seed"] == f"3 ({seeds})"
    made = BuildReport.load(tmp_path / "build" / "icebreaker")
    assert made.tried == tried
    assert f"seeds {seeds}" in made.describe()


def test_a_board_that_fails_does_not_stop_the_others(document, monkeypatch, capsys):
    asked = []

    def build(board, *, output, seeds, jobs, scheduler, progress):
        asked.append((board.name, seeds))
        if board.name == "icesugar":
            raise BuildError("no place")
        made = report(board.name, timing_met=board.name != "upduino")
        output.mkdir(parents=True)
        made.save(output)
        return made

    monkeypatch.setattr(table, "build", build)
    assert table.main(["--build", "icesugar", "icebreaker"]) == 1
    assert asked == [("icesugar", None), ("icebreaker", None)]
    assert "docs.boards_table: error: icesugar: no place" in capsys.readouterr().err
    assert rows(document)["icebreaker"]["built"]
    assert table.main(["--build", "--seeds", "3", "icebreaker-flash", "ulx3s-25f-flash"]) == 0
    assert asked[2:] == [("icebreaker-flash", range(1, 4)), ("ulx3s-25f-flash", range(1, 4))]
    assert table.main(["--build", "upduino"]) == 1


@pytest.mark.parametrize("content", ["", DOCUMENT.replace("<!-- end -->", "")])
def test_without_a_table_nothing_is_written(document, capsys, content):
    document.write_text(content)
    assert table.main([]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "no table to replace" in line
    assert document.read_text() == content


def test_wrong_arguments_are_one_line(document, capsys):
    assert table.main(["no-such-board"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "there is no board 'no-such-board'" in line
    with pytest.raises(SystemExit):
        table.main(["--seeds", "0"])
    assert "must be positive, not 0" in capsys.readouterr().err
