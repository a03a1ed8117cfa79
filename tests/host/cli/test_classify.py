"""`host classify` with a model whose output has several pixels, as a detector's has."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from model.datasets.datasets import to_int8
from model.int8 import reference
from model.int8.builder import GraphBuilder
from model.plots.cells import draw_cells
from tests.host.fake_board import FakePort

LABELS = ("background", "bright", "d\x1b[31mark")
ORANGE = (0xE6, 0x9F, 0x00)


def detector():
    """8x8 pixels to 4x4 cells: bright ones, dark ones, and grey background."""
    builder = GraphBuilder("detector", (8, 8, 1))
    weights = np.zeros((3, 2, 2, 1), np.int8)
    weights[1], weights[2] = 127, -127
    bias = (np.array([0.5, -2.0, 1.0]) * 255 * 127).astype(np.int32)
    builder.conv_2d(weights, 1 / 127, bias, scale=1 / 32, zero_point=0, stride=(2, 2))
    builder.softmax()
    return builder.build(labels=LABELS)


@pytest.fixture
def picture(tmp_path):
    pixels = np.full((8, 8), 128, np.uint8)
    pixels[0:2, 6:8] = 255
    pixels[4:6, 0:2] = 0
    path = tmp_path / "picture.png"
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def board(connect, fake_board, tmp_path, host):
    from model.int8 import tflite

    tflite.save(detector(), tmp_path / "detector.tflite")
    connect(FakePort(fake_board))
    host("upload-weights", tmp_path / "detector.tflite", "--port", "p")
    return fake_board


def test_each_cell_has_position_label_and_score(host, board, picture):
    (result,) = host("classify", picture, "--port", "p", "--json")["results"]
    x = to_int8(np.asarray(Image.open(picture)))[None, :, :, None]
    shares = (reference.predict(detector(), x)[0].astype(float) + 128) / 256
    assert np.allclose(result["scores"], shares)
    assert [(each["position"], each["class"]) for each in result["cells"]] == [
        ([0, 3], 1),
        ([2, 0], 2),
    ]
    for cell in result["cells"]:
        row, column = cell["position"]
        assert cell["score"] == shares[row, column, cell["class"]] == shares[row, column].max()
    assert (result["class"], result["label"]) == (1, "bright")
    text = host("classify", picture, "--port", "p")
    assert "2 cells" in text and "0, 3" in text and "d\N{REPLACEMENT CHARACTER}[31mark" in text


def test_plot(host, board, picture, tmp_path):
    path = tmp_path / "plot.png"
    assert "drawn in" in host("classify", picture, "--port", "p", "--plot", path)
    with Image.open(path) as plot:
        drawn = np.asarray(plot)
    marked = np.argwhere((drawn == ORANGE).all(axis=2))
    in_picture = marked[marked[:, 0] < 480]
    assert drawn.shape[1] == 480
    assert in_picture.min(axis=0).tolist() == [0, 360]
    assert in_picture.max(axis=0).tolist() == [119, 479]


@pytest.mark.parametrize("size", [(1, 400), (5000, 3), (640, 480)])
def test_plots_of_any_size(size):
    cells = [(row, column, 1, "cat\n\ud800猫", "9%") for row in range(3) for column in range(2)]
    plot = draw_cells(Image.new("L", size, 90), (3, 2), cells)
    assert 480 <= max(plot.size) <= 1700 and min(plot.size) >= 32
    draw_cells(Image.new("L", size), (300, 200), [])


def test_a_plot_that_cannot_be(host, connect, board, picture, tmp_path):
    words = ("classify", picture, "--port", "p", "--plot")
    host("upload-weights", "patterns", "--port", "p")
    message = host(*words, tmp_path / "a.png", fails=1)
    assert "patterns gives one answer for a picture" in message
    connect(FakePort(None))  # it must not get as far as that
    assert "must end in .png" in host(*words, tmp_path / "a.jpg", fails=1)
    assert "cannot be written" in host(*words, tmp_path / "none" / "a.png", fails=1)
    assert "and there are 2" in host("classify", picture, *words[1:], tmp_path / "a.png", fails=1)
    assert not (tmp_path / "a.png").exists()


def test_one_answer_has_no_cells(host, board, picture):
    host("upload-weights", "patterns", "--port", "p")
    (result,) = host("classify", picture, "--port", "p", "--json")["results"]
    assert result["cells"] is None and len(result["scores"]) == 4
