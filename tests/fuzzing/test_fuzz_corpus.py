"""Bytes that reached new code, or once broke something: none of them does any more."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.fuzzing.fuzz_targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"
#: Far more than any of them needs.
SECONDS = 20.0


@pytest.mark.parametrize("target", TARGETS)
def test_kept_inputs(target):
    paths = sorted((CORPUS / target).iterdir())
    assert paths
    for path in paths:
        begin = time.process_time()
        try:
            TARGETS[target](path.read_bytes())
        except Exception as error:
            raise AssertionError(f"{path.name}: {type(error).__name__}: {error}") from error
        assert time.process_time() - begin < SECONDS, path.name
