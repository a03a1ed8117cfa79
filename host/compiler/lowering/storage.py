"""How each tensor that is kept lies in memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from model.int8 import reference
from model.int8.graph import Operator, OperatorKind

from ..errors import ReshapeError
from ..layers import Kernel, View
from ..nest import round_up
from .plan import (
    CHANNEL_WISE,
    ENGINE,
    REDUCTIONS,
    Plan,
    Shape,
    Step,
    picture_shape,
    reduced,
)


@dataclass(frozen=True, eq=False)
class Stored:
    """A plan with the memory of its tensors.

    Attributes
    ----------
    plan : Plan
    storage : mapping of int to View
        By tensor.
    margin : tuple of int
        Pixels of padding to the left and the right of the input's rows that the host writes too.
    """

    plan: Plan
    storage: Mapping[int, View]
    margin: tuple[int, int] = (0, 0)

    def target(self, step: Step) -> View:
        """Where the step's result goes."""
        return self.value_view(step.target)

    def value_view(self, tensor: int) -> View:
        """Where the bytes of ``tensor`` lie, in the shape in which they were made."""
        value = self.plan.value(tensor)
        region = self.plan.regions.get(value)
        if region is None:
            return self.storage[self.plan.root(value)]
        whole = self.storage[region.tensor]
        height, width, channels = self.plan.shape(value)
        return replace(
            whole,
            height=height,
            width=width,
            channels=channels,
            offset=region.row * whole.row_pitch
            + region.column * whole.pixel_pitch
            + region.channel,
        )

    def source(self, step: Step) -> View:
        """The step's input in the shape in which the operator sees it.

        Raises
        ------
        ReshapeError
            If the bytes of that shape do not lie as a layer can read them.
        """
        plan = self.plan
        root = plan.root(step.source)
        stored = self.storage[root]
        if step.source not in plan.reshaped or (root in plan.graph.inputs and any(self.margin)):
            return stored
        height, width, channels = picture_shape(plan.graph, step.source)
        if (height, width, channels) == (stored.height, stored.width, stored.channels):
            return stored
        if stored.dense:
            view = stored.reshaped(height, width, channels)
            rows = view.row_pitch % plan.configuration.word_bytes == 0 or height == 1
            group = plan.configuration.channel_group
            if rows and not (_needs_groups(step) and view.pixel_pitch % group):
                return view
        raise ReshapeError(
            f"layer {step.name}: reads {height}x{width}x{channels} reshaped from "
            f"{stored.height}x{stored.width}x{stored.channels}, whose rows do not lie "
            f"in memory without gaps",
            step.source,
        )

    def kernel(self, step: Step, operator: Operator) -> Kernel:
        """The operator's window, with a folded PAD's padding, and without what is stored."""
        if operator.kind in REDUCTIONS:
            source = self.source(step)
            rows, columns, _ = reduced(self.plan.graph, operator)
            return Kernel(source.height if rows else 1, source.width if columns else 1)
        reads_margin = self.plan.root(step.source) in self.plan.graph.inputs
        return _kernel(self.plan, step, operator, self.margin[0] if reads_margin else 0)


def store(plan: Plan, stores_padding: bool = False) -> Stored:
    """Decide every tensor's pitch, and insert a copy where the host's own must stay dense.

    Parameters
    ----------
    plan : Plan
    stores_padding : bool
        Let the host write the padding of the layer that reads the input, where that can be.
    """
    given = [tensor for tensor in plan.graph.given if plan.root(tensor) == tensor]
    shapes = {tensor: _input_shape(plan, tensor) for tensor in given}
    for step in plan.steps:
        root = plan.root(step.target)
        if root not in given:
            shapes[root] = plan.shape(root)
    padded = _padded_tensors(plan, shapes)
    for tensor in plan.graph.inputs:
        if tensor in padded:
            plan, copy = _with_padded_copy(plan, tensor, shapes[tensor], padded)
            shapes[copy] = shapes[tensor]
            padded = padded - {tensor} | {copy}
    storage = {
        tensor: _new_view(plan, tensor, shape, tensor in padded) for tensor, shape in shapes.items()
    }
    stored = Stored(plan, storage)
    return _with_margin(stored) if stores_padding else stored


def _kernel(plan: Plan, step: Step, operator: Operator, margin: int = 0) -> Kernel:
    window = reference.window(plan.graph, operator)
    top, left = (step.border.top, step.border.left) if step.border else (0, 0)
    return Kernel(
        height=window.kernel_h,
        width=window.kernel_w,
        stride_h=window.stride_h,
        stride_w=window.stride_w,
        dilation_h=window.dilation_h,
        dilation_w=window.dilation_w,
        top=window.top + top,
        left=window.left + left - margin,
    )


