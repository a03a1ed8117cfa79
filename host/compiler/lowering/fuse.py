"""From items to steps: what folds into what."""

from __future__ import annotations

from dataclasses import replace

from gateware.interface.configuration import EngineConfiguration
from model.int8 import reference
from model.int8.graph import WEIGHTED, OperatorKind

from ..ends import SCORES
from ..errors import CompileError
from .build_weighted import is_wide
from .crops import Crop, crop, hangs_over, reads_through
from .joins import place_parts
from .network import Item, Move, Network
from .plan import ENGINE, SPATIAL, SUMS, Plan, Step, Table, clamp


def fuse(
    network: Network,
    configuration: EngineConfiguration,
    pools: bool = False,
    copied: frozenset[int] = frozenset(),
) -> Plan:
    """A step for each item that nothing else takes in.

    Parameters
    ----------
    network : Network
    configuration : EngineConfiguration
    pools : bool
        Let convolutions pool their own results.
    copied : frozenset of int
        Tensors of another shape that are copied, where their bytes could stay.

    Raises
    ------
    CompileError
        If the engine has no way to run an operator.
    """
    plan = Plan(network, configuration)
    #: Crops that those who read them do themselves.
    crops: dict[int, Crop] = {}
    #: Moves that the weights of the dense layers that read them undo.
    ordered: dict[int, Move] = {}
    unknown: dict[str, list[str]] = {}
    for position, item in enumerate(network.items):
        kind = item.operator.kind
        core = item.move is None and item.function is None and item.lines is None
        if core and item.pair is None and kind not in (*ENGINE, *SUMS):
            unknown.setdefault(kind.value, []).append(item.name)
        elif item.move is not None:
            plan = _move(plan, item, crops, ordered, copied)
        elif item.function is not None:
            plan = _table(plan, item, item.function.source, item.function.table)
        else:
            plan = _operator(plan, item, crops, ordered, pools, network.items[position + 1 :])
    if unknown:
        raise CompileError("; ".join(_unknown(kind, names) for kind, names in unknown.items()))
    if not plan.steps:
        raise CompileError(f"{network.graph.name}: has no layer for the engine to run")
    return plan


#: What does nearly the same. A RESIZE_BILINEAR with half-pixel centres extrapolates at the edges,
#: where TFLM's result wraps; with most factors, its weights have more bits than the engine's.
_INSTEAD = {"RESIZE_BILINEAR": "a RESIZE_NEAREST_NEIGHBOR or TRANSPOSE_CONV in its place"}


def _unknown(kind: str, names: list[str]) -> str:
    """Why layers of a kind cannot run."""
    layers = f"layer{'s' if len(names) > 1 else ''} {', '.join(names)}"
    if kind in SCORES:
        return f"{layers}: a {kind} is computed on the host, so it must come last"
    instead = _INSTEAD.get(kind)
    return f"{layers}: the engine has no {kind}" + (f"; {instead} can be run" if instead else "")


def _move(
    plan: Plan,
    item: Item,
    crops: dict[int, Crop],
    ordered: dict[int, Move],
    copied: frozenset[int],
) -> Plan:
    graph, move, target = plan.graph, item.move, item.target
    assert move is not None
    if move.keeps_order and target not in copied:
        return replace(plan, reshaped={**plan.reshaped, target: plan.value(move.sources[0])})
    cut = None if move.keeps_order else crop(graph, move, target)
    if cut is not None and reads_through(plan.network, target, cut):
        crops[target] = cut
        return plan
    border = None if cut is None else cut.border
    if cut is None and len(move.sources) == 1 and not move.keeps_order and _feeds_dense(plan, item):
        ordered[target] = move
        return plan
    return place_parts(
        plan, Step(item.name, None, item.kinds, move.sources[0], target, border=border, move=move)
    )


def _feeds_dense(plan: Plan, item: Item) -> bool:
    """Whether only dense layers read a move's result, each all of it, and it has no constants."""
    assert item.move is not None
    readers = plan.network.readers.get(item.target, ())
    size = item.move.index.size

    def flat(reader: Item) -> bool:
        if reader.operator.kind is not OperatorKind.FULLY_CONNECTED:
            return False
        weights = plan.graph.tensors[reader.operator.inputs[1]]
        return weights.data is not None and weights.shape[1] == size

    # Elements of the source that it does not take get weights of zero.
    few = 2 * size >= item.move.sizes[0]
    unique = few and len(set(item.move.index.ravel().tolist())) == size
    constant = bool((item.move.which < 0).any())
    return (
        unique and not constant and item.target not in plan.graph.kept and all(map(flat, readers))
    )


