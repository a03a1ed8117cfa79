"""The command: ``host``, ``eyespot``, ``python -m eyespot``.

It starts from a name that no other file has, so that it can say which file hides `host`.
"""

import importlib.util
import sys
from pathlib import Path

__all__ = ["main"]


def main() -> int:
    """Run the command line of this process; give its exit status."""
    path = Path(__file__).parent / "host" / "shadows.py"
    spec = importlib.util.spec_from_file_location("_eyespot_shadows", path)
    assert spec is not None and spec.loader is not None
    shadows = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(shadows)
    line = shadows.complaint()
    if line is not None:
        shadows.stop(line, sys.argv)
    from host.cli import main

    return main()


if __name__ == "__main__":
    sys.exit(main())
