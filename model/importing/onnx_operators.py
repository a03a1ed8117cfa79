"""What each ONNX operator becomes in a float graph.

A translation gets the context, the node, and its arguments: arrays for constants, `Value` for what
depends on the input, None for what is left out. Source: https://onnx.ai/onnx/operators/.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import inf, prod

import numpy as np

from model.importing import layout
from model.importing.float_graph import Clamp, FloatGraph
from model.importing.float_operators import (
    Affine,
    AveragePool,
    Binary,
    BinaryKind,
    Concatenation,
    Convolution,
    Dense,
    FloatOperator,
    Function,
    MaxPool,
    Nearest,
    Pad,
    PRelu,
    Reduction,
    ReductionKind,
    Resize,
    Sampling,
    Shape,
    Slice,
    Softmax,
    TransposedConvolution,
    Window,
)
from model.importing.layout import Value
from model.importing.onnx_constants import axes_of, dequantized, slices
from model.importing.onnx_file import OnnxNode

__all__ = ["OPERATORS", "Context"]

Argument = Value | np.ndarray | None
Arguments = Sequence[Argument]
Translation = Callable[["Context", OnnxNode, Arguments], "Value | list[Value]"]


@dataclass(eq=False)
class Context:
    """What translations share.

    Attributes
    ----------
    graph : FloatGraph
    opset : int
    batch : int
        The source's first dimension; 1 where it is open.
    scales : dict of str to ndarray
        Scale of constants, by name, that were dequantised from int8.
    """

    graph: FloatGraph
    opset: int
    batch: int
    scales: dict[str, np.ndarray]

    def shape(self, value: Value) -> Shape:
        """Shape of a value as the source has it."""
        return (self.batch, *value.shape)

    def same(self, node: OnnxNode, value: Value, operator: FloatOperator) -> Value:
        """`operator` on the value's tensor, whose order it does not touch."""
        return Value(self.graph.append(operator, [value.tensor], node.name), value.index)

    def clipped(self, node: OnnxNode, value: Value, clamp: Clamp) -> Value:
        """The value within bounds."""
        tensor = self.graph.append(Function("identity"), [value.tensor], node.name, clamp)
        return Value(tensor, value.index)

    def picture(self, node: OnnxNode, value: Value) -> tuple[int, np.ndarray]:
        """Tensor and channel order of a value (C, H, W), or (C, W): see `layout.pixels`."""
        return layout.pixels(self.graph, value, _channels_last(node, value.index), node.name)

    def result(self, tensor: int, value: Value, order: np.ndarray | None = None) -> Value:
        """The value (C, H, W) of a tensor, or (C, W) if `value` was so."""
        index = layout.standard(self.graph.shapes[tensor]).transpose(2, 0, 1)
        if order is not None:
            index = index[order]
        return Value(tensor, index if value.index.ndim == 3 else index[:, 0])


def _channels_last(node: OnnxNode, index: np.ndarray) -> np.ndarray:
    """Index (C, H, W) or (C, W) as (H, W, C)."""
    if index.ndim == 2:
        index = index[:, np.newaxis]
    if index.ndim != 3:
        raise node.error(f"needs pictures, not shape {_text(index.shape)}")
    return index.transpose(1, 2, 0)


