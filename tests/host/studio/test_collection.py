"""The collected pictures: files at once, deleted and brought back, moved, renamed, zipped."""

from __future__ import annotations

import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from host.studio.collection import Collection
from model.datasets import datasets
from model.errors import DataError, OutputError


@pytest.fixture
def collection(tmp_path):
    return Collection(tmp_path / "studio")


def picture(value=0, size=(40, 30), mode="RGB"):
    rng = np.random.default_rng(value)
    pixels = rng.integers(0, 256, (size[1], size[0], 3)).astype(np.uint8)
    return Image.fromarray(pixels).convert(mode)


def test_a_picture_is_a_file_at_once(collection):
    collection.add_class("cup")
    first = collection.add("cup", picture(1))
    second = collection.add("cup", picture(2))
    assert collection.classes() == {"cup": [first, second]}
    # Another one, as after a restart, finds the same.
    again = Collection(collection.folder)
    assert again.classes() == collection.classes()
    assert again.add("cup", picture(3)) not in (first, second)
    with Image.open(collection.path("cup", first)) as kept:
        np.testing.assert_array_equal(np.asarray(kept), np.asarray(picture(1)))


def test_a_large_picture_is_made_smaller(collection):
    collection.add_class("cup")
    for mode in ("RGB", "L", "1", "P", "CMYK"):
        file = collection.add("cup", picture(1, (1000, 500), mode))
        with Image.open(collection.path("cup", file)) as kept:
            assert kept.size == (256, 128)


def test_it_is_a_data_set(collection):
    for label in ("pen", "cup"):
        collection.add_class(label)
        for index in range(5):
            collection.add(label, picture(ord(label[0]) * 10 + index))
    dataset = datasets.load(collection.pictures, size=(16, 16))
    assert dataset.labels == ("cup", "pen") and dataset.shape == (16, 16, 3)
    assert dataset.class_counts.tolist() == [4, 4]


def test_what_is_deleted_comes_back(collection):
    collection.add_class("cup")
    files = [collection.add("cup", picture(index)) for index in range(4)]
    mark = collection.delete("cup", files[1:3])
    assert collection.classes() == {"cup": [files[0], files[3]]}
    collection.restore(mark)
    assert collection.classes() == {"cup": files}
    mark = collection.delete_class("cup")
    assert collection.classes() == {}
    collection.restore(mark)
    assert collection.classes() == {"cup": files}
    # Where a class of that name was made meanwhile, both come together.
    mark = collection.delete_class("cup")
    collection.add_class("cup")
    new = collection.add("cup", picture(9))
    collection.restore(mark)
    assert collection.classes() == {"cup": sorted([*files, new])}
    for wrong in (mark, "", "..", "../pictures", "."):
        with pytest.raises(DataError, match="nothing to bring back"):
            collection.restore(wrong)


def test_pictures_move(collection):
    for label in ("cup", "pen"):
        collection.add_class(label)
    files = [collection.add("cup", picture(index)) for index in range(3)]
    collection.move("cup", files[:2], "pen")
    assert collection.classes() == {"cup": files[2:], "pen": files[:2]}
    # A file of that name is there already.
    (collection.pictures / "pen" / files[2]).write_bytes(b"")
    collection.move("cup", files[2:], "pen")
    assert len(collection.classes()["pen"]) == 4 and not collection.classes()["cup"]


def test_classes_are_renamed(collection):
    for label in ("cup", "pen"):
        collection.add_class(label)
    collection.rename_class("cup", "Cup")
    collection.rename_class("pen", "Stift, größer")
    assert list(collection.classes()) == ["Cup", "Stift, größer"]
    with pytest.raises(DataError, match="there is a class 'cup' already"):
        collection.rename_class("Stift, größer", "cup")
    with pytest.raises(DataError, match="there is no class 'pen'"):
        collection.rename_class("pen", "x")


@pytest.mark.parametrize(
    "name",
    ["", " cup", "cup ", "a\nb", ".cup", "cup.", "..", "a/b", "a\\b", "a:b", "x" * 61, "a\x00b"],
)
def test_what_is_no_name_is_refused(collection, name):
    with pytest.raises(DataError):
        collection.add_class(name)
    assert collection.classes() == {}


def test_what_is_not_there(collection):
    collection.add_class("cup")
    with pytest.raises(DataError, match="there is a class 'CUP' already"):
        collection.add_class("CUP")
    with pytest.raises(DataError, match="there is no class 'pen'"):
        collection.add("pen", picture())
    for name, file in (("cup", "x.png"), ("cup", ".."), ("cup", "../../x"), ("..", "x.png")):
        with pytest.raises(DataError, match="there is no"):
            collection.path(name, file)
        with pytest.raises(DataError, match="there is no"):
            collection.delete(name, [file])


def test_the_zip_is_a_folder_that_can_be_trained_on(collection, tmp_path):
    for label in ("cup", "pen"):
        collection.add_class(label)
        for index in range(3):
            collection.add(label, picture(len(label) + index))
    with zipfile.ZipFile(io.BytesIO(collection.zipped())) as archive:
        archive.extractall(tmp_path / "unpacked")
    found = Collection(tmp_path / "unpacked")
    assert found.classes() == collection.classes()


def test_a_folder_that_cannot_be(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="cannot be used"):
        Collection(tmp_path / "file")
