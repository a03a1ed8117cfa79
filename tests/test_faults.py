"""The deliberate faults still fit the sources; `tests/faults/run.py` sees that each is noticed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PATCHES = sorted((ROOT / "tests/faults").glob("*.patch"))


def test_there_are_faults():
    assert len(PATCHES) >= 18


@pytest.mark.skipif(shutil.which("git") is None, reason="git applies the patches")
@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.stem)
def test_patch_applies(patch):
    found = subprocess.run(
        ["git", "apply", "--check", str(patch)], cwd=ROOT, capture_output=True, text=True
    )
    assert found.returncode == 0, found.stderr


@pytest.mark.parametrize("patch", PATCHES, ids=lambda patch: patch.stem)
def test_patch_names_its_tests(patch):
    keyword, *tests = patch.read_text().splitlines()[0].split()
    assert keyword == "Tests:" and tests
    for test in tests:
        assert (ROOT / test.partition("::")[0]).exists()
