"""Feature maps as pictures."""

from __future__ import annotations

import numpy as np
import pytest

from model.plots.feature_maps import draw_maps


def pixels(values, marked=None):
    return np.asarray(draw_maps(np.asarray(values, np.int8), marked))


def test_each_channel_from_black_to_white():
    maps = np.zeros((2, 2, 2), np.int8)
    maps[:, :, 0] = [[-128, 127], [0, 0]]
    maps[:, :, 1] = [[3, 4], [3, 3]]
    drawn = pixels(maps)
    assert drawn.shape == (2 + 48 + 2, 2 + 48 + 2 + 48 + 2, 3)
    assert drawn[3, 3].tolist() == [0, 0, 0]
    assert drawn[3, 48].tolist() == [255, 255, 255]
    assert drawn[48, 3].tolist() == [128, 128, 128]
    assert drawn[3, 53].tolist() == [0, 0, 0]
    assert drawn[3, 98].tolist() == [255, 255, 255]


def test_a_constant_channel_is_black():
    assert not pixels(np.full((4, 4, 1), 9))[2:-2, 2:-2].any()


def test_a_vector_is_a_row_of_cells():
    drawn = pixels([-10, 0, 10])
    assert drawn.shape == (28, 3 * 26 + 2, 3)
    assert [drawn[14, x, 0] for x in (14, 40, 66)] == [0, 128, 255]
    assert (drawn == pixels(np.reshape([-10, 0, 10], (1, 1, 3)))).all()


@pytest.mark.parametrize(
    ("shape", "columns", "rows"), [((64,), 8, 8), ((640,), 32, 20), ((8, 8, 16), 4, 4)]
)
def test_many_tiles_are_a_rectangle(shape, columns, rows):
    values = np.random.default_rng(1).integers(-128, 128, shape)
    height, width, _ = pixels(values).shape
    side = 24 if len(shape) == 1 else 8 * 14
    assert (width - 2, height - 2) == (columns * (side + 2), rows * (side + 2))


@pytest.mark.parametrize("shape", [(128, 96, 8), (1, 300, 16), (49, 10, 64), (1, 7), (131072,)])
def test_any_shape_stays_of_a_sensible_size(shape):
    height, width, _ = pixels(np.zeros(shape)).shape
    assert height * width < 8_000_000
    assert max(height, width) < 8_000


def test_what_differs_is_red():
    marked = np.zeros((2, 2, 1), bool)
    marked[0, 1, 0] = True
    drawn = pixels(np.zeros((2, 2, 1)), marked)
    assert drawn[10, 40].tolist() == [255, 0, 0]
    assert drawn[40, 40].tolist() == [0, 0, 0]


@pytest.mark.parametrize("shape", [(), (1, 2, 3, 4), (0,)])
def test_what_is_no_map(shape):
    with pytest.raises(ValueError, match="1 to 3 dimensions"):
        draw_maps(np.zeros(shape, np.int8))
