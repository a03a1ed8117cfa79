"""MLPerf Tiny's models over the simulated serial line, against TensorFlow Lite Micro.

``python tests/benchmarks/mlperf_tiny.py DIRECTORY`` runs what docs/performance.md tells: ResNet8 on
the 200 pictures and DS-CNN on the 1,000 inputs that lie in DIRECTORY, on the simulated iCEBreaker,
and MobileNet and the autoencoder on 20 inputs each, random and structured ones, on the simulated
ULX3S-85F and, streaming from flash, on the simulated iCEBreaker; three inputs of each also layer by
layer. TFLM's answers are the recorded ones, or else come from its wheel. DIRECTORY is
``shared/data`` beside the project, with ``models`` in it. Needs a C++ compiler.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import tempfile
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from host.cli import main as host  # noqa: E402
from model.int8 import tflite  # noqa: E402
from tests.model.int8 import oracle  # noqa: E402

#: Model, data (None: made here), recorded answers of TFLM, port.
RUNS = (
    ("pretrainedResnet_quant", "ic01_perf200", "ic01_tflm_outputs", "sim"),
    ("kws_ref_model", "kws01", "kws01_tflm_outputs", "sim"),
    ("vww_96_int8", None, None, "sim://ulx3s-85f"),
    ("ad01_int8", None, None, "sim://ulx3s-85f"),
    ("vww_96_int8", None, None, "sim://icebreaker-flash?flash_scale=0.01"),
    ("ad01_int8", None, None, "sim://icebreaker-flash?flash_scale=0.01"),
)


def inputs(shape: tuple[int, ...]) -> np.ndarray:
    """Ten random inputs; slow and fast waves, ramps, all the least and all the greatest."""
    rng = np.random.default_rng(20)
    size = int(np.prod(shape))
    structured = [127 * np.sin(np.arange(size) * step) for step in (0.001, 0.02, 0.3, 1.0, 3.0)]
    structured += [np.linspace(-128, 127, size), np.linspace(127, -128, size)]
    structured += [np.full(size, -128), np.full(size, 127), np.arange(size) % 256 - 128]
    x = np.concatenate([rng.integers(-128, 128, (10, size)), structured])
    return x.astype(np.int8).reshape(-1, *shape)


def verify(*words: object) -> dict:
    output = io.StringIO()
    with redirect_stdout(output):
        host(["verify", *map(str, words), "--json"])
    return json.loads(output.getvalue())


def run(directory: Path, work: Path, model: str, data: str | None, recorded: str | None, port: str):
    path = directory / "models" / f"{model}.tflite"
    if data is None:
        samples = work / f"{model}.npz"
        np.savez(samples, x=inputs(tflite.load(path).input.shape[1:]))
    else:
        samples = directory / f"{data}.npz"
    saved = work / "answers.npz"
    jobs = ("--jobs", 2)
    report = verify(path, "--port", port, "--data", samples, "--save", saved, *jobs)
    with np.load(saved) as arrays:
        answers = arrays["hardware"]
    if recorded is None:
        with np.load(samples) as arrays:
            wanted = oracle.predict(tflite.load(path), arrays["x"])
    else:
        wanted = np.load(directory / f"{recorded}.npy")
    wrong = int(np.count_nonzero(answers != wanted.reshape(answers.shape)))
    print(
        f"{model} on {port}: {len(answers):,} inputs, {wrong} of {answers.size:,} bytes differ "
        f"from TFLM's; {report['cycles']:,} cycles; {report['seconds']:.0f} s",
        flush=True,
    )
    layers = verify(path, "--port", port, "--data", samples, "--count", 3, "--layers")["layers"]
    differ = sum(layer["mismatches"] for layer in layers)
    error = max(abs(layer["predicted_cycles"] / layer["cycles"] - 1) for layer in layers)
    print(
        f"  layer by layer, 3 inputs: {differ} of {len(layers)} layers' tensors differ from the "
        f"reference's; predicted cycles within {error:.1%} of the counted ones",
        flush=True,
    )
    return wrong + differ


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--only", metavar="MODEL", help="one of them")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        return int(
            any(
                [
                    run(arguments.directory, Path(work), *each)
                    for each in RUNS
                    if arguments.only in (None, each[0])
                ]
            )
        )


if __name__ == "__main__":
    sys.exit(main())
