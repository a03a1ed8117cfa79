"""ONNX nodes with windows, and those that work on pictures as a whole."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from model.importing import layout
from model.importing.float_operators import (
    AveragePool,
    Convolution,
    FloatOperator,
    MaxPool,
    Nearest,
    Pad,
    Reduction,
    ReductionKind,
    Resize,
    Sampling,
    TransposedConvolution,
    Window,
)
from model.importing.layout import Value
from model.importing.onnx.constants import axes_of
from model.importing.onnx.context import (
    Arguments,
    Context,
    Translation,
    array,
    live,
    number,
    optional,
    text,
)
from model.importing.onnx.file import OnnxNode

__all__ = ["TRANSLATIONS", "convolution"]


def _pair(node: OnnxNode, name: str, default: int, rank: int) -> list[int]:
    values = [int(each) for each in node.attributes.get(name) or [default] * rank]
    if len(values) != rank:
        raise node.error(f"{name} {values} for {rank} dimensions")
    return values


def _window(
    node: OnnxNode, index: np.ndarray, kernel: Sequence[int]
) -> tuple[Window, tuple[int, int, int, int]]:
    """The window, and its padding without what rounding up adds."""
    rank = index.ndim - 1
    if not len(kernel):
        raise node.error("has no kernel_shape")
    if not 1 <= rank <= 2 or len(kernel) != rank:
        raise node.error(f"{len(kernel)}-D windows on shape {text(index.shape)}")
    sizes = index.shape[1:]
    kernel = [int(each) for each in kernel]
    strides, dilations = (_pair(node, name, 1, rank) for name in ("strides", "dilations"))
    if min(*kernel, *strides, *dilations) < 1:
        raise node.error(f"kernel {kernel}, strides {strides}, dilations {dilations}")
    automatic = node.attributes.get("auto_pad") or "NOTSET"
    before, after = [0] * rank, [0] * rank
    if automatic == "NOTSET":
        pads = [int(each) for each in node.attributes.get("pads") or [0] * 2 * rank]
        if len(pads) != 2 * rank:
            raise node.error(f"pads {pads}")
        before, after = pads[:rank], pads[rank:]
    elif automatic in ("SAME_UPPER", "SAME_LOWER"):
        for axis in range(rank):
            reach = (kernel[axis] - 1) * dilations[axis] + 1
            count = -(-sizes[axis] // strides[axis])
            total = max(0, (count - 1) * strides[axis] + reach - sizes[axis])
            less, more = total // 2, total - total // 2
            upper = automatic == "SAME_UPPER"
            before[axis], after[axis] = (less, more) if upper else (more, less)
    elif automatic != "VALID":
        raise node.error(f"auto_pad {automatic} is not supported")
    if min(*before, *after) < 0:
        raise node.error("padding below 0 is not supported")
    counted = _four(before, after)
    if node.attributes.get("ceil_mode"):
        for axis in range(rank):
            reach = (kernel[axis] - 1) * dilations[axis] + 1
            rest = (sizes[axis] + before[axis] + after[axis] - reach) % strides[axis]
            count = (sizes[axis] + before[axis] + after[axis] - reach) // strides[axis] + 1
            # A window more, if it begins before the padding behind the picture.
            if rest and count * strides[axis] < sizes[axis] + before[axis]:
                after[axis] += strides[axis] - rest
    both = ([1] * (2 - rank) + each for each in (kernel, strides, dilations))
    kernel_2d, strides_2d, dilations_2d = ((each[0], each[1]) for each in both)
    return Window(kernel_2d, strides_2d, dilations_2d, _four(before, after)), counted


def _four(before: Sequence[int], after: Sequence[int]) -> tuple[int, int, int, int]:
    if len(before) == 1:
        return 0, before[0], 0, after[0]
    return before[0], before[1], after[0], after[1]


def _bias(node: OnnxNode, arguments: Arguments, place: int, channels: int) -> np.ndarray:
    if optional(arguments, place) is None:
        return np.zeros(channels)
    bias = array(node, arguments, place, "bias").astype(np.float64).ravel()
    if bias.size != channels:
        raise node.error(f"{bias.size} biases for {channels} channels")
    return bias


def _weights(node: OnnxNode, arguments: Arguments, rank: int) -> np.ndarray:
    """Constant weights in float64, those of a sequence as of pictures of height 1."""
    weights = array(node, arguments, 1, "weights")
    if weights.ndim != rank + 1:
        raise node.error(f"weights of shape {text(weights.shape)} on {rank - 1}-D data")
    if weights.ndim == 3:
        weights = weights[:, :, np.newaxis]
    if weights.dtype.kind != "f":
        raise node.error(f"weights of type {weights.dtype} are not supported")
    return weights.astype(np.float64)


def convolution(context: Context, node: OnnxNode, arguments: Arguments) -> Value:
    value = live(node, arguments)
    weights = _weights(node, arguments, value.index.ndim)
    kernel = weights.shape[2:] if value.index.ndim == 3 else weights.shape[3:]
    window, _ = _window(node, value.index, kernel)
    groups = int(node.attributes.get("group", 1))
    channels = value.index.shape[0]
    if groups < 1 or weights.shape[1] * groups != channels or len(weights) % groups:
        raise node.error(
            f"weights of shape {text(weights.shape)} in {groups} groups on {channels} channels"
        )
    tensor, order = context.picture(node, value)
    ours = weights.transpose(2, 3, 1, 0)
    scale = context.scales.get(node.inputs[1])
    bias = _bias(node, arguments, 2, len(weights))
    made: np.ndarray | None = None
    # Channel order[c] of our tensor is the source's channel c.
    if groups == 1:
        ours = ours[:, :, np.argsort(order)]
    elif groups == channels:
        # Each channel on its own: the output is in the input's order.
        multiplier = len(weights) // groups
        made = (order[:, np.newaxis] * multiplier + np.arange(multiplier)).ravel()
        places = np.argsort(made)
        ours, bias = ours[..., places], bias[places]
        scale = scale if scale is None or scale.size == 1 else scale[places]
    else:
        tensor = layout.with_order(context.graph, tensor, order, node.name)
    operator = Convolution(ours, bias, window, groups, scale)
    return context.result(context.graph.append(operator, [tensor], node.name), value, made)


def _conv_transpose(context: Context, node: OnnxNode, arguments: Arguments) -> Value:
    value = live(node, arguments)
    weights = _weights(node, arguments, value.index.ndim)
    rank = value.index.ndim - 1
    groups = int(node.attributes.get("group", 1))
    if groups < 1 or len(weights) % groups or len(weights) != value.index.shape[0]:
        raise node.error(f"weights of shape {text(weights.shape)} in {groups} groups")
    if groups > 1:
        inputs, outputs = len(weights), weights.shape[1]
        dense = np.zeros((inputs, outputs * groups, *weights.shape[2:]))
        size = inputs // groups
        for group in range(groups):
            rows = slice(group * size, (group + 1) * size)
            dense[rows, group * outputs : (group + 1) * outputs] = weights[rows]
        weights = dense
    strides, dilations = (_pair(node, name, 1, rank) for name in ("strides", "dilations"))
    extra = _pair(node, "output_padding", 0, rank)
    if max(dilations) > 1:
        raise node.error("dilation of a transposed convolution is not supported")
    kernel = weights.shape[4 - rank :]
    sizes = value.index.shape[1:]
    automatic = node.attributes.get("auto_pad") or "NOTSET"
    pads = [int(each) for each in node.attributes.get("pads") or [0] * 2 * rank]
    target = node.attributes.get("output_shape")
    if automatic.startswith("SAME") and target is None:
        target = [size * stride for size, stride in zip(sizes, strides)]
    if target is not None:
        for axis, wanted in enumerate(target[-rank:]):
            full = strides[axis] * (sizes[axis] - 1) + kernel[axis] + extra[axis]
            total = full - int(wanted)
            half = total // 2
            first = total - half if automatic == "SAME_LOWER" else half
            pads[axis], pads[axis + rank] = first, total - first
    after = [pad - more for pad, more in zip(pads[rank:], extra)]
    tensor, order = context.picture(node, value)
    ours = weights.transpose(2, 3, 0, 1)[:, :, np.argsort(order)]
    stride = (strides[0], strides[1]) if rank == 2 else (1, strides[0])
    bias = _bias(node, arguments, 2, ours.shape[3])
    operator = TransposedConvolution(ours, bias, stride, _four(pads[:rank], after))
    return context.result(context.graph.append(operator, [tensor], node.name), value)


def _max_pool(context: Context, node: OnnxNode, arguments: Arguments) -> Value:
    value = live(node, arguments)
    window, _ = _window(node, value.index, node.attributes.get("kernel_shape", ()))
    return _by_channel(context, node, value, MaxPool(window))


def _average_pool(context: Context, node: OnnxNode, arguments: Arguments) -> Value:
    value = live(node, arguments)
    window, pads = _window(node, value.index, node.attributes.get("kernel_shape", ()))
    counted = pads if node.attributes.get("count_include_pad") else (0, 0, 0, 0)
    return _by_channel(context, node, value, AveragePool(window, counted))


def _by_channel(context: Context, node: OnnxNode, value: Value, operator: FloatOperator) -> Value:
    """An operator on pictures that keeps channels apart, in whatever order they are."""
    tensor, order = context.picture(node, value)
    return context.result(context.graph.append(operator, [tensor], node.name), value, order)


def _global_pool(kind: ReductionKind) -> Translation:
    def translate(context: Context, node: OnnxNode, arguments: Arguments) -> Value:
        value = live(node, arguments)
        return _by_channel(context, node, value, Reduction(kind, (0, 1)))

    return translate


def _resize(context: Context, node: OnnxNode, arguments: Arguments) -> Value:
    value = live(node, arguments)
    attributes = node.attributes
    old = node.op == "Upsample" or context.opset < 11
    scales = optional(arguments, 1 if old else 2)
    sizes = None if old else optional(arguments, 3)
    shape = value.shape
    if isinstance(sizes, Value) or (sizes is not None and sizes.size):
        wanted = [int(each) for each in np.ravel(array(node, arguments, 3, "sizes"))]
    else:
        given = attributes.get("scales") if scales is None else scales
        if given is None or isinstance(given, Value):
            raise node.error("its scales must be constant")
        factors = np.ravel(given).astype(np.float64).tolist()
        if len(factors) == len(shape) + 1 and factors[0] != 1:
            raise node.error("changes the batch")
        factors = factors[-len(shape) :]
        bad = not all(0 < factor < 1 << 16 for factor in factors)
        if bad:
            raise node.error(f"scales {factors}")
        wanted = [int(np.floor(size * factor)) for size, factor in zip(shape, factors)]
    wanted = wanted[-len(shape) :]
    if len(wanted) == len(shape) - 1:  # `axes` names rows and columns only
        wanted = [shape[0], *wanted]
    if len(wanted) != len(shape) or wanted[0] != shape[0] or min(wanted) < 1:
        raise node.error(f"from {text(shape)} to {text(wanted)} is not supported")
    mode = attributes.get("mode", "nearest")
    if mode not in ("nearest", "linear", "bilinear"):
        raise node.error(f"mode {mode} is not supported")
    default = "asymmetric" if old else "half_pixel"
    how = attributes.get("coordinate_transformation_mode", default)
    rounding = attributes.get("nearest_mode", "floor" if old else "round_prefer_floor")
    if mode == "nearest" and how == "tf_half_pixel_for_nn":
        # floor((i + 0.5) * in / out), which rounds the place between half pixels
        how, rounding = "half_pixel", "round_prefer_ceil"
    samplings = {
        "half_pixel": Sampling.HALF_PIXEL,
        "pytorch_half_pixel": Sampling.HALF_PIXEL,
        "asymmetric": Sampling.ASYMMETRIC,
        "align_corners": Sampling.ALIGN_CORNERS,
    }
    if how not in samplings:
        raise node.error(f"coordinate_transformation_mode {how} is not supported")
    if rounding not in [each.value for each in Nearest]:
        raise node.error(f"nearest_mode {rounding} is not supported")
    rows, columns = (1, wanted[1]) if len(wanted) == 2 else (wanted[1], wanted[2])
    operator = Resize((rows, columns), mode != "nearest", samplings[how], Nearest(rounding))
    return _by_channel(context, node, value, operator)


def _pad(context: Context, node: OnnxNode, arguments: Arguments) -> Value:
    value = live(node, arguments)
    mode = node.attributes.get("mode", "constant")
    if mode != "constant":
        raise node.error(f"mode {mode} is not supported")
    rank = value.index.ndim + 1
    pads = node.attributes.get("pads")
    if pads is None:
        pads = np.ravel(array(node, arguments, 1, "padding")).tolist()
    fill = number(node, arguments, 2, "value") or 0.0
    axes = list(range(rank))
    if optional(arguments, 3) is not None:
        axes = [int(a) % rank for a in np.ravel(array(node, arguments, 3, "axes"))]
    count = len(axes)
    if len(pads) != 2 * count or len(set(axes)) != count:
        raise node.error(f"pads {list(pads)} for axes {axes}")
    pairs = [(0, 0)] * rank
    for place, axis in enumerate(axes):
        pairs[axis] = (int(pads[place]), int(pads[place + count]))
    if any(pairs[0]) or min(map(min, pairs)) < 0:
        raise node.error(f"pads {list(pads)} are not supported")
    if not any(map(any, pairs)):
        return value
    if value.index.ndim == 1:
        index = value.index
        tensor = layout.arranged(context.graph, value, index, node.name)
        tensor = context.graph.append(Pad((pairs[1],), fill), [tensor], node.name)
        return Value(tensor, layout.standard(context.graph.shapes[tensor]))
    tensor, order = context.picture(node, value)
    if any(pairs[1]):
        tensor = layout.with_order(context.graph, tensor, order, node.name)
        order = np.arange(len(order) + sum(pairs[1]))
    spatial = pairs[2:] if value.index.ndim == 3 else [(0, 0), pairs[2]]
    operator = Pad((spatial[0], spatial[1], pairs[1]), fill)
    return context.result(context.graph.append(operator, [tensor], node.name), value, order)


def _reduction(kind: ReductionKind) -> Translation:
    def translate(context: Context, node: OnnxNode, arguments: Arguments) -> Value:
        value = live(node, arguments)
        rank = value.index.ndim + 1
        axes = axes_of(node, arguments, rank)
        if not axes:
            if node.attributes.get("noop_with_empty_axes"):
                return value
            axes = tuple(range(rank))
        if 0 in axes:
            raise node.error("over the batch is not supported")
        chosen = tuple(axis - 1 for axis in axes)
        graph = context.graph
        if value.index.ndim == 1:
            tensor = layout.reshaped(graph, value.tensor, (value.index.size,), node.name)
            tensor = graph.append(Reduction(kind, (0,)), [tensor], node.name)
            result = Value(tensor, layout.standard((1,)))
        elif value.index.ndim <= 3:
            tensor, order = context.picture(node, value)
            names = (2, 1) if value.index.ndim == 2 else (2, 0, 1)
            ours = tuple(sorted(names[axis] for axis in chosen))
            tensor = graph.append(Reduction(kind, ours), [tensor], node.name)
            result = context.result(tensor, value, None if 0 in chosen else order)
        else:
            raise node.error(f"on shape {text(value.shape)} is not supported")
        if node.attributes.get("keepdims", 1):
            return result
        return Value(result.tensor, np.squeeze(result.index, chosen))

    return translate


TRANSLATIONS: dict[str, Translation] = {
    "AveragePool": _average_pool,
    "Conv": convolution,
    "ConvTranspose": _conv_transpose,
    "GlobalAveragePool": _global_pool(ReductionKind.MEAN),
    "GlobalMaxPool": _global_pool(ReductionKind.MAX),
    "MaxPool": _max_pool,
    "Pad": _pad,
    "ReduceMax": _reduction(ReductionKind.MAX),
    "ReduceMean": _reduction(ReductionKind.MEAN),
    "ReduceMin": _reduction(ReductionKind.MIN),
    "ReduceSum": _reduction(ReductionKind.SUM),
    "Resize": _resize,
    "Upsample": _resize,
}
