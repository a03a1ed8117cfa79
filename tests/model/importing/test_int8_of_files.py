"""Files of other tools, converted: every operator, close to float and byte for byte TFLM's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model.importing.conversion import Conversion
from model.importing.importer import read_model
from model.int8 import reference, tflite
from tests.model.int8 import oracle

DATA = Path(__file__).parent / "data"

# What int8 loses on these networks, which end in a softmax or have few channels, is up to 3 %.
LEAST_SNR_DB = 28


@pytest.mark.parametrize(
    "file",
    [
        "residual_legacy.onnx",
        "mobile_default.onnx",
        "shuffle_legacy.onnx",
        "functions_default.onnx",
        "excitation_legacy.onnx",
        "sequence_legacy.onnx",
        "pools_default.onnx",
        "picture.keras",
        "sequence.keras",
    ],
)
def test_int8_is_close_to_float_and_equals_tflm(file: str) -> None:
    pytest.importorskip("onnx" if file.endswith("onnx") else "h5py")
    source, _ = read_model(DATA / file)
    rng = np.random.default_rng(0)
    x = rng.random((60, *source.shapes[0])).astype(np.float32)
    x *= 255 if file == "picture.keras" else 1
    conversion = Conversion(source, None, x)
    graph = conversion.export("m")
    graph = tflite.decode(tflite.encode(graph), "m")
    assert conversion.compare(graph, x, None).snr_db > LEAST_SNR_DB
    stored = conversion.stored(x[:4])
    ours = reference.run(graph, stored, "all")
    for tensor, values in oracle.run(graph, stored).items():
        np.testing.assert_array_equal(ours[tensor], values)
