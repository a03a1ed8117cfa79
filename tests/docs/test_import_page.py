"""Every command of docs/import.md runs."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from host import cli
from host.board import board as board_module
from model.datasets import datasets
from tests.host.conftest import interpreting_engine
from tests.host.fake_board import FakeBoard, FakePort

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "model" / "importing" / "data"


def blocks(language: str) -> list[str]:
    text = (ROOT / "docs" / "import.md").read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.S)


COMMANDS = [line for block in blocks("sh") for line in block.splitlines() if line]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the page's reader has: models, pictures, and a board."""
    for name, source in (
        ("my.onnx", "digits.onnx"),
        ("my.keras", "digits.keras"),
        ("normalised.onnx", "digits_normalised.onnx"),
    ):
        shutil.copy(DATA / source, tmp_path / name)
    digits = datasets.load("digits")
    chosen = np.sort(np.argsort(digits.y_test, kind="stable")[::3])
    for number in chosen:
        place = tmp_path / "pictures" / str(digits.y_test[number])
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(digits.x_test[number, ..., 0]).save(place / f"{number}.png")
    three = int(np.flatnonzero(digits.y_test == 3)[0])
    Image.fromarray(digits.x_test[three, ..., 0]).save(tmp_path / "three.png")
    np.savez(tmp_path / "pictures.npz", x=digits.x_test, y=digits.y_test)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_command_runs(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("h5py")
    from gateware.interface.configuration import EngineConfiguration

    configuration = EngineConfiguration()
    fake = FakeBoard(configuration, engine=interpreting_engine(configuration))
    port = FakePort(fake)
    monkeypatch.setattr(board_module, "open_port", lambda name: port)
    assert len(COMMANDS) >= 6
    for command in COMMANDS:
        program, *words = shlex.split(command)
        assert program == "host"
        assert cli.main(words) == 0, (command, capsys.readouterr().err)
    answer = capsys.readouterr().out
    assert "signal to noise" in answer and "three.png" in answer


def test_python_of_the_page_runs(folder: Path) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnx")
    export, use, save = blocks("python")
    assert 'model.save("my.keras")' in save
    model = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(144, 3)
    )
    names = {"torch": torch, "model": model, "pictures": torch.rand(40, 1, 8, 8)}
    for block in (export, use):
        exec(compile(block, "docs/import.md", "exec"), names)
    assert (folder / "my.onnx").exists() and (folder / "my.tflite").exists()
