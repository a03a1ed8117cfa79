"""Networks that a small memory holds only in bands of rows."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest

from host.compiler import DoesNotFitError, assembly, compile
from host.compiler.lowering import lower
from model.int8.builder import GraphBuilder
from model.int8.graph import Padding
from tests.host.compiler.networks import RandomNetwork, configuration
from tests.host.compiler.test_compile import check

SIZES = ((8, 2), (3, 3), (4, 4), (16, 8, 8))
COUNT = 100 if os.environ.get("EYESPOT_LONG") else 8
#: Layers that a chain may have.
LAYERS = ("conv", "pointwise", "pointwise", "depthwise", "pool", "average", "pad", "pool_behind")


class Tall(RandomNetwork):
    """Networks of pictures that are higher than their windows."""

    def pool_behind(self):
        self.conv()
        self.pool()

    def _stride(self):
        return int(self.rng.integers(1, 3)), 1


def network(rng):
    made = Tall(rng, (int(rng.integers(24, 40)), int(rng.integers(3, 7)), int(rng.integers(1, 7))))
    for _ in range(int(rng.integers(3, 6))):
        name = str(rng.choice(LAYERS))
        if name == "pad" or min(made.shape[:2]) > 2:
            getattr(made, name)()
    return made.builder.build()


@pytest.mark.parametrize("size", SIZES)
def test_random_networks(size, monkeypatch):
    """In memory for the whole image: bands that would not pay on so small networks are tried."""
    engine = configuration(size, memory_bytes=1 << 19, banks=1)
    cut = 0
    for seed in range(COUNT):
        rng = np.random.default_rng([seed, *size, 3])
        graph = network(rng)
        monkeypatch.undo()
        whole = compile(graph, engine)
        image, *tensors = whole.memory
        needed = max(
            sum(each.size for each in tensors if each.first <= layer <= each.last)
            for layer in range(image.last)
        )
        for part in (0.5, 0.7, 0.9):
            # With flash, bands do not make the image larger.
            found = lower(graph, replace(engine, flash=True), int(part * needed))
            if found is not None and found.partial:
                break
        else:
            continue
        monkeypatch.setattr(assembly, "lower", lambda *_, found=found: found)
        small = check(graph, engine, rng)
        assert len(small.layers) > len(whole.layers)
        if {layer.op for layer in small.layers} == {layer.op for layer in whole.layers}:
            assert small.macs == whole.macs
        cut += 1
    assert cut >= COUNT // 4, cut


def inverted(height=64, residual=False):
    """What makes MobileNets need much memory: many channels between two layers of few."""
    rng = np.random.default_rng(5)

    def weights(*shape):
        return rng.integers(-20, 21, shape).astype(np.int8)

    net = GraphBuilder("inverted", (height, 8, 8), 0.25, -3)
    net.conv_2d(weights(8, 1, 1, 8), 2**-6, None, scale=0.25, zero_point=1)
    begin = net.last
    net.conv_2d(weights(48, 1, 1, 8), 2**-6, None, scale=0.25, zero_point=1)
    options = {"scale": 0.5, "zero_point": 9, "padding": Padding.SAME}
    net.depthwise_conv_2d(weights(1, 3, 3, 48), 2**-6, None, **options)
    net.conv_2d(weights(8, 1, 1, 48), 2**-7, None, scale=0.25, zero_point=0)
    if residual:
        net.add(begin, scale=0.5, zero_point=3)
    return net.build()


@pytest.mark.parametrize("residual, banks", [(False, 13), (True, 14)])
def test_a_block_of_many_channels(residual, banks):
    graph = inverted(residual=residual)
    engine = configuration((8, 2), memory_bytes=4096 * banks, banks=banks)
    compiled = check(graph, engine, np.random.default_rng(1))
    # What is between two layers is never whole, so it cannot be compared.
    between = {layer.name for layer in compiled.layers if layer.tensor is None}
    assert {"conv2", "depthwise1"} & between
    assert compiled.cycles < 1.25 * compile(graph, configuration((8, 2))).cycles


def test_bands_are_for_small_memories_only():
    graph = inverted()
    layers = compile(graph, configuration((8, 2))).layers
    assert len(layers) == len({layer.name for layer in layers})


def test_what_no_bands_make_fit_is_refused_with_what_it_needs_whole():
    graph = inverted(height=512)
    with pytest.raises(DoesNotFitError) as refusal:
        compile(graph, configuration((8, 2), memory_bytes=8 * 1024))
    assert refusal.value.needed > 2 * 512 * 8 * 48
