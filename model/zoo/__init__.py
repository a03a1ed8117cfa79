"""The trained models that come along, by name."""

from __future__ import annotations

from pathlib import Path

__all__ = ["NAMES", "path", "resolve"]

NAMES = ("patterns", "digits", "mnist")


def path(name: str) -> Path:
    """File of one of the models in `NAMES`.

    Raises
    ------
    ValueError
        If there is no such model.
    """
    if name not in NAMES:
        raise ValueError(f"no model {name!r} comes along; there are {', '.join(NAMES)}")
    return Path(__file__).parent / f"{name}.tflite"


def resolve(name_or_path: str | Path) -> Path:
    """File meant where a model is asked for: one that comes along, by its name, or any other.

    A name means the model that comes along even if a file of that name exists; write ``./digits``
    for the file.
    """
    name = str(name_or_path)
    return path(name) if name in NAMES else Path(name_or_path)
