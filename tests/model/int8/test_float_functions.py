"""exp and log of float32 against the C library that TFLM's kernels call."""

from __future__ import annotations

import ctypes
import platform

import numpy as np
import pytest

from model.int8 import float_functions


def _library(name: str):
    if platform.libc_ver()[0] != "glibc":
        pytest.skip("the C library is not glibc")
    function = getattr(ctypes.CDLL("libm.so.6"), name)
    function.restype, function.argtypes = ctypes.c_float, [ctypes.c_float]
    return function


def _compare(name: str, ours, x: np.ndarray) -> None:
    theirs = _library(name)
    expected = np.array([theirs(float(value)) for value in x], np.float32)
    assert np.array_equal(ours(x), expected)


def test_exp_is_expf():
    rng = np.random.default_rng(0)
    corners = [0, -0.0, -1e-30, 1e-30, -87.3, -103.9, -104.5, -1e9, 88.7, 88.73, 1e9]
    draws = [-rng.exponential(3, 30000), rng.uniform(-110, 90, 30000), corners]
    _compare("expf", float_functions.exp, np.concatenate(draws).astype(np.float32))


def test_log_is_logf():
    rng = np.random.default_rng(0)
    draws = [rng.uniform(1, 4096, 30000), 10 ** rng.uniform(-30, 30, 30000), [1, 2, 0.7, 3e38]]
    _compare("logf", float_functions.log, np.concatenate(draws).astype(np.float32))
