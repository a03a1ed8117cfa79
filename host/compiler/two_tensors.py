"""Layers that read two tensors: their product, or the greater of the two, element by element.

The engine fetches them as two kernel rows of a channel-wise layer, at the same place of each: so
both must lie in memory alike. Where one of them has a single row or column, :func:`spread` copies
it beside the other first; as few rows as :func:`in_bands` is told are enough.

A **product** of what two bytes stand for, without their zero points, is

    (a - za) * (b - zb) = a * b - zb * a - za * b + za * zb

The word with ``a`` comes with weights whose sum is ``-zb``, then that with ``b``: first marked, so
that it is multiplied by ``a``, then with weights whose sum is ``-za``. The bias is ``za * zb``. The
same word may come often, so a left shift, which the requantiser has not, is so many times as much
of everything. Reference: ``MUL`` of TensorFlow Lite for Microcontrollers (its
``reference_integer_ops::Mul``), that is ``MultiplyByQuantizedMultiplier`` of that product.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from gateware.interface.configuration import EngineConfiguration
from gateware.interface.tape import LEAST_WEIGHT, PRODUCT_MARK
from model.int8.fixed_point import quantize_multiplier
from model.int8.graph import Graph, Operator
from model.int8.operators.quantization import affine, clamp, fused_activation

from .channels import signed_bits
from .errors import CompileError
from .layers import UNIT_MULTIPLIER, Epilogue, IntArray, Kernel, Layer, Mode, View
from .loops import MAX_GROUPS, MAX_WINDOW_WIDTH
from .nest import round_up

__all__ = ["Multiplication", "in_bands", "maximum", "multiply", "spread"]

_GREATEST_WEIGHT = 127
#: What lies beside the picture, where no window of these layers reaches.
_UNSEEN = -128
#: Of a byte without its zero point.
_MOST = 255

Table = npt.NDArray[np.int8]


@dataclass(frozen=True)
class Multiplication:
    """What becomes of a product, as TensorFlow Lite says it.

    Attributes
    ----------
    zero_points : tuple of int
        Of the two inputs.
    multiplier, shift : int
        Of ``QuantizeMultiplier(scale of one * scale of other / scale of output)``: the multiplier
        in 2**30 .. 2**31 - 1, or 0; the shift goes left where it is positive.
    zero_point : int
        Of the output.
    minimum, maximum : int
        The clamp, in -128 .. 127.
    """

    zero_points: tuple[int, int]
    multiplier: int
    shift: int
    zero_point: int
    minimum: int = -128
    maximum: int = 127

    @classmethod
    def of(cls, graph: Graph, operator: Operator) -> Multiplication:
        """What a MUL says, fused activation included."""
        (scale, zero), (other_scale, other_zero) = (affine(graph, i) for i in operator.inputs[:2])
        scale_out, zero_out = affine(graph, operator.outputs[0])
        multiplier, shift = quantize_multiplier(
            float(scale) * float(other_scale) / float(scale_out)
        )
        return cls(
            (zero, other_zero),
            int(multiplier),
            int(shift),
            zero_out,
            *clamp(fused_activation(operator), scale_out, zero_out),
        )


def multiply(
    name: str,
    kinds: tuple[str, ...],
    sources: tuple[View, View],
    target: View,
    rule: Multiplication,
    configuration: EngineConfiguration,
    table: Table | None = None,
) -> Layer:
    """The product of two tensors of one shape, through ``table`` if there is one.

    A window of ``G`` results takes 7 cycles, or as many as its steps, of which there are 6 for most
    zero points.

    Parameters
    ----------
    name : str
    kinds : tuple of str
        As :attr:`.Layer.kinds`.
    sources : tuple of View
        They may be the same one.
    target : View
        It may lie where one of the sources does.
    rule : Multiplication
    configuration : EngineConfiguration
    table : ndarray of int8, shape (256,), or None

    Raises
    ------
    CompileError
        If the engine has no products, the shapes differ, the sources do not lie in memory alike,
        or the scale is 8 or more (with zero points of 0, 32 or more).
    """
    if not configuration.products:
        raise CompileError(f"layer {name}: this engine has no products of two tensors")
    weights, bias, shift = _terms(name, rule, configuration)
    source, other, target = _fitted(name, sources, target, configuration)
    channels = target.channels
    return Layer(
        name=name,
        kinds=kinds,
        mode=Mode.PRODUCT,
        source=source,
        other=other,
        target=target,
        kernel=Kernel(),
        weights=np.broadcast_to(weights, (channels, *weights.shape)),
        pad_value=_UNSEEN,
        epilogue=Epilogue(
            bias=np.full(channels, bias, np.int64),
            multiplier=np.full(channels, rule.multiplier or UNIT_MULTIPLIER, np.int64),
            shift=np.full(channels, shift, np.int64),
            zero_point=rule.zero_point,
            minimum=rule.minimum,
            maximum=rule.maximum,
            table=table,
        ),
    )


def maximum(
    name: str,
    kinds: tuple[str, ...],
    sources: tuple[View, View],
    target: View,
    configuration: EngineConfiguration,
    table: Table | None = None,
) -> Layer:
    """The greater byte of each pair, through ``table`` if there is one: a max pool of two taps.

    Parameters and errors are those of :func:`multiply`. The lesser byte is ``~maximum(~a, ~b)``:
    three tables, of which those of the sources go behind the layers that make them.
    """
    source, other, target = _fitted(name, sources, target, configuration)
    return Layer(
        name=name,
        kinds=kinds,
        mode=Mode.POOL,
        source=source,
        other=other,
        target=target,
        kernel=Kernel(),
        weights=None,
        pad_value=_UNSEEN,
        epilogue=Epilogue.half(target.channels, -128, table=table),
    )


def spread(name: str, kinds: tuple[str, ...], source: View, target: View) -> Layer:
    """Copy a single row, column or pixel to every row, column or pixel of ``target``.

    Raises
    ------
    CompileError
        If the shapes differ otherwise.
    """
    strides = []
    for what, inputs, outputs in (
        ("height", source.height, target.height),
        ("width", source.width, target.width),
    ):
        if inputs not in (1, outputs):
            raise CompileError(
                f"layer {name}: a {what} of {inputs} cannot be spread over {outputs}"
            )
        strides.append(int(inputs == outputs))
    if source.channels != target.channels:
        raise CompileError(
            f"layer {name}: {source.channels} channels cannot be spread over {target.channels}"
        )
    return Layer(
        name=name,
        kinds=kinds,
        mode=Mode.POOL,
        source=source,
        target=target,
        kernel=Kernel(stride_h=strides[0], stride_w=strides[1]),
        weights=None,
        pad_value=_UNSEEN,
        epilogue=Epilogue.half(target.channels, -128),
    )


def in_bands(source: View, rows: int) -> list[View]:
    """``source`` cut into views of at most ``rows`` rows each, from the top."""
    return [
        replace(
            source,
            height=min(rows, source.height - top),
            offset=source.offset + top * source.row_pitch,
        )
        for top in range(0, source.height, rows)
    ]


def _terms(
    name: str, rule: Multiplication, configuration: EngineConfiguration
) -> tuple[IntArray, int, int]:
    """Weights of both words, shape (2, steps); bias; right shift."""
    if rule.multiplier == 0:
        # So small a scale that TensorFlow Lite takes zero for it.
        return np.zeros((2, 1), np.int64), 0, 0
    times = 1 << max(0, rule.shift)
    one, other = rule.zero_points
    rows = (_parts(-other * times), [PRODUCT_MARK] * times + _parts(-one * times))
    steps = max(map(len, rows))
    bits = signed_bits(times * _MOST**2)
    if steps > MAX_WINDOW_WIDTH or bits > configuration.accumulator_bits - 1:
        raise CompileError(
            f"layer {name}: its scale is {times >> 1} or more, the engine reaches no more than 8 "
            f"with every zero point (input scale * input scale / output scale)"
        )
    weights = np.zeros((2, steps), np.int64)
    for row, values in zip(weights, rows):
        row[: len(values)] = values
    return weights, times * one * other, max(0, -rule.shift)


def _parts(total: int) -> list[int]:
    """As few weights as have that sum."""
    end = _GREATEST_WEIGHT if total > 0 else LEAST_WEIGHT
    full, rest = divmod(abs(total), abs(end))
    return [end] * full + ([rest if total > 0 else -rest] if rest else [])


def _fitted(
    name: str, sources: tuple[View, View], target: View, configuration: EngineConfiguration
) -> tuple[View, View, View]:
    """The three views as the engine can go through them together."""
    source, other = sources
    shapes = [(view.height, view.width, view.channels) for view in (*sources, target)]
    if len(set(shapes)) > 1:
        text = ", ".join("x".join(map(str, shape)) for shape in shapes)
        raise CompileError(f"layer {name}: its tensors must have one shape, not {text}")
    alike = source.pixel_pitch == other.pixel_pitch or source.width == 1
    if not alike or (source.row_pitch != other.row_pitch and source.height > 1):
        raise CompileError(
            f"layer {name}: its inputs must lie in memory alike, not with {source.pixel_pitch} "
            f"and {other.pixel_pitch} bytes a pixel, {source.row_pitch} and {other.row_pitch} a row"
        )
    source, other, target = _without_pixels((source, other, target), configuration)
    group = configuration.channel_group
    if source.width > 1 and any(view.pixel_pitch % group for view in (source, other)):
        raise CompileError(
            f"layer {name}: its inputs have {source.pixel_pitch} bytes a pixel, the engine reads "
            f"{group} channels at once"
        )
    return source, other, target


def _without_pixels(
    views: tuple[View, View, View], configuration: EngineConfiguration
) -> tuple[View, View, View]:
    """Rows of bytes, where no view has a gap in a row: where pixels begin is ours to choose."""
    group, target = configuration.channel_group, views[-1]
    row_bytes = target.width * target.channels
    row = round_up(row_bytes, group)
    # What is written behind the last pixel must be nobody's: the row's rest to a whole word is.
    ends = row == row_bytes or target.row_pitch == round_up(row_bytes, configuration.word_bytes)
    if not ends or any(view.pixel_pitch != view.channels for view in views):
        return views
    groups = row // group
    # Few tiles, since each has its parameters.
    tiles = next(
        tiles
        for tiles in range(1, groups + 1)
        if groups % tiles == 0 and groups // tiles <= MAX_GROUPS
    )
    width, channels = groups // tiles, tiles * group
    source, other, target = (
        replace(view, width=width, channels=channels, pixel_pitch=channels) for view in views
    )
    return source, other, target
