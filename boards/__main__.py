"""``python -m boards``: another name of ``host boards``."""

import sys

from .host_process import run_host

if __name__ == "__main__":
    sys.exit(run_host(["boards", *sys.argv[1:]]))
