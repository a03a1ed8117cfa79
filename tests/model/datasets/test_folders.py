"""Ordinary pictures in folders: every kind that people have, and one line for what cannot be."""

from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image

from host.model_card import ModelCard, TensorCard
from host.pictures import to_input
from model.datasets import datasets
from model.datasets.folders import SIDE, read_folder
from model.errors import DataError

RED, BLUE = (200, 30, 30), (20, 40, 210)


@pytest.fixture
def folder(tmp_path):
    """Two classes of five grey pictures each, no two alike."""
    for label, base in (("apple", 20), ("pear", 140)):
        (tmp_path / label).mkdir()
        for index in range(5):
            _grey(base + 10 * index).save(tmp_path / label / f"{index}.png")
    return tmp_path


def _grey(value: int, size: tuple[int, int] = (40, 30)) -> Image.Image:
    return Image.new("L", size, value)


def _only(folder, picture: Image.Image, name: str = "9.png", **options) -> np.ndarray:
    """How a picture among others is read."""
    picture.save(folder / "apple" / name, **options)
    found = read_folder(folder)
    return found.x[found.files.index(f"apple/{name}")]


@pytest.mark.parametrize("size", [(1, 1), (7, 9), (32, 32), (400, 3), (1200, 900)])
def test_any_size(folder, size):
    assert (_only(folder, _grey(77, size)) == 77).all()


def test_grey_stays_grey_whatever_the_file_says(folder):
    """A drawing is often saved as colours or with a palette: one channel is enough."""
    _only(folder, _grey(90).convert("RGB"), "a.png")
    _only(folder, _grey(91).convert("RGBA"), "b.png")
    _only(folder, _grey(92).convert("P"), "c.gif")
    _only(folder, _grey(93).convert("RGB"), "d.jpg", quality=95)
    x = _only(folder, _grey(255).convert("1"), "e.png")
    assert x.shape == (SIDE, SIDE, 1) and (x == 255).all()
    assert np.abs(read_folder(folder).x[5:9, 0, 0, 0].astype(int) - [90, 91, 92, 93]).max() <= 1


def test_one_coloured_picture_makes_all_coloured(folder):
    x = _only(folder, Image.new("RGB", (50, 20), RED))
    assert x.shape == (SIDE, SIDE, 3)
    assert (x == RED).all()
    others = read_folder(folder).x[:5]
    assert others.shape[-1] == 3 and (others == others[..., :1]).all()


def test_palette(folder):
    picture = Image.new("RGB", (50, 20), RED).quantize(16)
    assert picture.mode == "P"
    assert np.abs(_only(folder, picture).astype(int) - RED).max() <= 4


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparent_is_white(folder, mode):
    if mode == "P":
        picture = Image.new("P", (20, 20), 1)
        picture.putpalette([0, 0, 0, 200, 0, 0])
        x = _only(folder, picture, transparency=1)
    else:
        x = _only(folder, Image.new(mode, (20, 20), 0))
    assert (x == 255).all()


def test_of_a_moving_picture_the_first_counts(folder):
    frames = [Image.new("RGB", (20, 20), colour) for colour in (BLUE, RED, RED)]
    x = _only(folder, frames[0], "9.gif", save_all=True, append_images=frames[1:], duration=50)
    assert np.abs(x.astype(int) - BLUE).max() <= 4


def test_turned_as_the_camera_says(folder):
    pixels = np.zeros((32, 32), np.uint8)
    pixels[:, :16] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    x = _only(folder, Image.fromarray(pixels), "9.jpg", exif=exif, quality=100)
    assert (x[:14] > 200).all() and (x[18:] < 50).all()


def test_sixteen_bits(folder):
    x = _only(folder, Image.fromarray(np.full((20, 20), 100 * 257, np.uint16)))
    assert (x == 100).all()


def test_cmyk(folder):
    x = _only(folder, Image.new("RGB", (50, 20), BLUE).convert("CMYK"), "9.jpg", quality=95)
    assert np.abs(x.astype(int) - BLUE).max() <= 4


def _landscape(width: int, height: int) -> Image.Image:
    """Something like a photo: no two places alike, and smooth."""
    coarse = np.random.default_rng(3).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


