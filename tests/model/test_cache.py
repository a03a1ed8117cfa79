"""Where things are kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from model.cache import cache_directory, state_directory
from model.errors import EyespotError


@pytest.mark.parametrize(
    ("directory", "variable"),
    [(cache_directory, "XDG_CACHE_HOME"), (state_directory, "XDG_STATE_HOME")],
)
def test_no_home(directory, variable, monkeypatch, tmp_path):
    """As in a container with a user that it does not know."""

    def home():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", home)
    monkeypatch.delenv(variable, raising=False)
    with pytest.raises(EyespotError, match=f"there is no home directory .* HOME, or {variable}$"):
        directory()
    monkeypatch.setenv(variable, str(tmp_path))
    assert directory() == tmp_path / "eyespot"
