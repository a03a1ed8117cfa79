"""Files of a user that hide this project's packages, which have names that others use, too.

Python looks for ``model`` in the folder of the script that runs, or in the current folder with
``python -m``, and then in those of ``PYTHONPATH``, before it looks where this project is installed.
A ``model.py`` there is found first, and everything below fails in ways that nobody understands.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from collections.abc import Iterable
from importlib.machinery import ModuleSpec
from pathlib import Path

__all__ = ["PACKAGES", "complaint", "stop"]

PACKAGES = ("boards", "gateware", "host", "model")
"""The project's packages."""


def complaint(names: Iterable[str] = PACKAGES) -> str | None:
    """A line about the first file that hides a package, and what to do; None if none does."""
    root = Path(__file__).parents[1]
    for name in names:
        spec = _spec(name)
        if spec is None:
            continue  # not installed: whoever imports it says so
        places = list(spec.submodule_search_locations or ())
        if not any(_same(place, root / name) for place in places):
            found = spec.origin or (places[0] if places else name)
            return (
                f"{found} hides Eyespot's package {name!r} from Python: rename it, or keep it out "
                f"of the script's folder, the current folder and PYTHONPATH"
            )
    return None


def stop(line: str, words: Iterable[str]) -> None:
    """End the program as `host.cli` ends it for an error, without anything that may be hidden."""
    if "--json" in words:
        print(json.dumps({"error": line}))
    sys.stderr.write(f"host: error: {line}\n")
    raise SystemExit(1)


def _spec(name: str) -> ModuleSpec | None:
    module = sys.modules.get(name)
    if module is not None:
        return module.__spec__
    try:
        return importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None


def _same(one: str, other: Path) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False
