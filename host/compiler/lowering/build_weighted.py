"""Layers of convolutions and dense layers."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np

from model.int8 import reference
from model.int8.graph import ABSENT, Operator, OperatorKind

from ..channels import fit_channels
from ..errors import AccumulatorError, CompileError
from ..layers import Epilogue, IntArray, Kernel, Layer, Mode, View
from ..wide import combined, fit_wide
from .plan import Plan, Step
from .reshape import spread_channels, without_horizontal_dilation
from .storage import Stored


def _constants(plan: Plan, operator: Operator) -> tuple[IntArray, IntArray]:
    """Weights as in the file, and bias."""
    weights = plan.graph.tensors[operator.inputs[1]].data
    if weights is None:
        raise CompileError(f"layer {operator.name}: its weights must be a constant")
    channels = plan.graph.tensors[operator.outputs[0]].shape[-1]
    bias = np.zeros(channels, np.int64)
    if len(operator.inputs) > 2 and operator.inputs[2] != ABSENT:
        data = plan.graph.tensors[operator.inputs[2]].data
        if data is None:
            raise CompileError(f"layer {operator.name}: its bias must be a constant")
        bias = data.astype(np.int64)
    return weights.astype(np.int64), bias


def is_wide(plan: Plan, operator: Operator) -> bool:
    """Whether sums of a convolution or dense layer need two passes, see :mod:`..wide`."""
    weights, bias = _constants(plan, operator)
    depthwise = operator.kind is OperatorKind.DEPTHWISE_CONV_2D
    flat = np.moveaxis(weights, 3, 0) if depthwise else weights
    rule = reference.requantization(plan.graph, operator)
    try:
        fit_channels(operator.name, flat.reshape(len(flat), -1), bias, rule, plan.configuration)
    except AccumulatorError:
        return True
    return False


def _passes(
    stored: Stored, step: Step, operator: Operator, weights: IntArray, bias: IntArray
) -> list[tuple[IntArray, Epilogue]]:
    """Weights, of shape (output channels, taps), and epilogue of each pass, the exact one last."""
    rule = reference.requantization(stored.plan.graph, operator)
    configuration = stored.plan.configuration
    if not step.wide:
        flat, epilogue = fit_channels(operator.name, weights, bias, rule, configuration)
        return [(flat, replace(epilogue, table=step.table))]
    wide = fit_wide(operator.name, weights, bias, rule, configuration)
    exact = combined(replace(wide.exact_epilogue, table=step.table))
    return [(wide.coarse, wide.coarse_epilogue), (wide.exact, exact)]


def build_convolution(stored: Stored, step: Step, operator: Operator) -> list[Layer]:
    weights, bias = _constants(stored.plan, operator)
    source = stored.source(step)
    weights, kernel = without_horizontal_dilation(weights, stored.kernel(step, operator))
    return _convolution(stored, step, operator, source, kernel, weights, bias)


def build_fully_connected(stored: Stored, step: Step, operator: Operator) -> list[Layer]:
    weights, bias = _constants(stored.plan, operator)
    if step.gather is not None:
        size = prod(stored.plan.graph.tensors[step.source].shape)
        ordered = np.zeros((len(weights), size), np.int64)
        ordered[:, step.gather] = weights
        weights = ordered
    source = stored.value_view(step.source)
    if source.height * source.width * source.channels == weights.shape[1]:
        # One output pixel: a window as large as the picture.
        shape = (len(weights), source.height, source.width, source.channels)
        kernel = Kernel(source.height, source.width)
    else:
        source = stored.source(step)
        if source.channels != weights.shape[1]:
            raise CompileError(
                f"layer {operator.name}: takes {weights.shape[1]} values, its input has "
                f"{source.height}x{source.width}x{source.channels}"
            )
        shape = (len(weights), 1, 1, source.channels)
        kernel = Kernel()
    return _convolution(stored, step, operator, source, kernel, weights.reshape(shape), bias)


def _convolution(
    stored: Stored,
    step: Step,
    operator: Operator,
    source: View,
    kernel: Kernel,
    weights: IntArray,
    bias: IntArray,
) -> list[Layer]:
    graph, target = stored.plan.graph, stored.target(step)
    macs = graph.macs(operator)
    if step.pooled:
        # What the pool leaves out, at the end of odd rows and columns, is not computed.
        _, height, width, _ = graph.tensors[operator.outputs[0]].shape
        macs = macs * 4 * target.height * target.width // (height * width)
    passes = _passes(stored, step, operator, weights.reshape(len(weights), -1), bias)
    return [
        Layer(
            name=step.name,
            kinds=step.kinds,
            mode=Mode.CONVOLUTION,
            source=source,
            target=target,
            kernel=kernel,
            weights=spread_channels(flat.reshape(weights.shape), source.pixel_pitch),
            pad_value=stored.plan.zero_point(operator.inputs[0]),
            epilogue=epilogue,
            # The multiplications of a coarse pass are not what the network asks for.
            macs=macs if flat is passes[-1][0] else 0,
            pooled=step.pooled,
        )
        for flat, epilogue in passes
    ]


def build_depthwise(stored: Stored, step: Step, operator: Operator) -> list[Layer]:
    """A pass for each of the outputs that a channel has; most networks have one."""
    weights, bias = _constants(stored.plan, operator)
    source, target = stored.source(step), stored.target(step)
    _, height, width, outputs = weights.shape
    per_channel = outputs // source.channels
    weights = np.moveaxis(weights[0], -1, 0)
    if per_channel > 1 and stored.plan.configuration.requantizers > 1:
        # Results of one pass would not lie beside each other: all inputs, most weights zero.
        mixed = np.zeros((*weights.shape, source.channels), np.int64)
        every = np.arange(outputs)
        mixed[every, :, :, every // per_channel] = weights
        mixed, kernel = without_horizontal_dilation(mixed, stored.kernel(step, operator))
        return _convolution(stored, step, operator, source, kernel, mixed, bias)
    *coarse, exact = _passes(stored, step, operator, weights.reshape(outputs, -1), bias)
    return [
        Layer(
            name=step.name,
            kinds=step.kinds,
            mode=Mode.DEPTHWISE,
            source=source,
            target=replace(target, offset=target.offset + output),
            kernel=stored.kernel(step, operator),
            weights=flat[output::per_channel].reshape(-1, height, width),
            pad_value=stored.plan.zero_point(operator.inputs[0]),
            epilogue=replace(
                epilogue,
                bias=epilogue.bias[output::per_channel],
                multiplier=epilogue.multiplier[output::per_channel],
                shift=epilogue.shift[output::per_channel],
            ),
            macs=macs // per_channel,
            output_step=per_channel,
        )
        for output in range(per_channel)
        for (flat, epilogue), macs in (
            *((each, 0) for each in coarse),
            (exact, stored.plan.graph.macs(operator)),
        )
    ]
