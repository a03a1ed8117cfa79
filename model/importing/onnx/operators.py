"""What each ONNX operator becomes in a float graph.

A translation gets the context, the node, and its arguments: arrays for constants, `Value` for what
depends on the input, None for what is left out. To add one, write it into the file of its kind.
Source: https://onnx.ai/onnx/operators/.
"""

from __future__ import annotations

from model.importing.onnx import arrangement, elementwise, matrices, quantized, windows
from model.importing.onnx.context import Translation

__all__ = ["OPERATORS"]

OPERATORS: dict[tuple[str, str], Translation] = {
    **{
        ("", name): translation
        for file in (arrangement, elementwise, matrices, quantized, windows)
        for name, translation in file.TRANSLATIONS.items()
    },
    **{
        ("com.microsoft", name): translation
        for file in (elementwise, quantized)
        for name, translation in file.MICROSOFT.items()
    },
}
"""By domain and name."""
