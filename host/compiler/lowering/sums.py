"""Which step does each ADD, and in whose memory the sum lies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from model.int8.graph import Operator

from .plan import REDUCTIONS, SUMS, Plan, Step, Sum


def place_sums(plan: Plan) -> Plan:
    """Find for each ADD the step behind which it happens, and the memory.

    The step that makes one addend overwrites the other with the sum, if nobody needs either.
    Otherwise a step that copies the one overwrites the other, or a copy of it.
    """
    steps, plan = plan.steps, replace(plan, steps=())
    for index, step in enumerate(steps):
        operator = step.operator
        if step.pair is not None or (operator is None and _keeps_places(step)):
            # What has been read of it is written anew.
            taken = next(
                (each for each in step.reads if _may_take(plan, step, each, steps[index + 1 :])),
                None,
            )
            if taken is not None:
                plan = replace(plan, places={**plan.places, step.target: plan.root(taken)})
            plan = plan.with_step(step)
            continue
        if operator is None or operator.kind not in SUMS or step.pair is not None:
            plan = plan.with_step(step)
            continue
        later = steps[index + 1 :]
        behind = _behind(plan, step, operator, later)
        if behind is not None:
            plan = behind
            continue
        inputs = step.reads
        made = next((i for i in (0, 1) if _may_take(plan, step, inputs[1 - i], later)), None)
        if made is None:
            made = 0
            plan, place = plan.with_copy(inputs[1])
        else:
            place = plan.root(inputs[1 - made])
        plan = replace(plan, places={**plan.places, step.target: place}).with_step(
            replace(step, operator=None, source=inputs[made], sum=Sum(operator, made))
        )
    return plan


def _keeps_places(step: Step) -> bool:
    """Whether a step makes each byte of the one in the same place."""
    return step.move is None and (step.table is not None or step.lines is not None)


def _behind(plan: Plan, step: Step, operator: Operator, later: Sequence[Step]) -> Plan | None:
    """Let the step that makes one addend of ``step`` add the other, if it can."""
    for made, source in enumerate(step.reads):
        value, other = plan.value(source), step.reads[1 - made]
        found = plan.maker(value)
        if found is None or plan.steps[found].sum or plan.steps[found].pooled:
            continue
        # The layers of a move write over one another's bytes: an addend would be lost.
        if plan.steps[found].move is not None:
            earlier = _move_first(plan, step, operator, made, later)
            if earlier is not None:
                return earlier
            continue
        if plan.steps[found].wide or not _may_take(plan, step, source, later):
            continue
        before, since = plan.steps[:found], plan.steps[found:]
        # The two layers of a MEAN may be a sum themselves.
        if since[0].kind in REDUCTIONS or plan.is_read(value, since):
            continue
        complete = any(each.target == plan.value(other) for each in before)
        if complete and _may_take(plan, step, other, [*since, *later]):
            places = {**plan.places, step.target: plan.root(other)}
            kinds = since[0].kinds + step.kinds
            return replace(plan, places=places).instead(
                found,
                replace(since[0], kinds=kinds, target=step.target, sum=Sum(operator, made)),
            )
    return None


def _move_first(
    plan: Plan, step: Step, operator: Operator, made: int, later: Sequence[Step]
) -> Plan | None:
    """Let the step that makes the other addend add to what a move makes, which then comes first."""
    moved, other = plan.value(step.reads[made]), plan.value(step.reads[1 - made])
    found, last = plan.maker(moved), plan.maker(other)
    if found is None or last is None or last > found:
        return None
    maker, move = plan.steps[last], plan.steps[found]
    sources = [plan.maker(plan.value(source)) for source in move.reads]
    known = [plan.value(source) in plan.graph.given for source in move.reads]
    if (
        maker.sum
        or maker.pooled
        or maker.wide
        or maker.move is not None
        or maker.pair is not None
        or maker.kind in REDUCTIONS
        or any(not k and (s is None or s >= last) for s, k in zip(sources, known))
        or moved in plan.regions
        or moved in {region.tensor for region in plan.regions.values()}
        or other in plan.regions
        or plan.is_read(other, plan.steps[last:])
        or plan.is_read(moved, plan.steps[last:])
        or not _may_take(plan, step, step.reads[made], later)
        or not _may_take(plan, step, step.reads[1 - made], later)
    ):
        return None
    # What lies in the place of a source would be read too early or too late.
    if any(plan.root(each.target) in map(plan.root, move.reads) for each in plan.steps[last:]):
        return None
    both = replace(
        maker,
        kinds=maker.kinds + step.kinds,
        target=step.target,
        sum=Sum(operator, 1 - made),
    )
    steps = (
        *plan.steps[:last],
        move,
        both,
        *plan.steps[last + 1 : found],
        *plan.steps[found + 1 :],
    )
    places = {**plan.places, step.target: plan.root(moved)}
    return replace(plan, steps=steps, places=places)


def _may_take(plan: Plan, step: Step, tensor: int, later: Sequence[Step]) -> bool:
    """Whether a sum may take the place of its addend ``tensor``, if ``later`` comes after."""
    value = plan.value(tensor)
    kept = (*map(plan.root, plan.graph.given), *map(plan.value, plan.graph.kept))
    twice = [plan.value(each) for each in step.reads].count(value) == 2
    alike = plan.shape(step.target) == plan.shape(value) == plan.shape(plan.root(value))
    return (
        alike
        and not twice
        and not {value, plan.root(value)} & {*kept}
        and not plan.is_read(value, later)
    )
