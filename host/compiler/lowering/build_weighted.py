"""Layers of convolutions and dense layers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from model.int8 import reference
from model.int8.graph import ABSENT, Operator

from ..channels import fit_channels
from ..errors import CompileError
from ..layers import IntArray, Kernel, Layer, Mode, View
from .plan import Step
from .reshape import in_long_rows, spread_channels, without_horizontal_dilation
from .storage import Stored


def _constants(stored: Stored, operator: Operator) -> tuple[IntArray, IntArray]:
    """Weights as in the file, and bias."""
    weights = stored.plan.graph.tensors[operator.inputs[1]].data
    if weights is None:
        raise CompileError(f"layer {operator.name}: its weights must be a constant")
    channels = stored.plan.graph.tensors[operator.outputs[0]].shape[-1]
    bias = np.zeros(channels, np.int64)
    if len(operator.inputs) > 2 and operator.inputs[2] != ABSENT:
        data = stored.plan.graph.tensors[operator.inputs[2]].data
        if data is None:
            raise CompileError(f"layer {operator.name}: its bias must be a constant")
        bias = data.astype(np.int64)
    return weights.astype(np.int64), bias


def build_convolution(stored: Stored, step: Step, operator: Operator) -> list[Layer]:
    weights, bias = _constants(stored, operator)
    source = stored.source(step)
    if weights.shape[3] != source.channels:
        raise CompileError(
            f"layer {operator.name}: its weights have {weights.shape[3]} input channels, its "
            f"input has {source.channels}; grouped convolutions are not supported"
        )
    weights, kernel = without_horizontal_dilation(weights, stored.kernel(step, operator))
    return [_convolution(stored, step, operator, source, kernel, weights, bias)]


def build_fully_connected(stored: Stored, step: Step, operator: Operator) -> list[Layer]:
    weights, bias = _constants(stored, operator)
    source = stored.storage[stored.plan.root(step.source)]
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
    return [_convolution(stored, step, operator, source, kernel, weights.reshape(shape), bias)]


def _convolution(
    stored: Stored,
    step: Step,
    operator: Operator,
    source: View,
    kernel: Kernel,
    weights: IntArray,
    bias: IntArray,
) -> Layer:
    rule = reference.requantization(stored.plan.graph, operator)
    flat, epilogue = fit_channels(
        operator.name, weights.reshape(len(weights), -1), bias, rule, stored.plan.configuration
    )
    weights = spread_channels(flat.reshape(weights.shape), source.pixel_pitch)
    layer = Layer(
        name=step.name,
        kinds=step.kinds,
        mode=Mode.CONVOLUTION,
        source=source,
        target=stored.target(step),
        kernel=kernel,
        weights=weights,
        pad_value=rule.input_zero_point,
        epilogue=replace(epilogue, table=step.table),
        macs=stored.plan.graph.macs(operator),
        pooled=step.pooled,
    )
    if layer.pooled:
        # What the pool leaves out, at the end of odd rows and columns, is not computed.
        _, height, width, _ = stored.plan.graph.tensors[operator.outputs[0]].shape
        computed = 4 * layer.target.height * layer.target.width
        layer = replace(layer, macs=layer.macs * computed // (height * width))
    return in_long_rows(layer, stored.plan.configuration)


def build_depthwise(stored: Stored, step: Step, operator: Operator) -> list[Layer]:
    """A pass for each of the outputs that a channel has; most networks have one."""
    weights, bias = _constants(stored, operator)
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
        return [_convolution(stored, step, operator, source, kernel, mixed, bias)]
    rule = reference.requantization(stored.plan.graph, operator)
    flat, epilogue = fit_channels(
        operator.name, weights.reshape(outputs, -1), bias, rule, stored.plan.configuration
    )
    layers = []
    for output in range(per_channel):
        every_output = slice(output, None, per_channel)
        layers.append(
            Layer(
                name=step.name,
                kinds=step.kinds,
                mode=Mode.DEPTHWISE,
                source=source,
                target=replace(target, offset=output),
                kernel=stored.kernel(step, operator),
                weights=flat[every_output].reshape(-1, height, width),
                pad_value=rule.input_zero_point,
                epilogue=replace(
                    epilogue,
                    bias=epilogue.bias[every_output],
                    multiplier=epilogue.multiplier[every_output],
                    shift=epilogue.shift[every_output],
                    table=step.table,
                ),
                macs=stored.plan.graph.macs(operator) // per_channel,
                output_step=per_channel,
            )
        )
    return layers
