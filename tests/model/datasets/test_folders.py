"""Ordinary pictures in folders: every kind that people have, and one line for what cannot be."""

from __future__ import annotations

import os
import struct

import numpy as np
import pytest
from PIL import Image

from host.model_card import ModelCard, TensorCard
from host.pictures import to_input
from model.datasets import datasets
from model.datasets.folders import SIDE, read_folder
from model.datasets.pictures import as_seen, open_picture
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


@pytest.mark.parametrize("greatest", [255, 256, 257, 65535])
@pytest.mark.parametrize("name", ["9.png", "9.tiff", "9.pgm"])
def test_sixteen_bits_are_scaled_by_the_mode_and_not_by_the_content(folder, name, greatest):
    values = np.full((32, 32), greatest, np.uint16)
    assert (_only(folder, Image.fromarray(values), name) == round(greatest / 257)).all()


def test_twelve_bits(folder):
    """Scanners write TIFF files with them; Pillow reads them as 16 bits."""
    entries = [  # width, height, bits, compression, photometric, offset, rows, bytes of a strip
        *((256, 2), (257, 1), (258, 12), (259, 1), (262, 1), (273, 8), (278, 1), (279, 3)),
    ]
    tags = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    data = b"II*\0" + struct.pack("<I", 12) + b"\xff\xf8\x00\0"  # 4095 and 2048
    data += struct.pack("<H", len(entries)) + tags + bytes(4)
    (folder / "apple" / "9.tif").write_bytes(data)
    assert np.asarray(open_picture(folder / "apple" / "9.tif")).tolist() == [[255, 128]]


def test_transparent_in_sixteen_bits_is_white():
    picture = Image.fromarray(np.array([[0, 300], [300, 65535]], np.uint16))
    picture.info["transparency"] = 300
    assert np.asarray(as_seen(picture)).tolist() == [[0, 255], [255, 255]]


@pytest.mark.parametrize(
    ("dtype", "what"), [(np.float32, "floating-point values"), (np.int32, "values of 32 bits")]
)
def test_what_has_no_white_is_refused(folder, dtype, what):
    Image.fromarray(np.full((9, 9), 200, dtype)).save(folder / "apple" / "9.tiff")
    _refused(folder, f"apple/9.tiff: the picture has {what}, of which nothing says which one is")


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


# Parts.


@pytest.fixture
def parts(folder, tmp_path_factory):
    """A folder with ``train``, of two classes, and ``test``, of the first of them."""
    whole = tmp_path_factory.mktemp("whole")
    folder.rename(whole / "train")
    (whole / "test" / "pear").mkdir(parents=True)
    for index in range(3):
        _grey(200 + index).save(whole / "test" / "pear" / f"{index}.png")
    return whole


@pytest.mark.parametrize("names", [("train", "test"), ("Training", "Validation")])
def test_train_and_test_are_the_parts(parts, names):
    train, test = names
    (parts / "train").rename(parts / train)
    (parts / "test").rename(parts / test)
    (parts / "more").mkdir()
    dataset = datasets.load(parts)
    assert dataset.labels == ("apple", "pear")
    assert sorted(np.unique(dataset.x_train)) == [20, 30, 40, 50, 60, 140, 150, 160, 170, 180]
    assert sorted(np.unique(dataset.x_test)) == [200, 201, 202]
    assert dataset.y_test.tolist() == [1, 1, 1] and dataset.test_counts.tolist() == [0, 3]
    assert dataset.notes == (
        f"{train} and {test} are the parts to learn from and to test with, as they are",
        "more is left out",
    )


def test_test_comes_before_validation(parts):
    (parts / "valid" / "apple").mkdir(parents=True)
    assert datasets.load(parts).notes[1] == "valid is left out"


def test_parts_have_the_same_channels(parts):
    Image.new("RGB", (9, 9), RED).save(parts / "test" / "pear" / "9.png")
    dataset = datasets.load(parts)
    assert dataset.x_train.shape[1:] == dataset.x_test.shape[1:] == (SIDE, SIDE, 3)


def test_parts_in_another_size(parts):
    dataset = datasets.load(parts, size=(10, 12), channels=3)
    assert dataset.x_train.shape[1:] == dataset.x_test.shape[1:] == (10, 12, 3)


def test_duplicates_in_parts_are_told(parts):
    _grey(140).save(parts / "test" / "pear" / "9.png")
    note = datasets.load(parts).notes[1]
    assert "1 of 4 test pictures are in the training part too" in note
    assert "test/pear/9.png is train/pear/0.png" in note


def test_a_class_that_only_the_test_part_has(parts):
    (parts / "test" / "pear").rename(parts / "test" / "quince")
    _refused(parts, "test: there is no class 'quince' in .*train to learn it from")


def test_classes_may_have_the_names_of_parts(folder):
    (folder / "apple").rename(folder / "train")
    (folder / "pear").rename(folder / "test")
    assert datasets.load(folder).labels == ("test", "train")
    for name in ("train", "test"):
        (folder / name / "more").mkdir()  # pictures beside it: no part
    assert datasets.load(folder).labels == ("test", "train")


def test_the_folder_above_is_told(folder):
    (folder.parent / "above").mkdir()
    folder.rename(folder.parent / "above" / "inner")
    _refused(folder.parent / "above", r"one class only \(inner\).*there are subfolders in .*/inner")


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
    (folder / "quince" / "1.psd").write_text("")
    _refused(folder, r"quince: no pictures in it \(1 of another kind, such as 1.psd\)")


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
