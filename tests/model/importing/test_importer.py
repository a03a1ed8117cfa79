"""The Python API: from a file, or from a PyTorch module, to int8."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model.datasets import datasets
from model.errors import ModelError
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
