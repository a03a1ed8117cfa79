"""What reader and writer of `.tflite` files share of the schema.

Source: TensorFlow Lite ``schema.fbs``, version 3. The tables of options are the operators' own, in
`.operators`.
"""

from __future__ import annotations

from typing import Final

import tflite

__all__ = ["DTYPES", "FILE_IDENTIFIER", "METADATA_NAME", "SCHEMA_VERSION"]

FILE_IDENTIFIER: Final = b"TFL3"
SCHEMA_VERSION: Final = 3
METADATA_NAME: Final = b"TFLITE_METADATA"

DTYPES: Final = {
    tflite.TensorType.FLOAT32: "float32",
    tflite.TensorType.FLOAT16: "float16",
    tflite.TensorType.INT32: "int32",
    tflite.TensorType.UINT8: "uint8",
    tflite.TensorType.INT64: "int64",
    tflite.TensorType.BOOL: "bool",
    tflite.TensorType.INT16: "int16",
    tflite.TensorType.INT8: "int8",
    tflite.TensorType.FLOAT64: "float64",
}
"""NumPy's name of each element type that is read."""
