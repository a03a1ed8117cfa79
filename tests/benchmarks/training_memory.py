"""Memory and time of a training run: `host train` with its arguments, in this process.

python tests/benchmarks/training_memory.py mnist -o mnist.tflite [--epochs N]

Peak memory is the operating system's count of this process's resident pages (getrusage), so it
holds the interpreter, NumPy and the data set, too.
"""

from __future__ import annotations

import resource
import sys

from host import cli


def main() -> None:
    status = cli.main(["train", *sys.argv[1:]])
    usage = resource.getrusage(resource.RUSAGE_SELF)
    # Linux counts in KiB, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    print(
        f"peak {usage.ru_maxrss * unit / 2**20:.0f} MiB; "
        f"{usage.ru_utime + usage.ru_stime:.0f} s of processor time"
    )
    raise SystemExit(status)


if __name__ == "__main__":
    main()
