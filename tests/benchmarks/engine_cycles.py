"""Cycles of the engine alone, by its own counter, and whether each layer's tensor is exact.

``python tests/benchmarks/engine_cycles.py MODEL ... [--board ulx3s-85f] [--memory-kib 512]`` prints
a line for each model, and with ``--layers`` for each layer. A model is a file, the name of a
bundled one, or ``cnn``, the network of docs/performance.md with random weights. Inputs are random,
or waves. It needs a C++ compiler.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from boards.catalog import board  # noqa: E402
from host.compiler import compile  # noqa: E402
from model import zoo  # noqa: E402
from model.errors import EyespotError  # noqa: E402
from model.int8 import reference  # noqa: E402
from model.int8.builder import GraphBuilder  # noqa: E402
from model.int8.graph import Activation, Graph, Padding  # noqa: E402
from tests.gateware.engine.bench import EngineBench  # noqa: E402


def cnn() -> Graph:
    """28x28x1: conv 16 3x3, pool, conv 32 3x3, pool, dense 10."""
    rng = np.random.default_rng(0)
    builder = GraphBuilder("cnn", (28, 28, 1), 1 / 255, -128)
    for channels, inputs, scale in ((16, 1, 0.05), (32, 16, 1.5)):
        builder.conv_2d(
            weights=rng.integers(-127, 128, (channels, 3, 3, inputs)).astype(np.int8),
            weight_scale=[0.01] * channels,
            bias=None,
            scale=scale,
            zero_point=-128,
            activation=Activation.RELU,
            padding=Padding.SAME,
        )
        builder.max_pool_2d((2, 2), None, Padding.VALID)
    builder.reshape((7 * 7 * 32,))
    weights = rng.integers(-31, 32, (10, 7 * 7 * 32)).astype(np.int8)
    builder.fully_connected(weights=weights, weight_scale=0.01, bias=None, scale=30.0, zero_point=0)
    return builder.build()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("--board", default="icebreaker")
    parser.add_argument("--memory-kib", type=int, help="instead of the board's memory")
    parser.add_argument("--requantizers", type=int, help="instead of the board's number")
    parser.add_argument("--pooling", action="store_true", help="convolutions pool their results")
    parser.add_argument("--ring", type=int, metavar="N", help="instead of the board's entries")
    parser.add_argument("--inputs", type=int, default=3)
    parser.add_argument("--layers", action="store_true", help="also a line a layer")
    arguments = parser.parse_args()

    try:
        graphs = [cnn() if name == "cnn" else zoo.load(name) for name in arguments.models]
        configuration = board(arguments.board).configuration
    except EyespotError as error:
        parser.error(str(error))
    if arguments.memory_kib:
        configuration = replace(configuration, memory_bytes=arguments.memory_kib << 10)
    if arguments.requantizers:
        configuration = replace(configuration, requantizers=arguments.requantizers)
    if arguments.pooling:
        configuration = replace(configuration, pooling=True)
    if arguments.ring:
        configuration = replace(configuration, ring_entries=arguments.ring)
    bench = EngineBench(configuration, max_run_cycles=1 << 22)
    multipliers = configuration.lanes * configuration.pixels
    for graph in graphs:
        compiled = compile(graph, configuration)
        bench.write(0, compiled.image)
        rng = np.random.default_rng(0)
        size = compared = wrong = 0
        for number in range(arguments.inputs):
            shape = graph.input.shape[1:]
            values = rng.integers(-128, 128, shape)
            if number % 3 == 1:
                values = np.clip(np.cumsum(rng.normal(0, 2, shape), axis=0), -128, 127)
            picture = values.astype(np.int8)
            expected = reference.run(graph, picture[np.newaxis], keep="all")
            counted = [0]
            for count, layer in enumerate(compiled.layers, start=1):
                bench.write(compiled.input.address, compiled.card.input.pack(picture))
                counted.append(bench.run(count).cycles)
                if layer.tensor is not None:
                    output = layer.output
                    found = layer.unpack(bench.read(output.address, output.size))
                    wanted = expected[layer.tensor].reshape(found.shape)
                    compared += 1
                    size += wanted.size
                    wrong += int(np.count_nonzero(found != wanted))
        if arguments.layers:
            for layer, before, after in zip(compiled.layers, counted, counted[1:]):
                print(f"  {layer.name:16} {layer.op:24} {after - before:9,} {layer.cycles:9,}")
        macs = sum(layer.macs for layer in compiled.layers)
        predicted = sum(layer.cycles for layer in compiled.layers)
        print(
            f"{graph.name}: {counted[-1]:,} cycles (predicted {predicted:,}), "
            f"{macs / counted[-1] / multipliers:.1%} of {multipliers} multipliers; "
            f"{wrong} of {size:,} bytes wrong in {compared} tensors",
            flush=True,
        )
    bench.close()


if __name__ == "__main__":
    main()