def _with_margin(stored: Stored) -> Stored:
    """Let the host write the columns of padding, if a convolution alone reads the only input.

    The host fills with the input's zero point, so the layer must pad with the same.
    """
    plan = stored.plan
    host, *others = plan.graph.inputs
    view = stored.storage[host]
    readers = [step for step in plan.steps if host in map(plan.root, step.reads)]
    if others or len(readers) != 1 or readers[0].kind is not OperatorKind.CONV_2D:
        return stored
    step, operator = readers[0], readers[0].operator
    shape = (view.height, view.width, view.channels)
    if operator is None or picture_shape(plan.graph, step.source) != shape:
        return stored
    if (step.border or operator.inputs[0] != host) and (
        plan.zero_point(operator.inputs[0]) != plan.zero_point(host)
    ):
        return stored
    kernel, width = _kernel(plan, step, operator), stored.target(step).width
    if kernel.left < 0:
        return stored
    width *= 2 if step.pooled else 1
    reach = (width - 1) * kernel.stride_w + (kernel.width - 1) * kernel.dilation_w + 1
    margin = kernel.left, max(0, reach - kernel.left - view.width)
    shape = (view.height, view.width + sum(margin), view.channels)
    storage = {**stored.storage, host: _new_view(plan, host, shape, padded=False)}
    return replace(stored, storage=storage, margin=margin)


def _input_shape(plan: Plan, tensor: int) -> Shape:
    """Of an input: as what it is used, where all that happens to it is a reshape."""
    while plan.only_use(tensor):
        (reader,) = plan.network.readers[tensor]
        if reader.move is None or not reader.move.keeps_order:
            break
        tensor = reader.target
    return picture_shape(plan.graph, tensor)


def _padded_tensors(plan: Plan, shapes: Mapping[int, Shape]) -> set[int]:
    """Tensors whose pixel pitch must be rounded up."""
    padded: set[int] = set()
    at_once = plan.configuration.requantizers
    if at_once > 1:
        # Results are written so many channels at a time. Whole rows of bytes may lie close.
        padded |= {plan.root(step.target) for step in plan.steps if not _each_byte(step)}
    before = -1
    while before < len(padded):
        before = len(padded)
        for step in reversed(plan.steps):
            if step.move is not None:
                continue
            if at_once > 1 and _each_byte(step) and plan.root(step.source) in padded:
                padded.add(plan.root(step.target))
            for root in map(plan.root, step.pair or (step.source,)):
                uneven = shapes[root][2] % plan.configuration.channel_group != 0
                if uneven and _reads_groups(plan, step, padded):
                    padded.add(root)
    return padded


def _needs_groups(step: Step) -> bool:
    """Whether the step reads whole groups of channels of each pixel."""
    return step.lines is not None or step.pair is not None or step.kind in CHANNEL_WISE


def _each_byte(step: Step) -> bool:
    """Whether the step goes through bytes wherever pixels begin: it copies or looks up."""
    return step.kind is None and step.move is None and step.lines is None


def _reads_groups(plan: Plan, step: Step, padded: set[int]) -> bool:
    """Whether the step's input must have a pixel pitch of whole groups.

    A table or a copy needs that only where its output has: otherwise it ignores where pixels
    begin. A copy of the host's own can do without.
    """
    if _needs_groups(step):
        return True
    if step.kind is None and plan.root(step.source) in plan.graph.inputs:
        return False
    each_byte = step.kind not in ENGINE
    return step.kind in CHANNEL_WISE or (each_byte and plan.root(step.target) in padded)


def _with_padded_copy(plan: Plan, tensor: int, shape: Shape, padded: set[int]) -> tuple[Plan, int]:
    """Let channel-wise layers read a padded copy of an input.

    Raises
    ------
    ReshapeError
        If one reads it in another shape.
    """
    reading = [
        index
        for index, step in enumerate(plan.steps)
        if tensor in map(plan.root, step.pair or (step.source,))
        and step.move is None
        and _reads_groups(plan, step, padded)
    ]
    copied, copy = plan.with_copy(tensor, before=reading[0])
    for index in reading:
        step = plan.steps[index]
        for each in step.pair or (step.source,):
            if plan.root(each) == tensor and picture_shape(plan.graph, each) != shape:
                raise ReshapeError(
                    f"layer {step.name}: reads an input in another shape, whose channels do not "
                    f"lie in memory in whole groups",
                    each,
                )
        if step.pair is not None:
            one, other = (copy if plan.root(each) == tensor else each for each in step.pair)
            step = replace(step, source=one, pair=(one, other))
        else:
            step = replace(step, source=copy)
        copied = copied.instead(index + 1, step)
    return copied, copy


def _new_view(plan: Plan, tensor: int, shape: Shape, padded: bool) -> View:
    height, width, channels = shape
    pixel = round_up(channels, plan.configuration.channel_group) if padded else channels
    pitch = round_up(width * pixel, plan.configuration.word_bytes)
    return View(tensor, height, width, channels, pixel, pitch)
