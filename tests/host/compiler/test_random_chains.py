"""Random networks in which layers, moves, arithmetic of two tensors and reductions follow each
other in every order, with other quantisations at each step and outputs in the middle.

By the interpreter; ``EYESPOT_RANDOM_NETWORKS=2000`` makes it a long run. With ``EYESPOT_LONG=1``
the compiled engine runs them, too. A network that fails is named by its seed, and kept in `FOUND`.
"""

from __future__ import annotations

import os

import numpy as np
import pytest

from host.compiler import CompileError, compile
from host.host_steps import finish
from host.simulation.backends.toolchain import find_compiler
from model.errors import ModelError
from model.int8 import reference
from model.int8.builder import GraphBuilder
from model.int8.graph import Padding
from tests.host.compiler.networks import ZERO_POINTS, configuration
from tests.host.compiler.test_moves import MOVES, SIZES, Chain, agree, convolve
from tests.host.compiler.test_pairs import operand

COUNT = int(os.environ.get("EYESPOT_RANDOM_NETWORKS", "24"))
#: Seeds that once gave a wrong byte or broke the tape.
FOUND: tuple[int, ...] = (3760,)
SEEDS = [*FOUND, *range(3000, 3000 + COUNT)]
#: Refused for what they are: nothing to do, or sums of scales that no two tables give.
KNOWN = ("has no layer", "rounds some halves", "too far and wide", "over channels")
LAYERS = ("move", "move", "move", "conv", "depthwise", "pair", "table", "shortcut", "pool", "mean")


class Network(Chain):
    """Adds random steps to a builder."""

    def __init__(self, rng):
        shape = tuple(int(n) for n in (*rng.integers(1, 7, 2), rng.integers(1, 12)))
        super().__init__(rng, GraphBuilder("chain", shape, 0.25, int(rng.choice(ZERO_POINTS))))
        self.made = [self.net.last]

    def quantization(self, factor=1.0):
        scale = float(np.float32(factor * self.rng.uniform(0.4, 2)))
        return {"scale": scale, "zero_point": int(self.rng.choice(ZERO_POINTS))}

    def add_step(self):
        name = str(self.rng.choice(LAYERS))
        picture = len(self.shape) == 4
        if name == "move" and np.prod(self.shape) < 500:
            getattr(self, str(self.rng.choice(MOVES)))()
        elif name == "table":
            getattr(self.net, str(self.rng.choice(["relu6", "logistic", "tanh"])))()
        elif name == "shortcut":
            self.shortcut()
        elif name in ("conv", "depthwise", "pair", "pool", "mean") and picture:
            getattr(self, f"{name}_step")()
        self.made.append(self.net.last)

    def conv_step(self):
        kernel = tuple(int(n) for n in self.rng.integers(1, 4, 2))
        channels = int(self.rng.integers(1, 12))
        convolve(self.net, self.rng, channels, kernel, padding=Padding.SAME)

    def depthwise_step(self):
        weights = self.rng.integers(-20, 21, (1, 3, 3, self.shape[-1])).astype(np.int8)
        self.net.depthwise_conv_2d(
            weights, 2**-8, None, **self.quantization(0.3), padding=Padding.SAME
        )

    def pair_step(self):
        other = operand(self.rng, self.net, 0.3)
        name = str(self.rng.choice(["add", "sub", "mul", "maximum", "minimum"]))
        if name in ("maximum", "minimum"):
            getattr(self.net, name)(other)
        else:
            getattr(self.net, name)(other, **self.quantization(8 if name == "mul" else 1))

    def pool_step(self):
        if min(self.shape[1:3]) >= 2:
            self.net.max_pool_2d((2, 2))

    def mean_step(self):
        axes = (1, 2) if self.rng.random() < 0.5 else (int(self.rng.integers(1, 4)),)
        values = self.quantization(0.2)
        self.net.mean(values["scale"], values["zero_point"], axes)

    def shortcut(self):
        """Add something of the same shape that was made before."""
        tensors = self.net.build().tensors
        shape = tensors[self.net.last].shape
        same = [t for t in self.made if tensors[t].shape == shape and t != self.net.last]
        if same:
            self.net.add(int(self.rng.choice(same)), **self.quantization())


def network(seed):
    """Graph and generator; None where the steps do not fit each other."""
    rng = np.random.default_rng([seed, 77])
    chain = Network(rng)
    try:
        for _ in range(int(rng.integers(2, 8))):
            chain.add_step()
        others = [t for t in dict.fromkeys(chain.made[1:-1]) if t != chain.net.last]
        outputs = [t for t in others if rng.random() < 0.2]
        return chain.net.build(outputs=(chain.net.last, *outputs)), rng
    except (ModelError, ValueError):
        return None


def test_interpreter():
    tried = 0
    for seed in SEEDS:
        made = network(seed)
        if made is None:
            continue
        graph, rng = made
        size = SIZES[seed % len(SIZES)]
        try:
            agree(graph, configuration(size, memory_bytes=1 << 19, banks=1), rng)
            tried += 1
        except CompileError as error:
            assert any(known in str(error) for known in KNOWN), (seed, str(error))
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
    assert tried > len(SEEDS) // 2


@pytest.mark.skipif(os.environ.get("EYESPOT_LONG") != "1", reason="EYESPOT_LONG=1 runs it")
@pytest.mark.skipif(find_compiler() is None, reason="no C++ compiler")
@pytest.mark.parametrize("size", [(8, 2), (16, 8, 8)], ids=str)
def test_engine(size):
    from tests.gateware.engine.bench import EngineBench

    engine = EngineBench(configuration(size))
    for seed in SEEDS:
        made = network(seed)
        if made is None:
            continue
        graph, rng = made
        try:
            compiled = compile(graph, configuration(size))
        except CompileError:
            continue
        inputs = {
            graph.tensors[index].name: rng.integers(
                -128, 128, graph.tensors[index].example_shape
            ).astype(np.int8)
            for index in graph.inputs
        }
        examples = {name: values[np.newaxis] for name, values in inputs.items()}
        expected = reference.run(graph, examples)
        engine.write(0, compiled.image)
        for card, values in zip(compiled.card.inputs, inputs.values()):
            engine.write(card.layout.address, card.pack(values))
        engine.run()
        for index, card in zip(graph.outputs, compiled.card.outputs):
            given = card.unpack(engine.read(card.layout.address, card.layout.size))
            wanted = expected[index][0]
            assert np.array_equal(finish(card, given).reshape(wanted.shape), wanted), seed
    engine.close()
