"""Eyespot."""

import sys as _sys

from .shadows import PACKAGES as _PACKAGES
from .shadows import complaint as _complaint
from .shadows import stop as _stop

_line = _complaint(name for name in _PACKAGES if name != __name__)
if _line is not None:
    # Python's name for a program that it is looking for: this is `python -m host`.
    if _sys.argv[:1] == ["-m"]:
        _stop(_line, _sys.argv)
    raise ImportError(_line)
