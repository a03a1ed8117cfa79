"""Coverage-guided fuzzing: ``python tests/fuzzing/fuzz.py TARGET FOLDER [libFuzzer's options]``.

Needs ``pip install atheris``. TARGET is one of :mod:`fuzz_targets`. Begins with the kept corpus and
with seeds made here, and writes what reaches new code to FOLDER; ends at the first bug, of which it
writes the bytes to a file, or after ``-max_total_time=SECONDS``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parents[1]))


def seeds(target: str) -> Iterator[bytes]:
    import numpy as np

    from gateware.interface.configuration import EngineConfiguration
    from gateware.interface.image import HEADER_BYTES, ImageHeader
    from host import compiler
    from model import zoo
    from model.int8 import tflite
    from tests.model.int8 import random_graphs

    rng = np.random.default_rng(1)
    if target == "replies":
        for length in (0, 1, 12, 44, 240):
            yield bytes([0x80 | 63, 7, 0x80, 0]) + rng.bytes(length)
    elif target == "image":
        for name in zoo.NAMES:
            built = compiler.compile(tflite.load(zoo.resolve(Path(name))), EngineConfiguration())
            header = ImageHeader.unpack(built.image[:HEADER_BYTES])
            begin = header.metadata_address
            text = built.image[begin : begin + header.metadata_bytes]
            yield built.image[:HEADER_BYTES] + text
    else:
        yield zoo.resolve(Path("patterns")).read_bytes()
        for make in random_graphs.LAYERS.values():
            for _ in range(3):
                yield tflite.encode(make(rng))


def main() -> None:
    import atheris

    with atheris.instrument_imports(include=["gateware", "host", "model"]):
        from tests.fuzzing import fuzz_targets

    target, folder, *options = sys.argv[1:]
    Path(folder).mkdir(parents=True, exist_ok=True)
    begin = Path(folder + ".seeds")
    begin.mkdir(exist_ok=True)
    for number, seed in enumerate(seeds(target)):
        (begin / f"{number}").write_bytes(seed)
    kept = HERE / "corpus" / target
    kept.mkdir(parents=True, exist_ok=True)
    arguments = [sys.argv[0], "-timeout=20", "-max_len=8192", *options]
    atheris.Setup([*arguments, folder, str(begin), str(kept)], fuzz_targets.TARGETS[target])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
