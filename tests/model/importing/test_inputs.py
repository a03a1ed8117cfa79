"""Typical inputs: from arrays, data sets and folders, in the shape that a network takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.errors import DataError
from model.importing.inputs import load_inputs, shape_of

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (20, 4, 5, 1)).astype(np.uint8)
CLASSES = np.arange(20) % 4


def saved(folder: Path, **arrays: Any) -> str:
    path = folder / "data.npz"
    np.savez(path, **arrays)
    return str(path)


def test_arrays_without_classes(tmp_path: Path) -> None:
    inputs = load_inputs(saved(tmp_path, x=PIXELS), (4, 5, 1))
    assert inputs.are_pixels and inputs.test_classes is None and inputs.labels == ()
    np.testing.assert_array_equal(inputs.calibration, PIXELS)
    with pytest.raises(DataError, match="m: learning needs classes"):
        inputs.divided("m")


def test_int8_are_pixels_less_128(tmp_path: Path) -> None:
    stored = (PIXELS.astype(np.int16) - 128).astype(np.int8)
    inputs = load_inputs(saved(tmp_path, x=stored), (4, 5, 1))
    np.testing.assert_array_equal(inputs.calibration, PIXELS)


def test_a_fifth_of_each_class_is_kept_for_the_test(tmp_path: Path) -> None:
    inputs = load_inputs(saved(tmp_path, x=PIXELS, y=CLASSES), (4, 5, 1))
    divided = inputs.divided("m")
    assert divided.test_classes is not None and divided.calibration_classes is not None
    np.testing.assert_array_equal(np.sort(divided.test_classes), [0, 1, 2, 3])
    assert len(divided.calibration) == 16
    assert divided.divided("m") is divided
    path = saved(tmp_path, x=PIXELS, y=CLASSES, labels=np.array(["a", "b"]))
    with pytest.raises(DataError, match="m: class 3 has no label; there are 2"):
        load_inputs(path, (4, 5, 1)).divided("m")


@pytest.mark.parametrize(
    ("given", "wanted"),
    [((4, 5), (4, 5, 1)), ((4, 5, 1), (20,)), ((20,), (20,)), ((1, 9, 3), (9, 1, 3))],
)
def test_sizes_of_one_are_added_and_left_out(given: tuple, wanted: tuple, tmp_path: Path) -> None:
    x = RNG.random((3, *given)).astype(np.float32)
    inputs = load_inputs(saved(tmp_path, x=x), wanted)
    assert not inputs.are_pixels and inputs.calibration.shape == (3, *wanted)
    np.testing.assert_array_equal(inputs.calibration.ravel(), x.ravel())


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((2, 1, 4, 5), np.uint8), r"the model takes 4x5x1$"),
        (np.zeros((2, 3, 4, 5), np.uint8), "channels come last, so save np.moveaxis"),
        (np.full((2, 4, 5, 1), np.nan, np.float32), "values that are not finite"),
        (np.zeros((2, 4, 5, 1), np.int32), "x is int32; uint8"),
        (np.zeros((0, 4, 5, 1), np.uint8), "holds no inputs"),
    ],
)
def test_arrays_that_do_not_fit(x: np.ndarray, message: str, tmp_path: Path) -> None:
    shape = (4, 5, 3) if x.shape[1] == 3 else (4, 5, 1)
    if message.endswith("$"):
        # Channels first of one channel lie as channels last do.
        assert len(load_inputs(saved(tmp_path, x=x), shape).test) == 2
        x = x[:, :, :3]
    with pytest.raises(DataError, match=message):
        load_inputs(saved(tmp_path, x=x), shape)


def test_a_folder_holds_pictures_only(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="which is no picture: give an .npz file"):
        load_inputs(str(tmp_path), (12,))


def test_the_shape_of_pictures_in_a_file(tmp_path: Path) -> None:
    assert shape_of(saved(tmp_path, x=PIXELS)) == (4, 5, 1)
    assert shape_of(saved(tmp_path, x_train=PIXELS[..., 0])) == (4, 5, 1)
    assert shape_of(saved(tmp_path, x=PIXELS.reshape(20, -1))) is None
    assert shape_of("digits") is None and shape_of(str(tmp_path)) is None
