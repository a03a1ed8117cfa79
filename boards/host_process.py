"""Starts ``host`` as a process: what lies below it does not import it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

__all__ = ["run_host"]

#: How long an interrupted ``host`` may take to say so.
_GRACE_SECONDS = 10


def run_host(arguments: Sequence[str]) -> int:
    """Run ``host`` with these arguments on the standard streams; return its exit status.

    After Ctrl-C, which a terminal sends to both processes, the other one ends by itself; one that
    does not is terminated.
    """
    with subprocess.Popen([sys.executable, "-m", "host", *arguments]) as process:
        try:
            status = process.wait()
        except KeyboardInterrupt:
            try:
                status = process.wait(_GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                process.terminate()
                status = process.wait()
    # A process that a signal ended: as shells say it.
    return status if status >= 0 else 128 - status
