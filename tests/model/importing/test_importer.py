"""The Python API: from a file, or from a PyTorch module, to int8."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import numpy as np
import pytest

from model.datasets import datasets
from model.errors import ModelError
from model.importing import importer
from model.importing.importer import import_model, read_model
from model.int8 import reference

DATA = Path(__file__).parent / "data"


def accuracy(graph, x: np.ndarray, y: np.ndarray) -> float:
    answers = reference.predict(graph, datasets.to_int8(x)).reshape(len(x), -1)
    return float((answers.argmax(axis=1) == y).mean())


def test_a_file() -> None:
    pytest.importorskip("onnx")
    digits = datasets.load("digits")
    path = DATA / "digits_normalised.onnx"
    graph = import_model(path, data=digits.x_train, mean=[0.3], std=[0.4], labels=digits.labels)
    assert accuracy(graph, digits.x_test, digits.y_test) > 0.95
    with pytest.raises(ModelError, match="needs typical inputs"):
        import_model(path)
    with pytest.raises(ModelError, match="but the model takes"):
        import_model(path, data=digits.x_train[:, :7])


def test_a_pytorch_module() -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnx")
    torch.manual_seed(0)
    module = torch.nn.Sequential(
        torch.nn.Conv2d(3, 6, 3, stride=2, padding=1),
        torch.nn.BatchNorm2d(6),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(6 * 16, 4),
    )
    example = torch.rand(60, 3, 8, 8)
    graph = import_model(module, example)
    assert module.training
    quantization = graph.input.quantization
    assert quantization is not None
    scale, zero_point = float(quantization.scale[0]), int(quantization.zero_point[0])
    stored = np.clip(np.rint(example.numpy() / scale) + zero_point, -128, 127).astype(np.int8)
    answers = reference.predict(graph, np.moveaxis(stored, 1, -1)).reshape(60, -1)
    with torch.no_grad():
        want = module.eval()(example).numpy()
    assert (answers.argmax(axis=1) == want.argmax(axis=1)).mean() > 0.9

    class Odd(torch.nn.Module):
        def forward(self, x):
            return torch.linalg.eigvals(x)

    with pytest.raises(ModelError) as caught:
        import_model(Odd(), torch.rand(2, 3, 3))
    assert "\n" not in str(caught.value)


class Example:
    """Of PyTorch's tensors as much as the importer asks for."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def __getitem__(self, part: slice) -> Example:
        return Example(self.values[part])

    def detach(self) -> Example:
        return self

    def cpu(self) -> Example:
        return self

    def numpy(self) -> np.ndarray:
        return self.values


class Module:
    """A module in training, whose export is the digits' file, or fails."""

    training = True

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.seen: list[int] = []

    def train(self, mode: bool) -> None:
        self.training = mode

    def eval(self) -> Module:
        self.training = False
        return self

    def export(self, examples: tuple[Example], path: str) -> None:
        assert not self.training
        self.seen.append(len(examples[0].values))
        if self.error is not None:
            raise self.error
        Path(path).write_bytes((DATA / "digits.onnx").read_bytes())


@pytest.fixture
def torch_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's exporter and nothing else, for where PyTorch is not installed."""
    torch = types.ModuleType("torch")
    torch.onnx = types.SimpleNamespace(  # type: ignore[attr-defined]
        export=lambda module, examples, path, **options: module.export(examples, path)
    )
    monkeypatch.setitem(sys.modules, "torch", torch)


@pytest.mark.usefixtures("torch_in_parts")
def test_a_module_is_exported_for_evaluation_and_trains_on() -> None:
    pytest.importorskip("onnx")
    digits = datasets.load("digits")
    pixels = np.moveaxis(digits.x_train, -1, 1).astype(np.float32) / 255
    module = Module()
    graph = import_model(module, Example(pixels))
    assert module.training and module.seen == [1]
    assert accuracy(graph, digits.x_test, digits.y_test) > 0.95
    with pytest.raises(ModelError, match="a module needs an example of its input"):
        import_model(module)


@pytest.mark.usefixtures("torch_in_parts")
def test_what_pytorch_says_of_a_module_is_one_line() -> None:
    pytest.importorskip("onnx")
    module = Module(RuntimeError("no such operator\nand ninety lines more"))
    with pytest.raises(ModelError, match="could not export the module: no such operator$"):
        import_model(module, Example(np.zeros((2, 1, 8, 8), np.float32)))
    assert module.training


def test_a_module_needs_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(ModelError, match="a module needs PyTorch: pip install torch"):
        importer.read_module(Module(), Example(np.zeros((1, 1, 8, 8))))


def test_outputs_are_chosen_by_name_in_onnx_only(tmp_path: Path) -> None:
    path = tmp_path / "m.keras"
    path.write_bytes(b"abc")
    with pytest.raises(ModelError, match="the outputs of an ONNX model have names"):
        read_model(path, outputs=["y"])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gone.onnx", "there is no such file"),
        ("old.h5", "is of Keras's old format"),
        ("weights.pt", "is PyTorch's own format"),
        ("not.keras", "is damaged, truncated, or no .keras model"),
        ("not.tflite", "is empty or truncated"),
    ],
)
def test_files_that_are_something_else(tmp_path: Path, name: str, message: str) -> None:
    if name.endswith("keras"):
        pytest.importorskip("h5py")
    path = tmp_path / name
    if name != "gone.onnx":
        path.write_bytes(b"abc")
    with pytest.raises(ModelError, match=message):
        read_model(path)
