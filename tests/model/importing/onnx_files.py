"""Small ONNX files, made for one purpose each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["Nodes", "model", "write"]

Nodes = list[tuple[Any, ...]]
"""Operator, inputs and outputs as words, and attributes; ``com.microsoft:Gelu`` names a domain."""


def model(
    nodes: Nodes,
    constants: dict[str, Any],
    shape: tuple[Any, ...],
    opset: int = 20,
    outputs: tuple[str, ...] = ("y",),
) -> Any:
    """A model with one input `x`; a constant's name may stand for an input left out: ``_``."""
    from onnx import TensorProto, helper, numpy_helper

    made = []
    for op, inputs, made_names, *rest in nodes:
        domain, _, name = op.rpartition(":")
        made.append(
            helper.make_node(
                name,
                ["" if each == "_" else each for each in inputs.split()],
                made_names.split(),
                name=f"the_{name}",
                domain=domain,
                **(rest[0] if rest else {}),
            )
        )
    graph = helper.make_graph(
        made,
        "test",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(np.asarray(each), name) for name, each in constants.items()],
    )
    versions = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=versions)


def write(path: Path, *arguments: Any, **options: Any) -> Path:
    """A file of `model`."""
    from onnx import save

    save(model(*arguments, **options), path)
    return path