def _operator(
    plan: Plan,
    item: Item,
    crops: dict[int, Crop],
    ordered: dict[int, Move],
    pools: bool,
    behind: tuple[Item, ...],
) -> Plan:
    operator = item.operator
    if item.lines is not None:
        return plan.with_step(
            Step(item.name, None, item.kinds, item.reads[0], item.target, lines=item.lines)
        )
    if item.pair is not None:
        one, other = item.reads
        return plan.with_step(
            Step(item.name, operator, item.kinds, one, item.target, pair=(one, other))
        )
    if operator.kind in SUMS:
        return plan.with_step(
            Step(item.name, operator, item.kinds, operator.inputs[0], item.target)
        )
    source, target = operator.inputs[0], item.target
    kinds, border, gather = item.kinds, None, None
    if operator.kind in SPATIAL and plan.graph.tensors[source].shape[0] != 1:
        text = "x".join(map(str, plan.graph.tensors[source].shape))
        raise CompileError(
            f"tensor {plan.name(source)}: has shape {text}, the engine takes one picture of "
            f"height, width and channels at a time"
        )
    mover = plan.network.movers.get(source)
    if source in crops:
        assert mover is not None
        cut = crops[source]
        kinds = (*mover.kinds, *kinds)
        source, border = cut.source, cut.border
        if not cut.bordered:
            border = replace(border, value=plan.zero_point(operator.inputs[0]))
    elif mover is not None and source in ordered:
        gather, kinds = ordered[source].index.ravel(), (*mover.kinds, *kinds)
        (source,) = ordered[source].sources
    if operator.kind is OperatorKind.MAX_POOL_2D and pools and border is None:
        pooled = _pool_behind(plan, item, behind)
        if pooled is not None:
            return pooled
    wide = operator.kind in WEIGHTED and is_wide(plan, operator)
    return plan.with_step(
        Step(
            operator.name,
            operator,
            kinds,
            source,
            target,
            border=border,
            wide=wide,
            gather=gather,
        )
    )


def _pool_behind(plan: Plan, item: Item, behind: tuple[Item, ...]) -> Plan | None:
    """Let the convolution that makes a 2x2 pool's input pool it, if it can."""
    graph, operator = plan.graph, item.operator
    source = operator.inputs[0]
    made = plan.maker(source)
    if made is None or plan.configuration.pixels == 1:
        return None
    step, window = plan.steps[made], reference.window(graph, operator)
    sizes = (window.kernel_h, window.kernel_w, window.stride_h, window.stride_w)
    # The engine counts a pooled layer's results anew in every second line, so the last layer,
    # of which it finds the greatest result, is none.
    if (
        step.kind is not OperatorKind.CONV_2D
        or step.table is not None
        or step.pooled
        or step.wide
        or sizes != (2, 2, 2, 2)
        or hangs_over(window)
        or clamp(graph, operator) != (-128, 127)
        or not plan.only_use(source)
        or not any(each.operator.kind in (*ENGINE, *SUMS) for each in behind)
    ):
        return None
    kinds = (*step.kinds, operator.kind.value)
    return plan.instead(made, replace(step, kinds=kinds, target=item.target, pooled=True))


def _table(plan: Plan, item: Item, source: int, table: Table) -> Plan:
    """A function of one byte: behind the step that makes its input, or a step of its own."""
    value = plan.value(source)
    made = plan.maker(value)
    # What only has other dimensions to it, not another height, width or channels, is the same.
    same = value == source or (
        plan.only_use(value) and plan.shape(value) == plan.shape(source) == plan.shape(item.target)
    )
    if (
        made is None
        or plan.steps[made].kind in SUMS
        or plan.steps[made].move is not None
        or plan.steps[made].pooled
        or not (same and plan.only_use(source))
        or (plan.steps[made].wide and not _keeps_ends(plan, plan.steps[made], table))
    ):
        return plan.with_step(Step(item.name, None, item.kinds, source, item.target, table))
    step = plan.steps[made]
    if step.table is not None:
        table = table[step.table.astype("intp") + 128]
    return plan.instead(
        made, replace(step, kinds=step.kinds + item.kinds, target=item.target, table=table)
    )


def _keeps_ends(plan: Plan, step: Step, table: Table) -> bool:
    """Whether a table may follow sums in two passes: at the clamp's ends it is at its own."""
    assert step.operator is not None
    rule = reference.requantization(plan.graph, step.operator)
    if step.table is not None:
        table = table[step.table.astype("intp") + 128]
    values = table[rule.minimum + 128 : rule.maximum + 129]
    return bool(values[0] == values.min() and values[-1] == values.max())
