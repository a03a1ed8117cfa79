"""The data on which the tests try the bundled models, bundled as well."""

from __future__ import annotations

__all__ = ["carried_data"]


def carried_data(model: str) -> str:
    """Name of a data set that needs no download, for a model of the zoo."""
    return {"mnist": "mnist-5k"}.get(model, model)
