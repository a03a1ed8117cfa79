"""What becomes of a folder of networks: for each, and for each board, whether it runs.

    python tests/benchmarks/networks_of_others.py DIRECTORY [--board BOARD ...] [--check] [--json]

Prints cycles and inferences a second where a network runs, and else the reason. With ``--check``
every image is run by the tape interpreter on a random input, and its outputs are compared with the
reference. The exit status is 1 if a byte differs.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))

from boards.catalog import BOARDS, BoardDescription, board
from host.compiler import CompiledModel, CompileError, compile
from host.host_steps import finish, of_type, prepare
from model.errors import ModelError
from model.int8 import reference, tflite
from model.int8.graph import Graph
from tests.tape_interpreter import execute

#: One of each size, with flash.
_BOARDS = (
    "icebreaker",
    "icebreaker-flash",
    "ulx3s-25f-flash",
    "ulx3s-45f-flash",
    "ulx3s-85f-flash",
)


def differing_bytes(graph: Graph, compiled: CompiledModel, seed: int = 0) -> int:
    """Of all outputs, those in which interpreter and reference differ for a random input."""
    rng = np.random.default_rng(seed)
    if compiled.stream:
        # The interpreter has no flash; the same layers run from a larger memory.
        large = replace(compiled.configuration, flash=False, memory_bytes=1 << 20, banks=1)
        compiled = compile(graph, large)
    size = compiled.configuration.memory_bytes
    memory = rng.integers(-128, 128, size).astype(np.int8)
    memory[: len(compiled.image)] = np.frombuffer(compiled.image, np.int8)
    inputs = {}
    for index, card in zip(graph.inputs, compiled.card.inputs):
        tensor = graph.tensors[index]
        values = rng.integers(-128, 128, tensor.example_shape).astype(np.int8)
        typed = of_type(tensor.dtype, values, card.scale, card.zero_point)
        inputs[tensor.name] = typed[np.newaxis]
        data = np.frombuffer(card.pack(prepare(card, typed)), np.int8)
        memory[card.layout.address :][: len(data)] = data
    execute(compiled.configuration, memory)
    expected = reference.run(graph, inputs)
    differing = 0
    for index, card in zip(graph.outputs, compiled.card.outputs):
        layout = card.layout
        given = card.unpack(memory[layout.address :][: layout.size].tobytes())
        result = np.asarray(finish(card, given)).ravel()
        differing += int((result != expected[index][0].ravel()).sum())
    return differing


def outcomes(
    path: Path, boards: list[BoardDescription], check: bool
) -> Iterator[tuple[str, dict[str, Any]]]:
    """For each board what becomes of the network in ``path``."""
    try:
        graph = tflite.load(path)
    except ModelError as error:
        for each in boards:
            yield each.name, {"runs": False, "reason": str(error)}
        return
    for each in boards:
        begin = time.monotonic()
        try:
            compiled = compile(graph, each.configuration)
        except CompileError as error:
            yield each.name, {"runs": False, "reason": str(error)}
            continue
        result: dict[str, Any] = {
            "runs": True,
            "cycles": compiled.cycles,
            "rate": each.clock_hz / compiled.cycles,
            "layers": len(compiled.layers),
            "memory": compiled.memory_bytes,
            "streamed": len(compiled.stream),
            "seconds": time.monotonic() - begin,
        }
        if check:
            try:
                result["differing_bytes"] = differing_bytes(graph, compiled)
            except CompileError as error:
                result["unchecked"] = str(error)
        yield each.name, result


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("directory", type=Path)
    names = [each.name for each in BOARDS]
    parser.add_argument("--board", action="append", choices=names, metavar="BOARD")
    parser.add_argument("--check", action="store_true", help="run each by the interpreter")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    boards = [board(name) for name in arguments.board or _BOARDS]
    found: dict[str, dict[str, dict[str, Any]]] = {}
    wrong = 0
    for path in sorted(arguments.directory.glob("**/*.tflite")):
        name = str(path.relative_to(arguments.directory))
        found[name] = {}
        for board_name, result in outcomes(path, boards, arguments.check):
            found[name][board_name] = result
            differing = result.get("differing_bytes", 0)
            wrong += differing > 0
            if arguments.json:
                continue
            if result["runs"]:
                text = f"{result['cycles']:,} cycles, {result['rate']:,.1f}/s"
                if arguments.check:
                    text += f", {result.get('unchecked', f'{differing} bytes differ')}"
            else:
                text = f"NO: {result['reason']}"
            print(f"{name:60}  {board_name:18}  {text}", flush=True)
    runs = sum(any(each["runs"] for each in boards.values()) for boards in found.values())
    if arguments.json:
        print(json.dumps({"networks": found, "run": runs}))
    else:
        print(f"{runs} of {len(found)} networks run on some board")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
