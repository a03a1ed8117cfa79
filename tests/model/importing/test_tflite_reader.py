"""Float `.tflite` files as float graphs: against what Keras computed before they were converted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from model.errors import ModelError
from model.importing.conversion import Conversion
from model.importing.formulas import recognize
from model.importing.importer import read_model
from model.importing.simplification import simplify
from model.int8 import reference, tflite
from model.int8.builder import GraphBuilder
from tests.model.int8 import oracle

DATA = Path(__file__).parent / "data"


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_a_network_computes_what_keras_computes(precision: str) -> None:
    graph, layout = read_model(DATA / f"{precision}.tflite")
    with np.load(DATA / "tflite.npz") as arrays:
        x, y = arrays["x"], arrays[precision]
    tolerance = 1e-5 if precision == "float32" else 1e-2
    assert layout == "NHWC"
    np.testing.assert_allclose(graph.run(x)[0].reshape(y.shape), y, atol=tolerance)
    recognize(graph)
    simplify(graph)
    np.testing.assert_allclose(graph.run(x)[0].reshape(y.shape), y, atol=tolerance)


def test_int8_is_close_to_float_and_equals_tflm() -> None:
    source, _ = read_model(DATA / "float16.tflite")
    x = np.random.default_rng(0).random((40, *source.shapes[0])).astype(np.float32)
    conversion = Conversion(source, None, x)
    graph = conversion.export("m")
    assert conversion.compare(graph, x, None).snr_db > 28
    stored = conversion.stored(x[:4])
    np.testing.assert_array_equal(
        reference.predict(graph, stored).reshape(4, -1),
        oracle.predict(graph, stored).reshape(4, -1),
    )


def test_what_is_int8_already_is_refused(tmp_path: Path) -> None:
    builder = GraphBuilder("m", (4, 4, 1))
    builder.logistic()
    path = tmp_path / "int8.tflite"
    tflite.save(builder.build(), path)
    with pytest.raises(ModelError, match="int8: it is quantised already, and needs no import"):
        read_model(path)


def test_damaged_files_are_refused_in_one_line(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    content = (DATA / "float32.tflite").read_bytes()
    path = tmp_path / "model.tflite"
    for trial in range(200):
        data = bytearray(content)
        if trial % 3 == 0:
            del data[int(rng.integers(len(data))) :]
        else:
            for place in rng.integers(0, len(data), 3):
                data[place] = int(rng.integers(256))
        path.write_bytes(data)
        try:
            read_model(path)
        except ModelError as refusal:
            assert "\n" not in str(refusal)
