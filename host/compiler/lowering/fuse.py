"""From operators to steps: what folds into what, and what the host does."""

from __future__ import annotations

from dataclasses import replace

from gateware.interface.configuration import EngineConfiguration
from model.int8 import reference
from model.int8.graph import WEIGHTED, Graph, Operator, OperatorKind

from ..ends import SCORES
from ..errors import CompileError
from .build_weighted import is_wide
from .plan import ENGINE, Border, Plan, Step, Table, clamp, hangs_over, padding, picture_shape


def fuse(graph: Graph, configuration: EngineConfiguration, pools: bool = False) -> Plan:
    """A step for each operator that nothing else takes in.

    Parameters
    ----------
    graph : Graph
    configuration : EngineConfiguration
    pools : bool
        Let convolutions pool their own results.

    Raises
    ------
    CompileError
        If the engine has no way to run an operator.
    """
    plan = Plan(graph, configuration)
    #: What folded PADs make: the tensor around which they put it, and the border.
    borders: dict[int, tuple[int, Border]] = {}
    for operator in graph.operators:
        plan = _add(plan, operator, borders, pools)
    if not plan.steps:
        raise CompileError(f"{graph.name}: has no layer for the engine to run")
    return plan


def _add(
    plan: Plan, operator: Operator, borders: dict[int, tuple[int, Border]], pools: bool
) -> Plan:
    source, target = operator.inputs[0], operator.outputs[0]
    if operator.kind is OperatorKind.RESHAPE:
        return replace(plan, reshaped={**plan.reshaped, target: plan.value(source)})
    if operator.kind is OperatorKind.PAD and folds(plan.graph, operator):
        inner, border = borders.get(source, (source, Border(0, 0, 0)))
        (above, _), (before, _), _ = padding(plan.graph, operator)
        borders[target] = (
            inner,
            Border(border.top + int(above), border.left + int(before), plan.zero_point(target)),
        )
        return plan
    if operator.kind not in ENGINE:
        return _table(plan, operator)
    for tensor in (source, target):
        picture_shape(plan.graph, tensor)
    kinds: tuple[str, ...] = (operator.kind.value,)
    around = None
    if source in borders:
        source, around = borders[source]
        kinds = (OperatorKind.PAD.value, *kinds)
    elif operator.kind is OperatorKind.MAX_POOL_2D and pools:
        pooled = _pool_behind(plan, operator)
        if pooled is not None:
            return pooled
    wide = operator.kind in WEIGHTED and is_wide(plan, operator)
    return plan.with_step(
        Step(operator.name, operator, kinds, source, target, border=around, wide=wide)
    )


def folds(graph: Graph, operator: Operator) -> bool:
    """Whether all that read a PAD's output can pad as much themselves, with the same bytes."""
    padding(graph, operator)
    target = operator.outputs[0]
    readers = [graph.operators[index] for index in graph.consumers(target)]

    def zero_point(tensor: int) -> int:
        quantization = graph.tensors[tensor].quantization
        return 0 if quantization is None else int(quantization.zero_point[0])

    def pads(reader: Operator) -> bool:
        if reader.kind is OperatorKind.PAD:
            # A border within a border: both are of the same bytes, or it takes a layer.
            alike = zero_point(reader.outputs[0]) == zero_point(target)
            return alike and folds(graph, reader)
        if reader.kind in (OperatorKind.MAX_POOL_2D, OperatorKind.AVERAGE_POOL_2D):
            # Their own padding is of another value.
            return not hangs_over(reference.window(graph, reader))
        return reader.kind in (OperatorKind.CONV_2D, OperatorKind.DEPTHWISE_CONV_2D)

    return bool(readers) and target not in graph.outputs and all(map(pads, readers))


def _pool_behind(plan: Plan, operator: Operator) -> Plan | None:
    """Let the convolution that makes a 2x2 pool's input pool it, if it can."""
    graph, source = plan.graph, operator.inputs[0]
    made = plan.maker(source)
    if made is None or plan.configuration.pixels == 1:
        return None
    step, window = plan.steps[made], reference.window(graph, operator)
    sizes = (window.kernel_h, window.kernel_w, window.stride_h, window.stride_w)
    # The engine counts a pooled layer's results anew in every second line, so the last layer,
    # of which it finds the greatest result, is none.
    behind = graph.operators[graph.operators.index(operator) + 1 :]
    if (
        step.kind is not OperatorKind.CONV_2D
        or step.table is not None
        or step.pooled
        or step.wide
        or sizes != (2, 2, 2, 2)
        or hangs_over(window)
        or clamp(graph, operator) != (-128, 127)
        or not plan.only_use(source)
        or not any(each.kind in ENGINE for each in behind)
    ):
        return None
    kinds = (*step.kinds, operator.kind.value)
    return plan.instead(made, replace(step, kinds=kinds, target=operator.outputs[0], pooled=True))


def _table(plan: Plan, operator: Operator) -> Plan:
    """A function of one byte: behind the layer that makes its input, or a layer of its own."""
    if operator.kind.value in SCORES:
        raise CompileError(
            f"layer {operator.name}: a {operator.kind.value} is computed on the host, so it must "
            f"come last"
        )
    try:
        table = reference.table(plan.graph, operator)
    except TypeError:
        raise CompileError(
            f"layer {operator.name}: the engine has no {operator.kind.value}"
        ) from None
    source, target = operator.inputs[0], operator.outputs[0]
    kinds = (operator.kind.value,)
    made = plan.maker(source)
    adds = made is not None and plan.steps[made].kind is OperatorKind.ADD
    if (
        made is None
        or adds
        or plan.steps[made].pooled
        or not plan.only_use(source)
        or (plan.steps[made].wide and not _keeps_ends(plan, plan.steps[made], table))
    ):
        return plan.with_step(Step(operator.name, operator, kinds, source, target, table))
    step = plan.steps[made]
    if step.table is not None:
        table = table[step.table.astype("intp") + 128]
    return plan.instead(made, replace(step, kinds=step.kinds + kinds, target=target, table=table))


def _keeps_ends(plan: Plan, step: Step, table: Table) -> bool:
    """Whether a table may follow sums in two passes: at the clamp's ends it is at its own."""
    assert step.operator is not None
    rule = reference.requantization(plan.graph, step.operator)
    if step.table is not None:
        table = table[step.table.astype("intp") + 128]
    values = table[rule.minimum + 128 : rule.maximum + 129]
    return bool(values[0] == values.min() and values[-1] == values.max())