def _text(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "a single number"


def _live(node: OnnxNode, arguments: Arguments, place: int = 0) -> Value:
    value = arguments[place] if place < len(arguments) else None
    if not isinstance(value, Value):
        raise node.error(f"its input {place + 1} must depend on the model's input")
    return value


def _array(node: OnnxNode, arguments: Arguments, place: int, what: str) -> np.ndarray:
    value = _optional(arguments, place)
    if not isinstance(value, np.ndarray):
        raise node.error(f"its {what} must be constant")
    return value


def _optional(arguments: Arguments, place: int) -> Argument:
    return arguments[place] if place < len(arguments) else None


def _number(node: OnnxNode, arguments: Arguments, place: int, name: str) -> float | None:
    """An attribute of old versions that is an input of new ones."""
    if name in node.attributes:
        return float(node.attributes[name])
    if _optional(arguments, place) is None:
        return None
    return float(np.ravel(_array(node, arguments, place, name))[0])


# Windows


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
    if not 1 <= rank <= 2 or len(kernel) != rank:
        raise node.error(f"{len(kernel)}-D windows on shape {_text(index.shape)}")
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
    if _optional(arguments, place) is None:
        return np.zeros(channels)
    bias = _array(node, arguments, place, "bias").astype(np.float64).ravel()
    if bias.size != channels:
        raise node.error(f"{bias.size} biases for {channels} channels")
    return bias


def _weights(node: OnnxNode, arguments: Arguments, rank: int) -> np.ndarray:
    """Constant weights in float64, those of a sequence as of pictures of height 1."""
    weights = _array(node, arguments, 1, "weights")
    if weights.ndim != rank + 1:
        raise node.error(f"weights of shape {_text(weights.shape)} on {rank - 1}-D data")
    if weights.ndim == 3:
        weights = weights[:, :, np.newaxis]
    if weights.dtype.kind != "f":
        raise node.error(f"weights of type {weights.dtype} are not supported")
    return weights.astype(np.float64)


def _conv(context: Context, node: OnnxNode, arguments: Arguments) -> Value:
    value = _live(node, arguments)
    weights = _weights(node, arguments, value.index.ndim)
    kernel = weights.shape[2:] if value.index.ndim == 3 else weights.shape[3:]
    window, _ = _window(node, value.index, kernel)
    groups = int(node.attributes.get("group", 1))
    channels = value.index.shape[0]
    if groups < 1 or weights.shape[1] * groups != channels or len(weights) % groups:
        raise node.error(
            f"weights of shape {_text(weights.shape)} in {groups} groups on {channels} channels"
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
    value = _live(node, arguments)
    weights = _weights(node, arguments, value.index.ndim)
    rank = value.index.ndim - 1
    groups = int(node.attributes.get("group", 1))
    if groups < 1 or len(weights) % groups or len(weights) != value.index.shape[0]:
        raise node.error(f"weights of shape {_text(weights.shape)} in {groups} groups")
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
    value = _live(node, arguments)
    window, _ = _window(node, value.index, node.attributes.get("kernel_shape", ()))
    return _by_channel(context, node, value, MaxPool(window))


def _average_pool(context: Context, node: OnnxNode, arguments: Arguments) -> Value:
    value = _live(node, arguments)
    window, pads = _window(node, value.index, node.attributes.get("kernel_shape", ()))
    counted = pads if node.attributes.get("count_include_pad") else (0, 0, 0, 0)
    return _by_channel(context, node, value, AveragePool(window, counted))


def _by_channel(context: Context, node: OnnxNode, value: Value, operator: FloatOperator) -> Value:
    """An operator on pictures that keeps channels apart, in whatever order they are."""
    tensor, order = context.picture(node, value)
    return context.result(context.graph.append(operator, [tensor], node.name), value, order)


def _global_pool(kind: ReductionKind) -> Translation:
    def translate(context: Context, node: OnnxNode, arguments: Arguments) -> Value:
        value = _live(node, arguments)
        return _by_channel(context, node, value, Reduction(kind, (0, 1)))

    return translate


def _resize(context: Context, node: OnnxNode, arguments: Arguments) -> Value:
    value = _live(node, arguments)
    attributes = node.attributes
    old = node.op == "Upsample" or context.opset < 11
    scales = _optional(arguments, 1 if old else 2)
    sizes = None if old else _optional(arguments, 3)
    shape = value.shape
    if isinstance(sizes, Value) or (sizes is not None and sizes.size):
        wanted = [int(each) for each in np.ravel(_array(node, arguments, 3, "sizes"))]
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
        raise node.error(f"from {_text(shape)} to {_text(wanted)} is not supported")
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
    value = _live(node, arguments)
    mode = node.attributes.get("mode", "constant")
    if mode != "constant":
        raise node.error(f"mode {mode} is not supported")
    rank = value.index.ndim + 1
    pads = node.attributes.get("pads")
    if pads is None:
        pads = np.ravel(_array(node, arguments, 1, "padding")).tolist()
    fill = _number(node, arguments, 2, "value") or 0.0
    axes = list(range(rank))
    if _optional(arguments, 3) is not None:
        axes = [int(a) % rank for a in np.ravel(_array(node, arguments, 3, "axes"))]
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


# Matrices


def _dense(
    context: Context,
    node: OnnxNode,
    value: Value,
    weights: np.ndarray,
    bias: np.ndarray,
    scale: np.ndarray | None = None,
) -> Value:
    """`value` times weights (inputs, outputs); where it is no vector, along its last axis."""
    graph, index = context.graph, value.index
    weights, bias = weights.astype(np.float64), bias.astype(np.float64)
    if index.shape[-1] != len(weights):
        raise node.error(f"weights for {len(weights)} inputs on {index.shape[-1]}")
    if bias.size == 1:
        bias = np.broadcast_to(bias.ravel(), weights.shape[1:])
    if bias.size != weights.shape[1]:
        raise node.error(f"{bias.size} biases for {weights.shape[1]} outputs")
    bias = bias.ravel()
    if index.ndim == 1:
        ours = np.empty_like(weights)
        ours[index] = weights
        flat = layout.reshaped(graph, value.tensor, (index.size,), node.name)
        tensor = graph.append(Dense(ours, bias, scale), [flat], node.name)
        return Value(tensor, layout.standard(graph.shapes[tensor]))
    lead = index.shape[:-1]
    rows = index.reshape(1, -1, len(weights)) if len(lead) != 2 else index
    tensor, order = layout.pixels(graph, value, rows, node.name)
    ours = weights[np.argsort(order)][np.newaxis, np.newaxis]
    tensor = graph.append(Convolution(ours, bias, Window((1, 1)), 1, scale), [tensor], node.name)
    return Value(tensor, layout.standard((*lead, weights.shape[1])))


def _gemm(context: Context, node: OnnxNode, arguments: Arguments) -> Value:
    value = _live(node, arguments)
    weights = _array(node, arguments, 1, "weights")
    if node.attributes.get("transA"):
        raise node.error("transA is not supported")
    if weights.ndim != 2 or value.index.ndim != 1:
        raise node.error(f"weights {_text(weights.shape)} on shape {_text(value.shape)}")
    weights = weights.T if node.attributes.get("transB") else weights
    alpha, beta = (float(node.attributes.get(name, 1.0)) for name in ("alpha", "beta"))
    bias = np.zeros(weights.shape[1])
    if _optional(arguments, 2) is not None:
        bias = _array(node, arguments, 2, "bias").astype(np.float64) * beta
    scale = context.scales.get(node.inputs[1]) if alpha == 1 else None
    return _dense(context, node, value, weights.astype(np.float64) * alpha, bias, scale)


def _matmul(context: Context, node: OnnxNode, arguments: Arguments) -> Value:
    if all(isinstance(each, Value) for each in arguments[:2]):
        raise node.error("of two activations is not supported")
    weights = _array(node, arguments, 1, "second matrix")
    if weights.ndim != 2:
        raise node.error(f"with an array of shape {_text(weights.shape)} is not supported")
    value, scale = _live(node, arguments), context.scales.get(node.inputs[1])
    return _dense(context, node, value, weights, np.zeros(1), scale)


# Element by element


def _affine(
    context: Context, node: OnnxNode, value: Value, factor: np.ndarray, offset: np.ndarray
) -> Value:
    """``value * factor + offset`` with constants that broadcast as ONNX's do."""
    ours = context.graph.shapes[value.tensor]
    both = []
    for values in (np.asarray(factor, np.float64), np.asarray(offset, np.float64)):
        if values.size == 1:
            both.append(values.reshape(()))
            continue
        if values.ndim > value.index.ndim:
            lead = values.ndim - value.index.ndim
            if any(size != 1 for size in values.shape[:lead]):
                raise node.error(f"a constant of shape {_text(values.shape)} is not supported")
            values = values.reshape(values.shape[lead:])
        full = np.empty(value.index.size)
        try:
            full[value.index] = np.broadcast_to(values, value.shape)
        except ValueError:
            raise node.error(
                f"a constant of shape {_text(values.shape)} on shape {_text(value.shape)} is not "
                "supported"
            ) from None
        rows = full.reshape(-1, ours[-1])
        both.append(rows[0] if (rows == rows[0]).all() else full.reshape(ours))
    return context.same(node, value, Affine(*both))


def _batch_norm(context: Context, node: OnnxNode, arguments: Arguments) -> Value:
    value = _live(node, arguments)
    scale, shift, mean, variance = (
        _array(node, arguments, place, "statistics").astype(np.float64) for place in range(1, 5)
    )
    factor = scale / np.sqrt(variance + float(node.attributes.get("epsilon", 1e-5)))
    shape = (-1, *[1] * (value.index.ndim - 1))
    offset = shift - mean * factor
    return _affine(context, node, value, factor.reshape(shape), offset.reshape(shape))


_BINARY = {
    "Add": BinaryKind.ADD,
    "Sub": BinaryKind.SUB,
    "Mul": BinaryKind.MUL,
    "Max": BinaryKind.MAXIMUM,
    "Min": BinaryKind.MINIMUM,
}


def _binary(context: Context, node: OnnxNode, arguments: Arguments) -> Value:
    if len(arguments) > 2:  # Sum, Max and Min take any number
        joined = _binary(context, node, arguments[:2])
        return _binary(context, node, [joined, *arguments[2:]])
    if len(arguments) == 1:
        return _live(node, arguments)
    first, second = arguments
    kind = BinaryKind.ADD if node.op == "Sum" else _BINARY.get(node.op)
    if isinstance(first, Value) and isinstance(second, Value):
        if kind is None:
            raise node.error("of two activations is not supported")
        return _of_two(context, node, kind, first, second)
    value, constant = (first, second) if isinstance(first, Value) else (second, first)
    if not isinstance(value, Value) or not isinstance(constant, np.ndarray):
        raise node.error("has one input only")
    other = constant.astype(np.float64)
    one, zero = np.array(1.0), np.array(0.0)
    match node.op:
        case "Add" | "Sum":
            return _affine(context, node, value, one, other)
        case "Sub" if value is first:
            return _affine(context, node, value, one, -other)
        case "Sub":
            return _affine(context, node, value, -one, other)
        case "Mul":
            return _affine(context, node, value, other, zero)
        case "Div" if value is first:
            if not other.all():
                raise node.error("divides by 0")
            return _affine(context, node, value, 1 / other, zero)
        case "Max" if other.size == 1:
            return context.clipped(node, value, (float(other.ravel()[0]), inf))
        case "Min" if other.size == 1:
            return context.clipped(node, value, (-inf, float(other.ravel()[0])))
    raise node.error("with this constant is not supported")


def _of_two(
    context: Context, node: OnnxNode, kind: BinaryKind, first: Value, second: Value
) -> Value:
    """A function of two values, of which one may be smaller and repeated."""
    shape = np.broadcast_shapes(first.shape, second.shape)
    base, other, swapped = first, second, False
    if first.shape != shape:
        base, other, swapped = second, first, True
    if base.shape != shape:
        raise node.error(f"of shapes {_text(first.shape)} and {_text(second.shape)}")
    graph = context.graph
    tensor = _fitted(context, node, base, other)
    if tensor is None and other.shape == shape:
        # Neither order is the other's: both into the source's.
        index = base.index
        if index.ndim > 1:
            index = _channels_last(node, index)
        mine = layout.arranged(graph, base, index, node.name)
        axes = _channels_last(node, other.index) if other.index.ndim > 1 else other.index
        tensor = layout.arranged(graph, other, axes, node.name)
        ours = layout.standard(graph.shapes[mine])
        index = ours
        if base.index.ndim > 1:
            index = ours.transpose(2, 0, 1).reshape(shape)
        base = Value(mine, index)
    if tensor is None:
        raise node.error(
            f"of shapes {_text(first.shape)} and {_text(second.shape)} is not supported"
        )
    inputs = [tensor, base.tensor] if swapped else [base.tensor, tensor]
    return Value(graph.append(Binary(kind), inputs, node.name), base.index)


def _fitted(context: Context, node: OnnxNode, base: Value, other: Value) -> int | None:
    """`other`'s tensor in a shape that broadcasts to the base's tensor as the source means it."""
    graph = context.graph
    ours = graph.shapes[base.tensor]
    flat = np.empty(base.index.size, np.intp)
    flat[base.index] = np.broadcast_to(other.index, base.shape)
    wanted = flat.reshape(ours)
    candidates = [
        tuple(size if repeats >> axis & 1 else 1 for axis, size in enumerate(ours))
        for repeats in range(1 << len(ours))
    ]
    for shape in candidates:
        if prod(shape) != other.index.size:
            continue
        if np.array_equal(np.broadcast_to(layout.standard(shape), ours), wanted):
            return layout.reshaped(graph, other.tensor, shape, node.name)
    return None


def _clip(context: Context, node: OnnxNode, arguments: Arguments) -> Value:
    low, high = _number(node, arguments, 1, "min"), _number(node, arguments, 2, "max")
    bounds = (-inf if low is None else low, inf if high is None else high)
    # Exporters write the greatest float32 for infinity.
    least, greatest = (x if abs(x) < 3e38 else float(np.copysign(inf, x)) for x in bounds)
    if not least < greatest:
        raise node.error(f"to {least} .. {greatest}")
    return context.clipped(node, _live(node, arguments), (least, greatest))


def _function(name: str, default: float = 0.0) -> Translation:
    def translate(context: Context, node: OnnxNode, arguments: Arguments) -> Value:
        alpha = float(node.attributes.get("alpha", default))
        return context.same(node, _live(node, arguments), Function(name, alpha))

    return translate


def _gelu(context: Context, node: OnnxNode, arguments: Arguments) -> Value:
    exact = node.attributes.get("approximate", "none") == "none"
    name = "gelu" if exact else "gelu_by_tanh"
    return context.same(node, _live(node, arguments), Function(name))


def _hard_sigmoid(context: Context, node: OnnxNode, arguments: Arguments) -> Value:
    alpha, beta = (float(node.attributes.get(*each)) for each in (("alpha", 0.2), ("beta", 0.5)))
    value = _affine(context, node, _live(node, arguments), np.array(alpha), np.array(beta))
    return context.clipped(node, value, (0.0, 1.0))


def _swish(context: Context, node: OnnxNode, arguments: Arguments) -> Value:
    if float(node.attributes.get("alpha", 1.0)) != 1:
        raise node.error("alpha other than 1 is not supported")
    return context.same(node, _live(node, arguments), Function("silu"))


def _negative(context: Context, node: OnnxNode, arguments: Arguments) -> Value:
    return _affine(context, node, _live(node, arguments), np.array(-1.0), np.zeros(()))


def _power(context: Context, node: OnnxNode, arguments: Arguments) -> Value:
    value, exponent = _live(node, arguments), _array(node, arguments, 1, "exponent")
    power = float(exponent.ravel()[0])
    if exponent.size != 1 or power not in (2, 3):
        raise node.error(f"with exponent {exponent.ravel()[:3]} is not supported")
    result = _of_two(context, node, BinaryKind.MUL, value, value)
    return result if power == 2 else _of_two(context, node, BinaryKind.MUL, result, value)


def _prelu(context: Context, node: OnnxNode, arguments: Arguments) -> Value:
    value, slope = _live(node, arguments), _array(node, arguments, 1, "slope")
    if slope.size == 1:
        return context.same(node, value, Function("leaky_relu", float(slope.ravel()[0])))
    full = np.empty(value.index.size)
    # Old exporters give one number a channel without its trailing axes.
    if slope.ndim == 1 and value.index.ndim > 1 and len(slope) == value.shape[0]:
        slope = slope.reshape(-1, *[1] * (value.index.ndim - 1))
    full[value.index] = np.broadcast_to(
        slope.reshape(slope.shape[-value.index.ndim :]), value.shape
    )
    ours = context.graph.shapes[value.tensor]
    rows = full.reshape(-1, ours[-1])
    return context.same(
        node, value, PRelu(rows[0] if (rows == rows[0]).all() else full.reshape(ours))
    )


def _softmax(context: Context, node: OnnxNode, arguments: Arguments) -> Value:
    value = _live(node, arguments)
    rank = value.index.ndim + 1
    axis = int(node.attributes.get("axis", -1 if context.opset >= 13 else 1))
    if not -rank <= axis < rank or axis % rank == 0:
        raise node.error(f"axis {axis} is not supported")
    axis = axis % rank - 1
    index = np.moveaxis(value.index, axis, -1)
    if context.opset < 13:  # over all axes from that one on
        index = value.index.reshape(*value.shape[:axis], -1)
    if node.op == "LogSoftmax":
        context.graph.notes.append(f"{node.name}: softmax in place of its logarithm")
    graph = context.graph
    if index.ndim == 1:
        tensor = layout.reshaped(graph, value.tensor, (index.size,), node.name)
        tensor = graph.append(Softmax(), [tensor], node.name)
        return Value(tensor, value.index)
    tensor, order = layout.pixels(graph, value, index.reshape(1, -1, index.shape[-1]), node.name)
    tensor = graph.append(Softmax(), [tensor], node.name)
    result = layout.standard(graph.shapes[tensor])[:, :, order].reshape(index.shape)
    result = np.moveaxis(result, -1, axis) if context.opset >= 13 else result.reshape(value.shape)
    return Value(tensor, result)


# Parts and order


def _rearranged(node: OnnxNode, value: Value, index: np.ndarray) -> Value:
    if index.shape[:1] != (1,):
        raise node.error("touches the batch, which is not supported")
    return Value(value.tensor, index[0])


def _reshape(context: Context, node: OnnxNode, arguments: Arguments) -> Value:
    value = _live(node, arguments)
    target = node.attributes.get("shape")
    if target is None:
        target = _array(node, arguments, 1, "shape")
    sizes = [int(size) for size in np.ravel(target)]
    shape = context.shape(value)
    if not node.attributes.get("allowzero"):
        if any(size == 0 and place >= len(shape) for place, size in enumerate(sizes)):
            raise node.error(f"to {sizes}")
        sizes = [shape[place] if size == 0 else size for place, size in enumerate(sizes)]
    known = prod(size for size in sizes if size != -1)
    if sizes.count(-1) > 1 or known < 1 or prod(shape) % known:
        raise node.error(f"shape {_text(shape)} to {sizes}")
    sizes = [prod(shape) // known if size == -1 else size for size in sizes]
    if prod(sizes) != prod(shape):
        raise node.error(f"shape {_text(shape)} to {sizes}")
    if not sizes or sizes[0] != context.batch:
        raise node.error(f"shape {_text(shape)} to {sizes} touches the batch, not supported")
    return Value(value.tensor, value.index.reshape(sizes[1:]))


def _flatten(context: Context, node: OnnxNode, arguments: Arguments) -> Value:
    value = _live(node, arguments)
    rank = value.index.ndim + 1
    axis = int(node.attributes.get("axis", 1))
    axis = axis + rank if axis < 0 else axis
    if axis != 1 and not (axis > 1 and prod(value.shape[: axis - 1]) == 1):
        raise node.error(f"axis {axis} is not supported")
    return Value(value.tensor, value.index.reshape(-1))


def _transpose(context: Context, node: OnnxNode, arguments: Arguments) -> Value:
    value = _live(node, arguments)
    order = node.attributes.get("perm") or list(range(value.index.ndim + 1))[::-1]
    return _rearranged(node, value, value.index[np.newaxis].transpose(order))


def _squeeze(context: Context, node: OnnxNode, arguments: Arguments) -> Value:
    value = _live(node, arguments)
    axes = axes_of(node, arguments, value.index.ndim + 1)
    if axes is None:
        axes = tuple(axis + 1 for axis, size in enumerate(value.shape) if size == 1)
    if 0 in axes:
        raise node.error("touches the batch, which is not supported")
    return Value(value.tensor, np.squeeze(value.index, tuple(axis - 1 for axis in axes)))


def _unsqueeze(context: Context, node: OnnxNode, arguments: Arguments) -> Value:
    value = _live(node, arguments)
    given = node.attributes.get("axes")
    if given is None:
        given = np.ravel(_array(node, arguments, 1, "axes")).tolist()
    index = np.expand_dims(value.index[np.newaxis], tuple(int(axis) for axis in given))
    return _rearranged(node, value, index)


def _identity(context: Context, node: OnnxNode, arguments: Arguments) -> Value:
    return _live(node, arguments)


def _concatenation(context: Context, node: OnnxNode, arguments: Arguments) -> Value:
    values = []
    for place, each in enumerate(arguments):
        if not isinstance(each, Value):
            raise node.error(f"its input {place + 1} is a constant, which is not supported")
        values.append(each)
    if len(values) == 1:
        return values[0]
    rank = values[0].index.ndim
    axis = int(node.attributes.get("axis", 1))
    if any(value.index.ndim != rank for value in values) or not -rank <= axis <= rank or not axis:
        raise node.error(f"axis {axis} of shapes {', '.join(_text(v.shape) for v in values)}")
    axis = axis % (rank + 1) - 1
    graph = context.graph
    if rank == 1:
        # Each lies as it lies; the index tells.
        offsets = np.cumsum([0, *(value.index.size for value in values[:-1])])
        flat = [
            layout.reshaped(graph, value.tensor, (value.index.size,), node.name) for value in values
        ]
        tensor = graph.append(Concatenation(0), flat, node.name)
        places = [value.index + offset for value, offset in zip(values, offsets)]
        return Value(tensor, np.concatenate(places))
    if rank <= 3:
        pictures = [context.picture(node, value) for value in values]
        if axis == 0:
            tensor = graph.append(Concatenation(2), [each for each, _ in pictures], node.name)
            widths = [len(order) for _, order in pictures]
            offsets = np.cumsum([0, *widths[:-1]])
            orders = [order + offset for (_, order), offset in zip(pictures, offsets)]
            return context.result(tensor, values[0], np.concatenate(orders))
        order = pictures[0][1]
        tensors = [
            tensor
            if np.array_equal(order, other)
            else layout.with_order(graph, tensor, other[np.argsort(order)], node.name)
            for tensor, other in pictures
        ]
        ours = 1 if rank == 2 else axis - 1
        return context.result(
            graph.append(Concatenation(ours), tensors, node.name), values[0], order
        )
    shape = values[0].shape
    lead, rest = prod(shape[:axis]), prod(shape[axis + 1 :])
    flat = [
        layout.arranged(graph, value, value.index.reshape(lead, -1, rest), node.name)
        for value in values
    ]
    tensor = graph.append(Concatenation(1), flat, node.name)
    total = sum(value.shape[axis] for value in values)
    index = layout.standard((*shape[:axis], total, *shape[axis + 1 :]))
    return Value(tensor, index)


def _sliced(context: Context, node: OnnxNode, value: Value, parts: Sequence[slice]) -> Value:
    """A part of a value: a slice for each of its axes, with bounds from 0."""
    graph, shape = context.graph, value.shape
    if any(part.step < 1 for part in parts):
        raise node.error("backwards is not supported")
    if all(part == slice(0, size, 1) for part, size in zip(parts, shape)):
        return value
    if any(part.stop is None or part.stop <= part.start for part in parts):
        raise node.error("takes nothing")
    index = value.index[tuple(parts)]
    if value.index.ndim in (2, 3):
        tensor, order = context.picture(node, value)
        ours = graph.shapes[tensor]
        spatial = [slice(0, 1, 1), parts[1]] if value.index.ndim == 2 else list(parts[1:])
        chosen = order[parts[0]]
        channels: slice
        steps = np.diff(chosen)
        if len(chosen) > 1 and not (steps[0] > 0 and (steps == steps[0]).all()):
            tensor = layout.with_order(graph, tensor, chosen, node.name)
            channels = slice(0, graph.shapes[tensor][2], 1)
        else:
            step = int(steps[0]) if len(chosen) > 1 else 1
            channels = slice(int(chosen[0]), int(chosen[-1]) + 1, step)
        ours = graph.shapes[tensor]
        every = [*spatial, channels]
        if any(part != slice(0, size, 1) for part, size in zip(every, ours)):
            operator = Slice(
                tuple(part.start for part in every),
                tuple(part.stop for part in every),
                tuple(part.step for part in every),
            )
            tensor = graph.append(operator, [tensor], node.name)
        return context.result(tensor, value)
    if value.index.ndim == 1:
        steps = np.diff(index)
        if len(index) == 1 or (steps == 1).all():
            tensor = layout.reshaped(graph, value.tensor, (value.index.size,), node.name)
            begin = int(index[0])
            operator = Slice((begin,), (begin + len(index),), (1,))
            tensor = graph.append(operator, [tensor], node.name)
            return Value(tensor, layout.standard((len(index),)))
    # Any number of axes: one after the other, each as the middle of three.
    for axis, part in enumerate(parts):
        size = value.shape[axis]
        if part == slice(0, size, 1):
            continue
        lead, rest = prod(value.shape[:axis]), prod(value.shape[axis + 1 :])
        view = value.index.reshape(lead, size, rest)
        tensor = layout.arranged(graph, value, view, node.name)
        operator = Slice((0, part.start, 0), (lead, part.stop, rest), (1, part.step, 1))
        tensor = graph.append(operator, [tensor], node.name)
        count = graph.shapes[tensor][1]
        shape = (*value.shape[:axis], count, *value.shape[axis + 1 :])
        value = Value(tensor, layout.standard(shape))
    return value


def _slice(context: Context, node: OnnxNode, arguments: Arguments) -> Value:
    value = _live(node, arguments)
    for place in range(1, len(arguments)):
        if isinstance(arguments[place], Value):
            raise node.error("its bounds must be constant")
    parts = slices(node, arguments, context.shape(value))
    if parts[0] != slice(0, context.batch, 1):
        raise node.error("touches the batch, which is not supported")
    return _sliced(context, node, value, parts[1:])


def _split(context: Context, node: OnnxNode, arguments: Arguments) -> list[Value]:
    value = _live(node, arguments)
    rank = value.index.ndim
    axis = int(node.attributes.get("axis", 0))
    if not -rank <= axis <= rank or not axis:
        raise node.error(f"axis {axis} is not supported")
    axis = axis % (rank + 1) - 1
    size = value.shape[axis]
    count = len(node.outputs)
    sizes = node.attributes.get("split")
    if sizes is None and _optional(arguments, 1) is not None:
        sizes = np.ravel(_array(node, arguments, 1, "sizes")).tolist()
    if sizes is None:
        each = -(-size // count)
        sizes = [each] * (count - 1) + [size - each * (count - 1)]
    if sum(sizes) != size or min(sizes) < 1:
        raise node.error(f"{size} into {sizes}")
    results, start = [], 0
    for length in sizes:
        parts = [slice(0, each, 1) for each in value.shape]
        parts[axis] = slice(start, start + int(length), 1)
        results.append(_sliced(context, node, value, parts))
        start += int(length)
    return results


def _gather(context: Context, node: OnnxNode, arguments: Arguments) -> Value:
    """One place, or neighbours, along an axis."""
    value, chosen = _live(node, arguments), _array(node, arguments, 1, "indices")
    rank = value.index.ndim + 1
    axis = int(node.attributes.get("axis", 0)) % rank
    if axis == 0 or chosen.ndim > 1:
        raise node.error(f"axis {axis} with indices of shape {_text(chosen.shape)}")
    size = value.shape[axis - 1]
    places = np.ravel(chosen).astype(np.int64) % size
    if len(places) > 1 and not (np.diff(places) == 1).all():
        raise node.error("of places that are no neighbours is not supported")
    parts = [slice(0, each, 1) for each in value.shape]
    parts[axis - 1] = slice(int(places[0]), int(places[-1]) + 1, 1)
    result = _sliced(context, node, value, parts)
    if chosen.ndim == 0:
        return Value(result.tensor, np.squeeze(result.index, axis - 1))
    return result


def _reduction(kind: ReductionKind) -> Translation:
    def translate(context: Context, node: OnnxNode, arguments: Arguments) -> Value:
        value = _live(node, arguments)
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
            raise node.error(f"on shape {_text(value.shape)} is not supported")
        if node.attributes.get("keepdims", 1):
            return result
        return Value(result.tensor, np.squeeze(result.index, chosen))

    return translate


# Already quantised


def _affine_int8(node: OnnxNode, arguments: Arguments, place: int) -> tuple[float, int]:
    """Scale and int8 zero point from the arguments at `place` and behind it."""
    scale = _array(node, arguments, place, "scale")
    zero = _optional(arguments, place + 1)
    zero = np.zeros(1, np.uint8) if zero is None else np.asarray(zero)
    if scale.size != 1 or zero.size != 1 or zero.dtype not in (np.int8, np.uint8):
        raise node.error("one scale, and a zero point of int8 or uint8, are needed")
    shift = 128 if zero.dtype == np.uint8 else 0
    number = float(np.float32(scale.ravel()[0]))
    if not 0 < number < inf:
        raise node.error(f"scale {number}")
    return number, int(zero.ravel()[0]) - shift


def _fixed(context: Context, node: OnnxNode, value: Value, affine: tuple[float, int]) -> Value:
    """The value rounded to int8 with a scale and zero point."""
    known = context.graph.fixed.get(value.tensor)
    if known == affine:
        return value
    if known is not None:
        value = context.same(node, value, Function("identity"))
    context.graph.fixed[value.tensor] = affine
    return value


def _quantize(context: Context, node: OnnxNode, arguments: Arguments) -> Value:
    return _fixed(context, node, _live(node, arguments), _affine_int8(node, arguments, 1))


def _qlinear_conv(context: Context, node: OnnxNode, arguments: Arguments) -> Value:
    value = _fixed(context, node, _live(node, arguments), _affine_int8(node, arguments, 1))
    stored = _array(node, arguments, 3, "weights")
    scale = _array(node, arguments, 4, "weights' scale")
    zero = _array(node, arguments, 5, "weights' zero point")
    along = OnnxNode(node.op, "", node.name, (), (), {"axis": 0})
    weights = dequantized(along, stored, scale, zero)
    plain: list[Argument] = [value, weights]
    if _optional(arguments, 8) is not None:
        unit = np.float64(context.graph.fixed[value.tensor][0]) * scale.astype(np.float64)
        plain.append(_array(node, arguments, 8, "bias") * unit)
    inner = OnnxNode("Conv", "", node.name, ("", node.inputs[3], ""), (), node.attributes)
    if stored.dtype == np.int8 and not zero.any():
        context.scales[node.inputs[3]] = np.ravel(scale)
    result = _conv(context, inner, plain)
    return _fixed(context, node, result, _affine_int8(node, arguments, 6))


def _qlinear_matmul(context: Context, node: OnnxNode, arguments: Arguments) -> Value:
    value = _fixed(context, node, _live(node, arguments), _affine_int8(node, arguments, 1))
    stored = _array(node, arguments, 3, "weights")
    scale = _array(node, arguments, 4, "weights' scale")
    zero = _array(node, arguments, 5, "weights' zero point")
    along = OnnxNode(node.op, "", node.name, (), (), {"axis": 1})
    weights = dequantized(along, stored, scale, zero)
    exact = stored.dtype == np.int8 and not zero.any()
    result = _dense(context, node, value, weights, np.zeros(1), np.ravel(scale) if exact else None)
    return _fixed(context, node, result, _affine_int8(node, arguments, 6))


def _qlinear_add(context: Context, node: OnnxNode, arguments: Arguments) -> Value:
    first = _fixed(context, node, _live(node, arguments), _affine_int8(node, arguments, 1))
    second = _fixed(context, node, _live(node, arguments, 3), _affine_int8(node, arguments, 4))
    result = _of_two(context, node, BinaryKind.ADD, first, second)
    return _fixed(context, node, result, _affine_int8(node, arguments, 6))


def _qgemm(context: Context, node: OnnxNode, arguments: Arguments) -> Value:
    value = _fixed(context, node, _live(node, arguments), _affine_int8(node, arguments, 1))
    stored = _array(node, arguments, 3, "weights")
    scale = _array(node, arguments, 4, "weights' scale")
    zero = _array(node, arguments, 5, "weights' zero point")
    transposed = bool(node.attributes.get("transB"))
    along = OnnxNode(node.op, "", node.name, (), (), {"axis": 0 if transposed else 1})
    weights = dequantized(along, stored, scale, zero)
    bias = np.zeros(1)
    if _optional(arguments, 6) is not None:
        unit = np.float64(context.graph.fixed[value.tensor][0]) * scale.astype(np.float64)
        bias = _array(node, arguments, 6, "bias") * unit
    exact = stored.dtype == np.int8 and not zero.any()
    result = _dense(
        context,
        node,
        value,
        weights.T if transposed else weights,
        bias,
        np.ravel(scale) if exact else None,
    )
    if _optional(arguments, 7) is None:
        return result
    return _fixed(context, node, result, _affine_int8(node, arguments, 7))


_STANDARD: dict[str, Translation] = {
    "Abs": _function("abs"),
    "Add": _binary,
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Cast": _identity,
    "Clip": _clip,
    "Concat": _concatenation,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "DequantizeLinear": _identity,
    "Div": _binary,
    "Dropout": _identity,
    "Elu": _function("elu", 1.0),
    "Erf": _function("erf"),
    "Exp": _function("exp"),
    "Flatten": _flatten,
    "Gather": _gather,
    "Gelu": _gelu,
    "Gemm": _gemm,
    "GlobalAveragePool": _global_pool(ReductionKind.MEAN),
    "GlobalMaxPool": _global_pool(ReductionKind.MAX),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _function("hard_swish"),
    "Identity": _identity,
    "LeakyRelu": _function("leaky_relu", 0.01),
    "LogSoftmax": _softmax,
    "MatMul": _matmul,
    "Max": _binary,
    "MaxPool": _max_pool,
    "Min": _binary,
    "Mish": _function("mish"),
    "Mul": _binary,
    "Neg": _negative,
    "PRelu": _prelu,
    "Pad": _pad,
    "Pow": _power,
    "QLinearConv": _qlinear_conv,
    "QLinearMatMul": _qlinear_matmul,
    "QuantizeLinear": _quantize,
    "Reciprocal": _function("reciprocal"),
    "ReduceMax": _reduction(ReductionKind.MAX),
    "ReduceMean": _reduction(ReductionKind.MEAN),
    "ReduceMin": _reduction(ReductionKind.MIN),
    "ReduceSum": _reduction(ReductionKind.SUM),
    "Relu": lambda c, n, a: c.clipped(n, _live(n, a), (0.0, inf)),
    "Reshape": _reshape,
    "Resize": _resize,
    "Sigmoid": _function("sigmoid"),
    "Slice": _slice,
    "Softmax": _softmax,
    "Softplus": _function("softplus"),
    "Softsign": _function("softsign"),
    "Split": _split,
    "Sqrt": _function("sqrt"),
    "Squeeze": _squeeze,
    "Sub": _binary,
    "Sum": _binary,
    "Swish": _swish,
    "Tanh": _function("tanh"),
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Upsample": _resize,
}

_MICROSOFT: dict[str, Translation] = {
    "Gelu": _gelu,
    "QGemm": _qgemm,
    "QLinearAdd": _qlinear_add,
}
"""Of onnxruntime's quantiser and optimiser."""

OPERATORS: dict[tuple[str, str], Translation] = {
    **{("", name): translation for name, translation in _STANDARD.items()},
    **{("com.microsoft", name): translation for name, translation in _MICROSOFT.items()},
}
"""By domain and name."""
