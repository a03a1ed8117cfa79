"""The compiler: from an int8 network to the image that a board runs.

Graph → :mod:`.lowering` → layers → :mod:`.placement` → addresses → :mod:`.tape_writer` → tape →
:mod:`.assembly` → image. :mod:`.channels` holds the arithmetic that must be exact, :mod:`.loops`
the shape of the work, :mod:`.cycles` the prediction.
"""

from .assembly import compile
from .errors import AccumulatorError, CompileError, DoesNotFitError
from .report import CompiledModel, LayerReport, MemoryBlock

__all__ = [
    "AccumulatorError",
    "CompileError",
    "CompiledModel",
    "DoesNotFitError",
    "LayerReport",
    "MemoryBlock",
    "compile",
]
