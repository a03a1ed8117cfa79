"""Pictures of any kind to a model's input."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from gateware.interface.layout import TensorLayout
from host.errors import PictureError
from host.model_card import ModelCard, TensorCard
from host.pictures import read_picture, to_input


def card(shape, labels=()) -> ModelCard:
    size = int(np.prod(shape))
    tensor = TensorCard(shape, 1 / 255, -128, TensorLayout(0, 1, 1, size, size))
    return ModelCard("model", (tensor,), (tensor,), labels=labels)


DIGITS = tuple("0123456789")


def test_pixels_of_the_right_size_are_taken_as_they_are(tmp_path):
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8) * 4
    Image.fromarray(pixels).save(tmp_path / "picture.png")
    x = to_input(tmp_path / "picture.png", card((8, 8, 1)))
    assert x.dtype == np.int8 and x.shape == (8, 8, 1)
    assert (x[:, :, 0] == pixels.astype(int) - 128).all()
    assert (to_input(pixels, card((8, 8))) == x[:, :, 0]).all()


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
@pytest.mark.parametrize("shape", [(7, 9, 1), (7, 9, 3)])
def test_any_mode(mode, shape):
    grey = Image.fromarray(np.full((20, 30), 200, np.uint8))
    if mode == "I;16":
        picture = Image.fromarray(np.full((20, 30), 200 * 257, np.uint16))
    else:
        picture = grey.convert(mode)
    x = to_input(picture, card(shape))
    assert x.shape == shape
    expected = 127 if mode == "1" else 200 - 128
    if mode != "1":
        assert np.abs(x.astype(int) - expected).max() <= 3


@pytest.mark.parametrize("mode", ["I", "F"])
def test_what_has_no_white_is_refused(mode):
    with pytest.raises(PictureError, match="nothing says which one is white"):
        to_input(Image.new(mode, (9, 9)), card((9, 9, 1)))


def test_a_mode_that_converts_to_no_other():
    with pytest.raises(PictureError, match="^a picture of mode La cannot be used"):
        to_input(Image.new("La", (9, 9)), card((9, 9, 1)))


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ((3, 32, 32), "channels come first in it"),
        ((9, 9, 5), "1 to 4 channels"),
        ((0, 9), "of 0x9"),
        ((9,), "of 9"),
        ((), "of none"),
    ],
)
def test_arrays_that_are_no_pictures(shape, reason):
    with pytest.raises(PictureError, match=reason):
        read_picture(np.zeros(shape, np.uint8))


def test_transparent_is_white():
    array = np.zeros((8, 8, 4), np.uint8)
    assert (to_input(array, card((4, 4, 3))) == 127).all()
    picture = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    assert (to_input(picture, card((4, 4, 3))) == 127).all()


def test_turned_as_the_camera_says(tmp_path):
    pixels = np.zeros((8, 8), np.uint8)
    pixels[:, :4] = 255
    picture = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees to the right
    picture.save(tmp_path / "turned.jpg", exif=exif, quality=100)
    x = to_input(tmp_path / "turned.jpg", card((8, 8, 1)))[:, :, 0]
    assert (x[:3] > 64).all() and (x[5:] < -64).all()


def test_digits_on_paper_are_inverted():
    paper = np.full((28, 28), 250, np.uint8)
    paper[8:20, 12:16] = 10
    assert (to_input(paper, card((28, 28, 1), DIGITS))[0] < -100).all()
    assert (to_input(paper, card((28, 28, 1), DIGITS), invert=False)[0] > 100).all()
    assert (to_input(255 - paper, card((28, 28, 1), DIGITS))[0] < -100).all()
    assert (to_input(paper, card((28, 28, 1), ("cat", "dog")))[0] > 100).all()
    assert (to_input(paper, card((28, 28, 1), ("cat", "dog")), invert=True)[0] < -100).all()


def test_what_cannot_be_read_is_said_in_one_line(tmp_path):
    (tmp_path / "text.png").write_text("I am no picture")
    (tmp_path / "empty.png").write_bytes(b"")
    picture = tmp_path / "cut.png"
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (64, 64), np.uint8)).save(picture)
    picture.write_bytes(picture.read_bytes()[:1000])
    for name, reason in [
        ("text.png", "no picture"),
        ("empty.png", "no picture"),
        ("cut.png", "damaged"),
        ("none.png", "no such file"),
        ("", "directory"),
    ]:
        with pytest.raises(PictureError, match=reason) as caught:
            read_picture(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_a_model_of_sound_takes_no_pictures():
    with pytest.raises(PictureError, match="49x10x4"):
        to_input(np.zeros((8, 8), np.uint8), card((49, 10, 4)))
