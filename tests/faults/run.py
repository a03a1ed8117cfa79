"""Deliberate faults: ``python tests/faults/run.py [NAME ...]``.

Each ``*.patch`` beside this file breaks one thing, in a room of its own. It is applied to a copy of
the checkout, and the tests that its first line names (``Tests: ...``), all of them part of the fast
run, must then fail: not pass, and not merely fail to start. A patch that no longer applies is an
error too. With names, only the faults whose names begin so. The exit status is 0 if every fault is
noticed.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
#: pytest's exit status where tests ran and some failed.
TESTS_FAILED = 1
#: Seconds that the tests of one fault may take.
PATIENCE = 900


def copy_of_the_checkout(target: Path) -> None:
    """The files that git tracks, as they are now."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)


def tests_of(patch: Path) -> list[str]:
    first, _, _ = patch.read_text().partition("\n")
    keyword, _, tests = first.partition(": ")
    if keyword != "Tests":
        raise SystemExit(f"{patch.name}: its first line does not say which tests notice it")
    return tests.split()


def apply(patch: Path, tree: Path, *options: str) -> None:
    subprocess.run(["git", "apply", *options, str(patch)], cwd=tree, check=True)


def verdict(patch: Path, tree: Path) -> str:
    """ "noticed", or what happened instead."""
    apply(patch, tree)
    try:
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
        result = subprocess.run(
            [*command, *tests_of(patch)], cwd=tree, capture_output=True, text=True, timeout=PATIENCE
        )
    except subprocess.TimeoutExpired:
        return f"the tests had not ended after {PATIENCE} s"
    finally:
        apply(patch, tree, "--reverse")
    if result.returncode == TESTS_FAILED:
        return "noticed"
    last = (result.stdout.strip().splitlines() or ["no output"])[-1]
    return f"pytest ended with {result.returncode}: {last}"


def main() -> int:
    prefixes = tuple(sys.argv[1:]) or ("",)
    patches = [patch for patch in sorted(HERE.glob("*.patch")) if patch.name.startswith(prefixes)]
    missed = 0
    with tempfile.TemporaryDirectory(prefix="faults-") as directory:
        tree = Path(directory)
        copy_of_the_checkout(tree)
        for patch in patches:
            found = verdict(patch, tree)
            missed += found != "noticed"
            print(f"{patch.stem}: {found}", flush=True)
    print(f"{len(patches) - missed} of {len(patches)} faults noticed")
    return 1 if missed or not patches else 0


if __name__ == "__main__":
    sys.exit(main())
