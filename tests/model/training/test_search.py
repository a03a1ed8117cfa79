"""A search for the best size: candidates, what is kept of them, and what is chosen."""

from __future__ import annotations

import json
import random

import pytest

from host import cli
from model.datasets import datasets
from model.training import search
from model.training.recipes import Size, recipe
from model.training.search import Candidate, Folder, candidates, front, train_candidate


def test_candidates():
    found = candidates(26, seed=3)
    assert len({each.name for each in found}) == 26
    assert found[0] == Candidate(Size(), 3) and {each.seed for each in found} == {3, 4, 5}
    assert candidates(7, 3) == found[:7]


@pytest.mark.parametrize("name", ["patterns", "digits", "mnist-5k"])
def test_sizes(name):
    dataset = datasets.load(name)

    def channels(size: Size) -> list[int]:
        layers = recipe(dataset, size).layers
        return [each.filters for each in layers if hasattr(each, "filters")]

    usual = channels(Size())
    different = {tuple(channels(each.size)) for each in candidates(12)}
    assert len(different) == 12 or len(usual) == 1
    assert channels(Size(fewer=1)) == usual[: max(1, len(usual) - 1)]
    assert channels(Size(fewer=9)) == usual[:1]
    wide = channels(Size(width=2))
    assert len(wide) == len(usual) and all(each % 2 == 0 for each in wide)
    assert all(abs(each - 2 * one) <= 2 for each, one in zip(wide, usual))
    assert set(channels(Size(width=0.01))) == {2}


def test_front():
    rng = random.Random(1)
    for _ in range(100):
        points = [(rng.randrange(1, 9), rng.randrange(9) / 8) for _ in range(rng.randrange(1, 12))]
        found = front(points)
        assert [points[each] for each in found] == sorted(points[each] for each in found)
        for cycles, right in points:
            # Each point is beaten, or met, by one of the front.
            assert any(points[each][0] <= cycles and points[each][1] >= right for each in found)
        for each in found:
            assert not any(
                cycles <= points[each][0]
                and right >= points[each][1]
                and (cycles, right) != points[each]
                for cycles, right in points
            )


def test_a_folder_gives_back_what_belongs_to_the_search(tmp_path):
    dataset = datasets.load("patterns")
    candidate = candidates(1)[0]
    data, report = train_candidate("patterns", candidate, {"epochs": 1})
    folder = Folder(tmp_path, dataset, {"epochs": 1})
    assert folder.load(candidate) is None
    folder.save(candidate, data, report)
    found = folder.load(candidate)
    assert found is not None and found.report == report
    assert found.data == data and found.graph.parameters == report["parameters"]
    assert Folder(tmp_path, dataset, {"epochs": 2}).load(candidate) is None
    assert Folder(tmp_path, datasets.load("digits"), {"epochs": 1}).load(candidate) is None
    file = tmp_path / f"{candidate.name}.tflite"
    file.write_bytes(data[:-1])
    assert folder.load(candidate) is None
    file.write_bytes(data)
    file.with_suffix(".json").write_text('{"search"')
    assert folder.load(candidate) is None


@pytest.fixture
def here(monkeypatch):
    """Trainings in this process, counted."""
    from model import executor

    trained = []

    def train(dataset, candidate, options):
        trained.append(candidate.name)
        return train_candidate(dataset, candidate, options)

    monkeypatch.setattr(executor, "Processes", executor.Threads)
    monkeypatch.setattr(search, "train_candidate", train)
    return trained


def searched(capsys, tmp_path, *words, status=0):
    command = [
        "train",
        "patterns",
        "-o",
        str(tmp_path / "d.tflite"),
        "--epochs",
        "2",
        "--jobs",
        "1",
    ]
    assert cli.main([*command, "--search", *words, "--json"]) == status
    return json.loads(capsys.readouterr().out)


def test_search(here, capsys, tmp_path):
    report = searched(capsys, tmp_path, "3", "--board", "icebreaker")
    lines = report["networks"]
    assert len(lines) == len(here) == 3
    assert [each["cycles"] for each in lines] == sorted(each["cycles"] for each in lines)
    best = next(each for each in lines if each["name"] == report["best"])
    assert not any(each["validation_accuracy"] > best["validation_accuracy"] for each in lines)
    assert best["name"] == report["best"] and best["front"]
    saved = tmp_path / "d.search" / f"{best['name']}.tflite"
    assert (tmp_path / "d.tflite").read_bytes() == saved.read_bytes()
    assert (tmp_path / "d.search" / "front.png").read_bytes().startswith(b"\x89PNG")
    # With more of them, and another board, nothing is trained again.
    saved.unlink()
    again = searched(capsys, tmp_path, "4", "--board", "ulx3s-85f", "--resume")
    assert len(again["networks"]) == 4 and sorted(here[3:]) == sorted({best["name"], here[-1]})
    shared = {each["name"]: each["int8_accuracy"] for each in again["networks"]}
    assert all(shared[each["name"]] == each["int8_accuracy"] for each in lines)


def test_what_a_search_refuses(capsys, tmp_path):
    def error(*words):
        return searched(capsys, tmp_path, *words, status=1)["error"]

    assert "--search needs --board" in error("3")
    assert "no board 'none'" in error("3", "--board", "none")
    assert "--checkpoint means nothing to `host train patterns --search`" in error(
        "3", "--board", "icebreaker", "--checkpoint", "x.npz"
    )
    command = ["train", "digits", "-o", str(tmp_path / "d.tflite"), "--jobs", "2"]
    assert cli.main(command) == 1
    assert "--jobs means nothing" in capsys.readouterr().err
