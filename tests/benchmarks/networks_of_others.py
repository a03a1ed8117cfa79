"""What becomes of a folder of networks: for each, and for each board, whether it runs.

    python tests/benchmarks/networks_of_others.py DIRECTORY
        [--board BOARD ...] [--check | --engine] [--jobs N | --scheduler ADDRESS] [--json]

Prints cycles and inferences a second where a network runs, and else the reason. With ``--check``
every image is run by the tape interpreter on a random input, and its outputs are compared with the
reference. With ``--engine`` the simulated engine runs it, on the first of the boards on which it
fits, and its cycles are counted. The exit status is 1 if a byte differs.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).parents[2]))

from boards.catalog import BOARDS, BoardDescription, board
from gateware.interface.configuration import EngineConfiguration
from host.compiler import CompiledModel, CompileError, compile
from host.host_steps import finish, of_type, prepare
from model.cluster import Cluster
from model.errors import ModelError
from model.executor import Processes, compute
from model.int8 import reference, tflite
from model.int8.graph import Graph
from tests.gateware.engine.bench import EngineBench
from tests.tape_interpreter import execute

#: One of each size, with flash.
_BOARDS = (
    "icebreaker",
    "icebreaker-flash",
    "ulx3s-25f-flash",
    "ulx3s-45f-flash",
    "ulx3s-85f-flash",
)


Inputs = dict[str, npt.NDArray[Any]]


def random_memory(
    graph: Graph, compiled: CompiledModel, seed: int = 0
) -> tuple[npt.NDArray[np.int8], Inputs]:
    """Memory with the image and random inputs, garbage elsewhere; and the inputs."""
    rng = np.random.default_rng(seed)
    size = compiled.configuration.memory_bytes
    memory = rng.integers(-128, 128, size).astype(np.int8)
    memory[: len(compiled.image)] = np.frombuffer(compiled.image, np.int8)
    for each in compiled.card.variables:
        data = np.frombuffer(each.pack(), np.int8)
        memory[each.layout.address :][: len(data)] = data
    inputs = {}
    for index, card in zip(graph.inputs, compiled.card.inputs):
        tensor = graph.tensors[index]
        values = rng.integers(-128, 128, tensor.example_shape).astype(np.int8)
        typed = of_type(tensor.dtype, values, card.scale, card.zero_point)
        inputs[tensor.name] = typed[np.newaxis]
        data = np.frombuffer(card.pack(prepare(card, typed)), np.int8)
        memory[card.layout.address :][: len(data)] = data
    return memory, inputs


def differing_bytes(
    graph: Graph, compiled: CompiledModel, memory: npt.NDArray[np.int8], inputs: Inputs
) -> int:
    """Of all outputs, those in which ``memory`` after a run differs from the reference."""
    expected = reference.run(graph, inputs)
    differing = 0
    for index, card in zip(graph.outputs, compiled.card.outputs):
        layout = card.layout
        given = card.unpack(memory[layout.address :][: layout.size].tobytes())
        result = np.asarray(finish(card, given)).ravel()
        differing += int((result != expected[index][0].ravel()).sum())
    return differing


def interpreted(graph: Graph, compiled: CompiledModel) -> dict[str, Any]:
    """What the tape interpreter makes of a random input."""
    if compiled.configuration.flash:
        # The interpreter has no flash; the same layers run from a larger memory.
        large = replace(compiled.configuration, flash=False, memory_bytes=1 << 20, banks=1)
        compiled = compile(graph, large)
    memory, inputs = random_memory(graph, compiled)
    execute(compiled.configuration, memory)
    return {"differing_bytes": differing_bytes(graph, compiled, memory, inputs)}


class Engines:
    """Compiled engines, one of each configuration."""

    def __init__(self) -> None:
        self._benches: dict[EngineConfiguration, EngineBench] = {}

    def run(self, graph: Graph, compiled: CompiledModel) -> dict[str, Any]:
        """What the simulated engine makes of a random input, and in how many cycles."""
        configuration = compiled.configuration
        if configuration not in self._benches:
            bench = EngineBench(configuration, max_run_cycles=1 << 28)
            self._benches[configuration] = bench
        bench = self._benches[configuration]
        memory, inputs = random_memory(graph, compiled)
        bench.write(0, memory.tobytes())
        if configuration.flash:
            bench.set_stream(compiled.stream)
        result = bench.run()
        if result.error:
            return {"differing_bytes": -1, "error": result.error.name}
        for card in compiled.card.outputs:
            layout = card.layout
            found = bench.read(layout.address, layout.size)
            memory[layout.address :][: layout.size] = np.frombuffer(found, np.int8)
        return {
            "counted_cycles": result.cycles,
            "differing_bytes": differing_bytes(graph, compiled, memory, inputs),
        }


def outcomes(
    path: Path,
    boards: list[BoardDescription],
    check: Callable[[Graph, CompiledModel], dict[str, Any]] | None,
    once: bool,
) -> Iterator[tuple[str, dict[str, Any]]]:
    """For each board what becomes of the network in ``path``; ``once``: up to the first that runs
    it."""
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
        if check is not None:
            try:
                result |= check(graph, compiled)
            except CompileError as error:
                result["unchecked"] = str(error)
        yield each.name, result
        if once:
            return


@cache
def _engines() -> Engines:
    """Those of a process."""
    return Engines()


def _outcomes(
    path: Path, boards: list[BoardDescription], check: bool, engine: bool
) -> list[tuple[str, dict[str, Any]]]:
    """:func:`outcomes`, in a worker."""
    how = interpreted if check else _engines().run if engine else None
    return list(outcomes(path, boards, how, engine))


def _show(
    name: str, results: list[tuple[str, dict[str, Any]]], arguments: argparse.Namespace
) -> int:
    """Print a line for each board, without ``--json``; gives how often bytes differ."""
    wrong = 0
    for board_name, result in results:
        differing = result.get("differing_bytes", 0)
        wrong += differing != 0
        if arguments.json:
            continue
        if result["runs"]:
            text = f"{result['cycles']:,} cycles, {result['rate']:,.1f}/s"
            if "counted_cycles" in result:
                off = result["counted_cycles"] / result["cycles"] - 1
                text += f", counted {result['counted_cycles']:,} ({off:+.1%})"
            if arguments.check or arguments.engine:
                text += f", {result.get('unchecked', f'{differing} bytes differ')}"
        else:
            text = f"NO: {result['reason']}"
        print(f"{name:60}  {board_name:18}  {text}", flush=True)
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("directory", type=Path)
    names = [each.name for each in BOARDS]
    parser.add_argument("--board", action="append", choices=names, metavar="BOARD")
    checks = parser.add_mutually_exclusive_group()
    checks.add_argument("--check", action="store_true", help="run each by the interpreter")
    checks.add_argument("--engine", action="store_true", help="run each by the simulated engine")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="networks at once")
    parser.add_argument("--scheduler", metavar="ADDRESS", help="of a Dask cluster, instead")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    boards = [board(name) for name in arguments.board or _BOARDS]
    found: dict[str, dict[str, dict[str, Any]]] = {}
    wrong = 0
    paths = sorted(arguments.directory.glob("**/*.tflite"))
    pieces = [(path, boards, arguments.check, arguments.engine) for path in paths]
    scheduler = arguments.scheduler
    with Processes(arguments.jobs) if scheduler is None else Cluster(scheduler) as queue:
        for place, results in compute([queue], _outcomes, pieces):
            name = str(paths[place].relative_to(arguments.directory))
            found[name] = dict(results)
            wrong += _show(name, results, arguments)
    found = dict(sorted(found.items()))
    runs = sum(any(each["runs"] for each in boards.values()) for boards in found.values())
    if arguments.json:
        print(json.dumps({"networks": found, "run": runs}))
    else:
        print(f"{runs} of {len(found)} networks run on some board")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
