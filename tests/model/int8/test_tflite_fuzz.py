"""Model files from strangers: mutated ones are read, or refused with one clear line, soon.

A few thousand here; EYESPOT_FUZZ=N runs N of each model, and as many of random networks.
EYESPOT_FUZZ_FOUND names a folder for those that are neither.
"""

from __future__ import annotations

import hashlib
import os
import random
import struct
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

from model import zoo
from model.errors import ModelError
from model.int8 import tflite
from tests.model.int8 import random_graphs

CASES = int(os.environ.get("EYESPOT_FUZZ", "700"))
#: Far more than any of them needs: an endless loop, or memory without bound, takes longer.
SECONDS = 10.0

_WORDS = (0, 1, 2, 4, 127, 255, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0xFFFF, 1 << 20, 1 << 28)
_FLOATS = (0.0, -1.0, float("nan"), float("inf"), 1e-45, 3e38, 1.0)


def mutate(data: bytes, generator: random.Random) -> bytes:
    """Bytes, words, floats and lengths changed; most of it where tables are, not weights."""
    mutated = bytearray(data)
    for _ in range(generator.randrange(1, 6)):
        if generator.random() < 0.5:
            place = generator.randrange(len(mutated))
        else:  # tables lie at the beginning, or at the end
            place = generator.randrange(min(3000, len(mutated)))
            place = place if generator.random() < 0.5 else len(mutated) - 1 - place
        aligned = place & ~3
        how = generator.randrange(7)
        if how == 0:
            mutated[place] ^= 1 << generator.randrange(8)
        elif how == 1:
            mutated[place] = generator.choice([0, 1, 2, 127, 128, 255])
        elif how == 2 and aligned + 4 <= len(mutated):
            struct.pack_into("<I", mutated, aligned, generator.choice(_WORDS))
        elif how == 3 and aligned + 4 <= len(mutated):
            struct.pack_into("<f", mutated, aligned, generator.choice(_FLOATS))
        elif how == 4 and aligned + 4 <= len(mutated):
            # An offset, or a length, that is a little wrong.
            (word,) = struct.unpack_from("<I", mutated, aligned)
            word = (word + generator.choice([-8, -4, -1, 1, 4, 8])) & 0xFFFFFFFF
            struct.pack_into("<I", mutated, aligned, word)
        elif how == 5 and len(mutated) > 100:
            del mutated[place : place + generator.choice([1, 4, 100, len(mutated)])]
            if len(mutated) < 8:
                break
        else:
            other = generator.randrange(len(mutated)) & ~3
            mutated[aligned : aligned + 4] = mutated[other : other + 4]
    return bytes(mutated)


def read(data: bytes) -> bool:
    """Whether it was taken; anything but a clear refusal is an error here."""
    begin = time.process_time()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            tflite.decode(data, "stranger")
        taken = True
    except ModelError as error:
        assert str(error) and "\n" not in str(error)
        taken = False
    assert time.process_time() - begin < SECONDS
    return taken


def read_mutated(original: bytes, generator: random.Random) -> bool:
    mutated = mutate(original, generator)
    try:
        return read(mutated)
    except Exception:
        if folder := os.environ.get("EYESPOT_FUZZ_FOUND"):
            name = hashlib.sha256(mutated).hexdigest()[:12]
            (Path(folder) / f"{name}.tflite").write_bytes(mutated)
        raise


@pytest.mark.parametrize("name", zoo.NAMES)
def test_mutated_models(name):
    generator = random.Random(name)
    original = zoo.resolve(Path(name)).read_bytes()
    assert read(original)
    taken = sum(read_mutated(original, generator) for _ in range(CASES))
    # Both happen: weights may be anything, tables may not.
    assert 0 < taken < CASES


def test_pieces_of_models():
    generator = random.Random(1)
    for name in zoo.NAMES:
        original = zoo.resolve(Path(name)).read_bytes()
        for _ in range(CASES // 7):
            assert not read(original[: generator.randrange(64)])
            read(original[: generator.randrange(len(original))])
            read(original[:8] + generator.randbytes(generator.randrange(400)))


@pytest.mark.parametrize("layer", random_graphs.LAYERS)
def test_mutated_random_networks(layer):
    """Every kind of layer, in the smallest files that have it: most bytes are tables."""
    generator = random.Random(layer)
    taken = 0
    for case in range(-(-CASES // 5)):
        if case % 20 == 0:
            rng = np.random.default_rng(generator.randrange(1 << 30))
            original = tflite.encode(random_graphs.LAYERS[layer](rng))
        taken += read_mutated(original, generator)
    assert taken < CASES
