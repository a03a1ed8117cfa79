"""State: variables keep their places, and a run's last layers put there what the next one finds.

A variable lies where no other tensor ever does. Until the last layer of the network itself it holds
what the run found, so a run may be repeated up to there; the layers behind, one for each variable,
write what the next run will find. Very last comes the *ticket* (:func:`with_ticket`), by which the
host sees whether a run has been carried out.

Copies are saved where a variable is a part of a ring of rows. What the variable is put together
with lies behind it: the ring is one tensor, whose first rows are the variable
(:func:`may_lie_in_join`). What is cut out of it for the next run is moved within it, not made first
and copied afterwards. And a ring that is all variable moves up where it is (:func:`with_shift`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from math import prod

import numpy as np

from host.model_card import TICKET_BYTES
from model.int8.graph import Graph, Quantization, Tensor, Variable

from ..errors import CompileError
from .network import Indexes, Move
from .plan import Plan, Region, Step, picture_shape

__all__ = ["keep_state", "may_lie_in_join", "with_shift", "with_ticket"]


def with_ticket(graph: Graph) -> Graph:
    """``graph`` with one more input, the number of the run, which becomes one more variable.

    Both come last. A network without variables stays as it is.
    """
    if not graph.variables:
        return graph
    shape = (1, 1, 1, TICKET_BYTES)
    affine = Quantization(np.ones(1, np.float32), np.zeros(1, np.int64))
    given = len(graph.tensors)
    tensors = (
        *graph.tensors,
        Tensor("number of the run", shape, "int8", affine),
        Tensor("number of the last run", shape, "int8", affine),
    )
    ticket = Variable("run", given + 1, given, np.zeros(shape, np.int8))
    return replace(
        graph,
        tensors=tensors,
        inputs=(*graph.inputs, given),
        variables=(*graph.variables, ticket),
    )


def may_lie_in_join(plan: Plan, tensor: int, target: int) -> bool:
    """Whether ``tensor`` is a variable that may lie within ``target``, which is put together of it.

    That one then stays in memory from run to run; what else is in it is written anew in each. The
    variable is whole rows of it, for the host writes its first value in one piece.
    """
    variables = [each.tensor for each in plan.graph.variables]
    taken = any(plan.regions[each].tensor == target for each in variables if each in plan.regions)
    rows = picture_shape(plan.graph, tensor)[1:] == picture_shape(plan.graph, target)[1:]
    return tensor in variables and rows and plan.only_use(tensor) and not taken


def with_shift(plan: Plan, step: Step) -> Plan:
    """``plan`` with a move behind it; of a ring that is all variable, within the variable.

    Such a ring drops its oldest rows when the new ones come. What stays moves up before anything
    writes the new ones.
    """
    move, target = step.move, step.target
    assert move is not None
    writers = [i for i, each in enumerate(plan.steps) if plan.root(each.target) == target]
    late = writers and not set(move.sources) <= set(plan.graph.given)
    for each in plan.graph.variables:
        if each.next != target or each.tensor not in move.sources or late:
            continue
        shape = picture_shape(plan.graph, target)
        which = move.which.reshape(shape)
        old = which == move.sources.index(each.tensor)
        stays = int(old.any(axis=(1, 2)).sum())
        if (
            picture_shape(plan.graph, each.tensor) == shape
            and may_lie_in_join(plan, each.tensor, target)
            and old[:stays].all()
            and _goes_up(move.index.reshape(shape)[:stays], 0)
        ):
            regions = {**plan.regions, each.tensor: Region(target, 0, 0, 0)}
            at = writers[0] if writers else len(plan.steps)
            steps = (*plan.steps[:at], step, *plan.steps[at:])
            return replace(plan, regions=regions, steps=steps)
    return plan.with_step(step)


def keep_state(plan: Plan) -> Plan:
    """With the steps that put into each variable what the next run finds.

    Raises
    ------
    CompileError
        If a variable is assigned a constant.
    """
    homes = {each.tensor: plan.root(each.tensor) for each in plan.graph.variables}
    variables = [each for each in plan.graph.variables if not _is_there(plan, each)]
    # Outputs, and what another variable is assigned, must not lie where a variable changes.
    copies: dict[int, int] = {}
    for tensor in plan.graph.outputs:
        if plan.root(tensor) in homes.values():
            plan, copies[tensor] = _with_copy(plan, tensor)
    plan = replace(plan, answers=dict(copies))
    for each in variables:
        if plan.graph.tensors[each.next].data is not None:
            raise CompileError(f"variable {each.name}: is assigned a constant")
        root = plan.root(each.next)
        if root in homes.values() and root != homes[each.tensor] and each.next not in copies:
            plan, copies[each.next] = _with_copy(plan, each.next)
    steps = []
    for each in variables:
        direct = None if each.next in copies else _direct(plan, each, homes)
        if direct is not None:
            made = plan.maker(each.next)
            assert made is not None
            plan = replace(plan, steps=(*plan.steps[:made], *plan.steps[made + 1 :]))
        steps.append(direct or _commit(each, _identity(plan, copies.get(each.next, each.next))))
    return replace(plan, steps=(*plan.steps, *steps))


def _is_there(plan: Plan, variable: Variable) -> bool:
    """Whether what a variable is assigned lies in its place anyway."""
    left = plan.value(variable.next)
    there = plan.regions.get(variable.tensor) == Region(left, 0, 0, 0)
    shapes = [picture_shape(plan.graph, tensor) for tensor in (left, variable.tensor)]
    return left == variable.tensor or (there and shapes[0] == shapes[1])


def _commit(variable: Variable, move: Move) -> Step:
    kinds = ("ASSIGN_VARIABLE",)
    name = f"state {variable.name}"
    return Step(name, None, kinds, move.sources[0], variable.tensor, move=move)


def _identity(plan: Plan, tensor: int) -> Move:
    """All of a tensor, in its order."""
    count = prod(plan.shape(tensor))
    return Move((plan.value(tensor),), (count,), np.zeros(count, np.int64), np.arange(count))


def _with_copy(plan: Plan, tensor: int) -> tuple[Plan, int]:
    """A copy as a move, which can read a part of a tensor."""
    move = _identity(plan, tensor)
    plan, copy = plan.with_copy(tensor)
    return plan.instead(len(plan.steps) - 1, replace(plan.steps[-1], move=move)), copy


def _direct(plan: Plan, variable: Variable, homes: Mapping[int, int]) -> Step | None:
    """The move that makes what a variable is assigned, into the variable; None if it cannot be."""
    tensor, home = variable.next, homes[variable.tensor]
    made = plan.maker(tensor)
    named = [each.next for each in plan.graph.variables].count(tensor)
    if made is None or plan.root(tensor) != tensor or tensor in plan.graph.outputs or named > 1:
        return None
    if plan.is_read(tensor, plan.steps):
        return None
    move = plan.steps[made].move
    if move is None or (move.which < 0).any() or len(move.sources) != 1:
        return None
    root = plan.root(move.sources[0])
    if root in homes.values() and not (root == home and _moves_up(plan, move, variable)):
        return None
    if any(plan.root(step.target) == root for step in plan.steps[made + 1 :]):
        return None
    return _commit(variable, move)


def _moves_up(plan: Plan, move: Move, variable: Variable) -> bool:
    """Whether each byte comes from a later row of the same column and channel of the ring.

    The engine makes rows in their order and reads ahead, so no byte is read that it has written.
    """
    region = plan.regions.get(variable.tensor)
    (source,) = move.sources
    _, columns, channels = picture_shape(plan.graph, source)
    shape = picture_shape(plan.graph, variable.tensor)
    if region is None or region.tensor != source or shape[1:] != (columns, channels):
        return False
    return _goes_up(move.index.reshape(shape), region.row)


def _goes_up(index: Indexes, row: int) -> bool:
    """Whether rows from ``row`` on consist of so many rows of the same tensor further down."""
    height, columns, channels = index.shape
    rows = np.arange(height)[:, np.newaxis, np.newaxis]
    up = index // (columns * channels) - (row + rows)
    same = index % (columns * channels) == np.arange(columns * channels).reshape(columns, channels)
    return bool(same.all() and (up == up[0, 0, 0]).all() and up[0, 0, 0] > 0)
