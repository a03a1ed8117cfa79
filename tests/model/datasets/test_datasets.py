"""Data sets: what is built in, what comes from outside, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from model.datasets import datasets, patterns
from model.errors import DataError


@pytest.mark.parametrize(
    ("name", "shape", "train", "test", "classes"),
    [
        ("patterns", (4, 4, 1), 4000, 400, 4),
        ("digits", (8, 8, 1), 1438, 359, 10),
        ("mnist-5k", (28, 28, 1), 4000, 1000, 10),
    ],
)
def test_built_in(name, shape, train, test, classes):
    dataset = datasets.load(name)
    assert dataset.name == name
    assert dataset.shape == shape
    assert dataset.x_train.dtype == dataset.x_test.dtype == np.uint8
    assert (len(dataset.x_train), len(dataset.x_test)) == (train, test)
    assert (len(dataset.y_train), len(dataset.y_test)) == (train, test)
    assert len(dataset.labels) == classes
    assert dataset.x_train.max() == 255 or name == "patterns"
    for y in (dataset.y_train, dataset.y_test):
        counts = np.bincount(y, minlength=classes)
        assert counts.min() > 0.9 * len(y) / classes
    again = datasets.load(name)
    assert np.array_equal(dataset.x_test, again.x_test)
    # The test part begins with a mixture, for tests often take its beginning only.
    assert len(np.unique(dataset.y_test[:100])) == classes


@pytest.mark.parametrize("name", ["digits", "mnist-5k"])
def test_training_and_test_part_share_no_picture(name):
    dataset = datasets.load(name)
    train = {picture.tobytes() for picture in dataset.x_train}
    assert not any(picture.tobytes() in train for picture in dataset.x_test)


def test_patterns_of_different_classes_stay_apart():
    shapes = patterns.shapes()
    for label, own in enumerate(shapes):
        for others in shapes[label + 1 :]:
            assert min((a ^ b).sum() for a in own for b in others) >= 6


def test_to_int8():
    pixels = np.array([0, 1, 127, 128, 255], np.uint8)
    assert datasets.to_int8(pixels).tolist() == [-128, -127, -1, 0, 127]


def _arrays(count: int = 20, classes: int = 2):
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (count, 6, 5, 3)).astype(np.uint8)
    return x, np.arange(count) % classes


def test_npz_with_x_and_y_is_split(tmp_path):
    x, y = _arrays()
    np.savez(tmp_path / "mine.npz", x=x, y=y, labels=np.array(["cat", "dog"]))
    dataset = datasets.load(tmp_path / "mine.npz")
    assert (len(dataset.x_train), len(dataset.x_test)) == (16, 4)
    assert dataset.labels == ("cat", "dog")
    assert dataset.name == "mine"
    tried = datasets.samples(tmp_path / "mine.npz")
    assert np.array_equal(tried.x, datasets.to_int8(x))
    assert np.array_equal(tried.y, y)


def test_npz_with_int8_is_taken_as_it_is(tmp_path):
    x, y = _arrays()
    np.savez(tmp_path / "mine.npz", x=datasets.to_int8(x)[..., 0], y=y)
    assert np.array_equal(datasets.samples(tmp_path / "mine.npz").x, datasets.to_int8(x)[..., 0])
    assert datasets.load(tmp_path / "mine.npz").shape == (6, 5, 1)


def test_npz_with_its_own_split(tmp_path):
    x, y = _arrays()
    np.savez(tmp_path / "mine.npz", x_train=x[:15], y_train=y[:15], x_test=x[15:], y_test=y[15:])
    dataset = datasets.load(tmp_path / "mine.npz")
    assert np.array_equal(dataset.x_test, x[15:])
    assert len(datasets.samples(tmp_path / "mine.npz").x) == 5


def test_x_alone_is_enough_to_try_a_network_on(tmp_path):
    x, y = _arrays()
    path = tmp_path / "mine.npz"
    for arrays in ({"x": x}, {"x_test": x}, {"x_test": x, "y_test": y}):
        np.savez(path, **arrays)
        tried = datasets.samples(path)
        assert np.array_equal(tried.x, datasets.to_int8(x))
        assert (tried.y is None) == ("y_test" not in arrays)
    np.savez(path, images=x, classes=y)
    with pytest.raises(DataError, match=r"no array x in it \(there are images, classes\); x alone"):
        datasets.samples(path)
    with pytest.raises(DataError, match=r"neither x and y nor .* \(there are images, classes\)"):
        datasets.load(path)


def test_samples_of_a_name_are_its_test_part():
    tried = datasets.samples("digits")
    assert tried.x.dtype == np.int8
    assert len(tried.x) == len(tried.y) == 359


X, Y = _arrays()
BAD_NPZ = {
    "no x": ({"pictures": X}, "neither x and y nor"),
    "float pixels": ({"x": X / 255, "y": Y}, r"pixels are float64.*: \(x \* 255\)"),
    "float pixels of another range": ({"x": X * 1.0, "y": Y}, "or int8 is needed$"),
    "one-hot": ({"x": X, "y": np.eye(2, dtype=int)[Y]}, r"y.argmax\(axis=1\) makes numbers"),
    "lengths": ({"x": X, "y": Y[:5]}, "20 pictures but classes of shape"),
    "negative class": ({"x": X, "y": Y - 1}, "class -1 is below 0"),
    "float class": ({"x": X, "y": Y * 1.0}, "classes are float64"),
    "one class": ({"x": X, "y": Y * 0}, "one class only"),
    "empty class": ({"x": X, "y": Y * 2}, "class 1 has 0 pictures"),
    "labels": ({"x": X, "y": Y, "labels": np.array(["a"])}, "class 1 has no label"),
    "five dimensions": ({"x": X[..., np.newaxis], "y": Y}, "pictures of shape"),
    "empty": ({"x": X[:0], "y": Y[:0]}, "holds no pictures"),
    "objects": ({"x": np.array([None]), "y": Y}, "no readable .npz"),
    "class beyond int64": (
        {"x": X, "y": np.full(20, 2**63 + 5, np.uint64)},
        "class 9223372036854775813 is out of range",
    ),
    "channels first": (
        {"x": X.transpose(0, 3, 1, 2), "y": Y},
        r"3x6x5: channels come first \(NCHW\).*x.transpose\(0, 2, 3, 1\)",
    ),
    "channels first, grey": ({"x": X[:, np.newaxis, :, :, 0], "y": Y}, "channels come first"),
    "transparency": ({"x": X[..., [0, 1, 2, 2]], "y": Y}, r"RGBA\) have them; leave it out"),
    "numbers beyond Unicode": (
        {"x": X, "y": Y, "labels": np.array([1 << 31, 1], np.uint32).view("U1")},
        "labels in it is no text",
    ),
    "half characters": ({"x": X, "y": Y, "labels": np.array(["a", "b\udce9"])}, "no UTF-8 text"),
    "two sizes": (
        {"x_train": X, "y_train": Y, "x_test": X[:, 1:], "y_test": Y},
        "differ in size",
    ),
    "class only in test": (
        {"x_train": X, "y_train": Y, "x_test": X, "y_test": Y * 2},
        "no training picture of class 2",
    ),
}


@pytest.mark.parametrize("case", BAD_NPZ)
def test_bad_npz_is_refused_in_one_line(case, tmp_path):
    arrays, reason = BAD_NPZ[case]
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(DataError, match=reason) as caught:
        datasets.load(tmp_path / "bad.npz")
    assert "bad.npz" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"PK", b"no archive at all"])
def test_damaged_npz_is_refused(content, tmp_path):
    (tmp_path / "bad.npz").write_bytes(content)
    with pytest.raises(DataError, match="no readable .npz"):
        datasets.load(tmp_path / "bad.npz")


@pytest.mark.parametrize("name", ["cats", "cats.npz", "nowhere/cats.npz"])
def test_what_does_not_exist_is_refused(name):
    with pytest.raises(DataError, match="cats"):
        datasets.load(name)


def _folder(path, modes=("L", "L"), count: int = 4):
    for label, mode in zip(("apple", "pear"), modes):
        (path / label).mkdir()
        for index in range(count):
            colour = 50 * index if mode == "L" else (50 * index, 10, 200)
            Image.new(mode, (10 + index, 7), colour).save(path / label / f"{index}.png")
    return path


@pytest.mark.parametrize(("modes", "channels"), [(("L", "L"), 1), (("L", "RGB"), 3)])
def test_folder_of_pictures(modes, channels, tmp_path):
    dataset = datasets.load(_folder(tmp_path, modes))
    assert dataset.shape == (32, 32, channels)
    assert dataset.labels == ("apple", "pear")
    assert (len(dataset.x_train), len(dataset.x_test)) == (6, 2)


def test_folder_without_classes_is_refused(tmp_path):
    with pytest.raises(DataError, match="no subfolders"):
        datasets.load(tmp_path)


def test_folder_with_an_empty_class_is_refused(tmp_path):
    (_folder(tmp_path) / "quince").mkdir()
    with pytest.raises(DataError, match="quince: no pictures in it"):
        datasets.load(tmp_path)


def test_folder_with_one_picture_of_a_class_is_refused(tmp_path):
    with pytest.raises(DataError, match="class apple has 1 picture;"):
        datasets.load(_folder(tmp_path, count=1))


def test_corrupt_picture_is_named(tmp_path):
    (_folder(tmp_path) / "pear" / "bad.png").write_text("not a picture")
    with pytest.raises(DataError, match=r"bad\.png: this is no picture"):
        datasets.load(tmp_path)
