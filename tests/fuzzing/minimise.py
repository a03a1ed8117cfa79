"""The kept corpus: ``python tests/fuzzing/minimise.py TARGET FOLDER``.

Of what :mod:`fuzz` wrote to FOLDER, keeps what reaches branches that nothing kept reaches, the
shortest inputs first. ``pytest tests/fuzzing --cov=host --cov=model`` tells what part of the code
they reach.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import coverage

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))


def branches(target: str, data: bytes) -> set[tuple[str, int, int]]:
    from tests.fuzzing import fuzz_targets

    include = [str(HERE.parents[1] / name / "*") for name in ("gateware", "host", "model")]
    measured = coverage.Coverage(data_file=None, config_file=False, branch=True, include=include)
    measured.start()
    fuzz_targets.TARGETS[target](data)
    measured.stop()
    found = measured.get_data()
    return {(file, *arc) for file in found.measured_files() for arc in found.arcs(file) or []}


def main() -> None:
    target, folder = sys.argv[1:]
    kept = HERE / "corpus" / target
    inputs = [path.read_bytes() for path in sorted(kept.iterdir())]
    # What is done once, at the first call, is no input's doing.
    branches(target, inputs[0])
    reached = set().union(*(branches(target, data) for data in inputs))
    for data in sorted((path.read_bytes() for path in Path(folder).iterdir()), key=len):
        new = branches(target, data) - reached
        if new:
            reached |= new
            inputs.append(data)
            (kept / hashlib.sha1(data).hexdigest()[:12]).write_bytes(data)
    print(f"{len(inputs)} inputs, {len(reached)} branches")


if __name__ == "__main__":
    main()
