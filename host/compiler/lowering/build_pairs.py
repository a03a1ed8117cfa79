"""Layers of lines, and of two tensors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from model.int8 import fixed_point
from model.int8.graph import OperatorKind
from model.int8.operators.quantization import affine, clamp, fused_activation

from ..layers import Epilogue, Kernel, Layer, Mode
from ..two_tensors import Multiplication, maximum, multiply
from .plan import Step
from .storage import Stored

__all__ = ["build_lines", "build_pair"]


def build_lines(stored: Stored, step: Step) -> list[Layer]:
    """A line for each channel: a depthwise convolution of one tap."""
    lines = step.lines
    assert lines is not None
    weights, kernel = lines.weight.reshape(-1, 1, 1), Kernel()
    times = max(-(-int(weights.max()) // 127), -(int(weights.min()) // 128), 1)
    if times > 1:
        # The same byte as often as it takes.
        whole = weights * np.arange(times + 1) // times
        weights, kernel = np.diff(whole, axis=2), Kernel(width=times, dilation_w=0)
    return [
        Layer(
            name=step.name,
            kinds=step.kinds,
            mode=Mode.DEPTHWISE,
            source=stored.source(step),
            target=stored.target(step),
            kernel=kernel,
            weights=weights,
            pad_value=0,
            epilogue=Epilogue(
                bias=lines.bias,
                multiplier=lines.multiplier,
                shift=lines.shift,
                zero_point=lines.zero_point,
                minimum=lines.minimum,
                maximum=lines.maximum,
                table=step.table,
            ),
        )
    ]


def build_pair(stored: Stored, step: Step) -> list[Layer]:
    """The product of two tensors, or the greater byte of each pair."""
    assert step.pair is not None and step.operator is not None
    graph, configuration = stored.plan.graph, stored.plan.configuration
    one, other = (stored.source(replace(step, source=tensor)) for tensor in step.pair)
    target = stored.target(step)
    if step.operator.kind is not OperatorKind.MUL:
        return [maximum(step.name, step.kinds, (one, other), target, configuration, step.table)]
    (scale, zero), (scale_other, zero_other) = (
        affine(graph, tensor) for tensor in step.operator.inputs[:2]
    )
    scale_out, zero_out = affine(graph, step.operator.outputs[0])
    multiplier, shift = fixed_point.quantize_multiplier(
        float(scale) * float(scale_other) / float(scale_out)
    )
    low, high = clamp(fused_activation(step.operator), scale_out, zero_out)
    rule = Multiplication(
        (int(zero), int(zero_other)), int(multiplier), int(shift), int(zero_out), low, high
    )
    return [multiply(step.name, step.kinds, (one, other), target, rule, configuration, step.table)]