@pytest.mark.parametrize("side", [20, 130, 257, 1000, 3000])
def test_a_photo_is_decoded_small_and_looks_the_same(folder, side):
    photo = _landscape(side, 3 * side // 4)
    x = _only(folder, photo, "9.jpg", quality=98, subsampling=0)
    exact = np.asarray(photo.resize((SIDE, SIDE), Image.Resampling.BILINEAR))
    assert np.abs(x.astype(int) - exact).mean() < 2


@pytest.mark.parametrize(("name", "size"), [("9.png", (61, 90)), ("9.jpg", (1201, 900))])
def test_classifying_sees_what_training_saw(folder, name, size):
    """The same file gives the same input on both ways."""
    exif = Image.Exif()
    exif[0x0112] = 8
    picture = _landscape(*size)
    if name.endswith("png"):
        picture.putalpha(Image.linear_gradient("L").resize(size))
    x = _only(folder, picture, name, exif=exif)
    tensor = TensorCard((SIDE, SIDE, 3), 1 / 255, -128, None)  # type: ignore[arg-type]
    card = ModelCard("model", (tensor,), (tensor,), labels=("apple", "pear"))
    assert np.array_equal(to_input(folder / "apple" / name, card), datasets.to_int8(x))


def test_progress_and_order(folder):
    told = []
    dataset = datasets.load(folder, lambda *words: told.append(words))
    assert told == [("Reading pictures", done, 10) for done in range(1, 11)]
    assert dataset.labels == ("apple", "pear")
    again = datasets.load(folder)
    assert np.array_equal(dataset.x_train, again.x_train)
    assert dataset.notes == ()


def test_the_split_takes_a_fifth_of_each_class(folder):
    for index in range(5, 20):
        _grey(60 + index).save(folder / "apple" / f"{index}.png")
    dataset = datasets.load(folder)
    assert dataset.class_counts.tolist() == [16, 4]
    assert dataset.test_counts.tolist() == [4, 1]
    assert dataset.class_weights == pytest.approx([20 / 2 / 16, 20 / 2 / 4])


def test_a_picture_in_both_parts_is_told(folder):
    for index in range(10, 15):
        _grey(20).save(folder / "apple" / f"{index}.png")
    (note,) = datasets.load(folder).notes
    assert "test picture" in note and "in the training part too" in note
    assert "apple/" in note and ".png is apple/" in note


def test_a_picture_in_two_classes_is_told(folder):
    _grey(20).save(folder / "pear" / "7.png")
    notes = datasets.load(folder).notes
    assert "1 picture is in two classes: apple/0.png (apple) is pear/7.png (pear)" in notes


def test_files_that_are_no_pictures_by_name_are_told(folder):
    (folder / "apple" / "notes.txt").write_text("red")
    (folder / "apple" / "more").mkdir()
    (folder / "apple" / ".DS_Store").write_text("")
    (folder / "readme.txt").write_text("")
    (note,) = datasets.load(folder).notes
    assert note.startswith("2 files are left out, no picture by the name: apple/more and others")


def test_duplicates_in_an_npz_are_told(tmp_path):
    x = np.arange(20, dtype=np.uint8).repeat(16).reshape(20, 4, 4)
    y = np.arange(20) % 2
    np.savez(tmp_path / "a.npz", x_train=x[:16], y_train=y[:16], x_test=x[10:], y_test=y[10:])
    (note,) = datasets.load(tmp_path / "a.npz").notes
    assert "6 of 10 test pictures are in the training part too" in note
    assert "x_test[0] is x_train[10] and others" in note
    np.savez(tmp_path / "b.npz", x=x, y=y)
    assert datasets.load(tmp_path / "b.npz").notes == ()


# One line for everything that can go wrong.


def _refused(path, reason: str) -> None:
    with pytest.raises(DataError, match=reason) as caught:
        datasets.load(path)
    assert "\n" not in str(caught.value)


def test_one_class_only(folder):
    for file in (folder / "pear").iterdir():
        file.unlink()
    (folder / "pear").rmdir()
    _refused(folder, r"one class only \(apple\)")


def test_empty_class(folder):
    (folder / "quince").mkdir()
    _refused(folder, "quince: no pictures in it$")
    (folder / "quince" / "1.heic").write_text("")
    _refused(folder, r"quince: no pictures in it \(1 of another kind, such as 1.heic\)")


def test_too_few_pictures(folder):
    (folder / "quince").mkdir()
    _grey(1).save(folder / "quince" / "1.png")
    _refused(folder, "class quince has 1 picture; at least 2 are needed")


def test_corrupt_pictures_are_named(folder):
    bad = folder / "pear" / "bad.png"
    bad.write_text("not a picture")
    _refused(folder, r"pear/bad\.png: this is no picture")
    noise = np.random.default_rng(1).integers(0, 256, (64, 64)).astype(np.uint8)
    Image.fromarray(noise).save(bad)
    bad.write_bytes(bad.read_bytes()[:1000])
    _refused(folder, r"pear/bad\.png: the picture is damaged")
    bad.write_bytes(b"")
    _refused(folder, r"pear/bad\.png: this is no picture")


@pytest.mark.skipif(os.name != "posix", reason="names that other systems do not have")
@pytest.mark.parametrize("name", ["two\nlines", " apple"])
def test_class_names_that_no_model_can_carry(folder, name):
    (folder / "pear").rename(folder / name)
    _refused(folder, "is no line of plain text")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="permissions")
def test_a_folder_that_may_not_be_read(folder):
    (folder / "pear").chmod(0)
    try:
        _refused(folder, "ermission")
    finally:
        (folder / "pear").chmod(0o700)
