"""Chains of layers that run band after band, so that no tensor between them is ever whole.

Where memory is too small for a network, the rows of a chain's result are computed in bands: for
each band the chain's first layer computes the rows that it needs, and so on to the last. What lies
between two layers of the chain needs memory for the rows of one band only. Rows that two bands need
are computed twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from gateware.interface.configuration import EngineConfiguration
from gateware.interface.tape import CONTROLS, LEVELS, TABLE_WORDS, WORD_BYTES

from ..layers import Layer, View
from ..nest import ceil_divide
from .plan import Lowered

__all__ = ["in_bands"]

#: Layers of a chain, and bands, that are tried.
_MOST_STAGES, _MOST_BANDS = 8, 32
#: Cycles that one more layer takes, about.
_LAYER_CYCLES = 100

#: The layers of one step, in running order.
Stage = tuple[Layer, ...]


@dataclass(frozen=True)
class _Chain:
    """Neighbouring stages that run band after band.

    Attributes
    ----------
    stages : range
    rows : tuple of tuple of range
        For each band the target's rows that each of the stages computes.
    """

    stages: range
    rows: tuple[tuple[range, ...], ...]

    def height(self, stage: int) -> int:
        """Most rows of the stage's target that are needed at once."""
        return max(len(band[stage - self.stages.start]) for band in self.rows)


def in_bands(
    stages: Sequence[Stage], lowered: Lowered, most: int, configuration: EngineConfiguration
) -> Lowered | None:
    """``lowered`` with the layers of ``stages``, so that what is needed at once has few bytes.

    Parameters
    ----------
    stages : sequence of tuple of Layer
        Not scheduled yet: they are cut along the rows of their pictures.
    lowered : Lowered
        Without layers.
    most : int
        Bytes of memory.
    configuration : EngineConfiguration

    Returns
    -------
    Lowered or None
        None if they need more in any bands that were tried.
    """
    search = _Search(stages, lowered, configuration)
    chains: list[_Chain] = []
    while True:
        worst = max(search.groups(chains), key=lambda group: search.bytes(chains, group))
        if search.bytes(chains, worst) <= most:
            return search.result(chains)
        better = search.better(chains, worst, most)
        if better is None:
            return None
        chains = better


class _Search:
    def __init__(
        self, stages: Sequence[Stage], lowered: Lowered, configuration: EngineConfiguration
    ) -> None:
        self.stages = stages
        self.lowered = lowered
        self.configuration = configuration
        self.lives = _lives(stages, lowered)
        self.linked = [self._link(index) for index in range(len(stages) - 1)]

    def groups(self, chains: Sequence[_Chain]) -> list[range]:
        """The stages in order, those of a chain together."""
        alone = set(range(len(self.stages))).difference(*(chain.stages for chain in chains))
        return [*(chain.stages for chain in chains), *(range(i, i + 1) for i in alone)]

    def bytes(self, chains: Sequence[_Chain], group: range) -> int:
        """Of all tensors that are needed while the stages of ``group`` run, and what the bands add
        to the tape in memory."""
        heights = {
            self.stages[stage][0].target.tensor: chain.height(stage)
            for chain in chains
            for stage in chain.stages[:-1]
        }
        total = sum(self._tape_added(chain) for chain in chains)
        for tensor, (first, last) in self.lives.items():
            if first < group.stop and group.start <= last:
                view = self.lowered.storage[tensor]
                total += heights.get(tensor, view.height) * view.row_pitch
        return total

    def better(self, chains: list[_Chain], group: range, most: int) -> list[_Chain] | None:
        """With a chain more, or a longer one, in which ``group`` needs no more than ``most``."""
        others = [chain for chain in chains if chain.stages != group]
        taken = {stage for chain in others for stage in chain.stages}
        found = [
            (self._cost(chain), [*others, chain])
            for stages in self._runs(group)
            if not taken & set(stages)
            for chain in self._chains(stages)
            if self.bytes([*others, chain], stages) <= most
        ]
        return min(found, key=lambda each: each[0])[1] if found else None

    def result(self, chains: Sequence[_Chain]) -> Lowered:
        """All layers in running order."""
        by_first = {chain.stages.start: chain for chain in chains}
        storage = dict(self.lowered.storage)
        within: set[int] = set()
        layers: list[Layer] = []
        stage = 0
        while stage < len(self.stages):
            chain = by_first.get(stage)
            if chain is None:
                layers += self.stages[stage]
                stage += 1
                continue
            layers += self._parts(chain)
            for inner in chain.stages[:-1]:
                tensor = self.stages[inner][0].target.tensor
                storage[tensor] = replace(storage[tensor], height=chain.height(inner))
                within |= {layer.result for layer in self.stages[inner]}
            stage = chain.stages.stop
        results = {
            result: storage[view.tensor] if result in within else view
            for result, view in self.lowered.results.items()
        }
        return replace(
            self.lowered,
            layers=tuple(layers),
            storage=storage,
            results=results,
            partial=frozenset(within),
        )

    def _link(self, index: int) -> bool:
        """Whether the tensor between this stage and the next is nothing to any other."""
        makers, readers = self.stages[index], self.stages[index + 1]
        tensor = makers[0].target.tensor
        stored = self.lowered.storage[tensor]
        if self.lives[tensor] != (index, index + 1):
            return False
        return all(
            layer.target.tensor == tensor and _has_rows(layer.target, stored) for layer in makers
        ) and all(
            layer.sources == (layer.source,)
            and layer.source.tensor == tensor != layer.target.tensor
            and _has_rows(layer.source, stored)
            for layer in readers
        )

    def _runs(self, group: range) -> Iterator[range]:
        """Linked stages with ``group`` among them."""
        for start in range(max(0, group.stop - _MOST_STAGES), group.start + 1):
            for stop in range(group.stop, min(start + _MOST_STAGES, len(self.stages)) + 1):
                if stop - start > 1 and all(self.linked[start : stop - 1]):
                    yield range(start, stop)

    def _chains(self, stages: range) -> Iterator[_Chain]:
        """In two bands and in more."""
        first, last = self.stages[stages.start], self.stages[stages.stop - 1]
        read = {view.tensor for layer in first for view in layer.sources}
        heights = {layer.target.height for layer in last}
        # A band's results must not lie where the next ones' sources do.
        if len(heights) > 1 or any(layer.target.tensor in read for layer in last):
            return
        (height,) = heights
        before = 0
        for bands in range(2, min(_MOST_BANDS, height) + 1):
            band = ceil_divide(height, bands)
            if band != before:
                before = band
                starts = range(0, height, band)
                rows = (range(start, min(start + band, height)) for start in starts)
                yield _Chain(stages, tuple(self._rows(stages, each) for each in rows))

    def _rows(self, stages: range, rows: range) -> tuple[range, ...]:
        """Rows that each stage must compute for ``rows`` of the last."""
        found = [rows]
        for stage in reversed(stages[1:]):
            read = [_rows_read(layer, found[0]) for layer in self.stages[stage]]
            found.insert(0, range(min(r.start for r in read), max(r.stop for r in read)))
        return tuple(found)

    def _cost(self, chain: _Chain) -> float:
        """Cycles that a chain takes beyond those of its layers, about."""
        configuration = self.configuration
        cost = 0.0
        again = len(chain.rows) - 1
        for at, stage in enumerate(chain.stages):
            for layer in self.stages[stage]:
                rows = sum(len(band[at]) for band in chain.rows)
                twice = max(0, rows / layer.target.height - 1)
                cost += twice * layer.macs / (configuration.lanes * configuration.pixels)
                weights = 0 if layer.weights is None else layer.weights.size
                cost += again * (weights / configuration.word_bytes + _LAYER_CYCLES)
        return cost

    def _tape_added(self, chain: _Chain) -> int:
        """Bytes of the tape in memory that bands take beyond those of whole layers, about."""
        if self.configuration.flash:
            return 0
        layers = [layer for stage in chain.stages for layer in self.stages[stage]]
        lanes = self.configuration.lanes
        once = 0
        for layer in layers:
            channels = len(layer.epilogue.bias)
            taps = 0 if layer.weights is None else layer.weights.size // channels
            at_once = self.configuration.channel_group if layer.mode.channel_wise else lanes
            once += (LEVELS + len(CONTROLS)) * WORD_BYTES
            once += TABLE_WORDS * WORD_BYTES if layer.epilogue.has_tables else 0
            once += ceil_divide(channels, at_once) * lanes * (taps + WORD_BYTES)
        return (len(chain.rows) - 1) * once

    def _parts(self, chain: _Chain) -> Iterator[Layer]:
        done = [0] * len(chain.stages)
        for band in chain.rows:
            last = band is chain.rows[-1]
            for at, (stage, rows) in enumerate(zip(chain.stages, band)):
                for layer in self.stages[stage]:
                    part = layer.part(rows, range(layer.target.width))
                    if at > 0:
                        part = part.without_unread_rows()
                        part = replace(part, source=_raised(part.source, band[at - 1].start))
                    if at < len(band) - 1:
                        part = replace(part, target=_raised(part.target, rows.start))
                    # The network asks for each row once, and for those that nobody reads.
                    height = layer.target.height
                    asked = (height if last else max(rows.stop, done[at])) - done[at]
                    yield replace(part, macs=layer.macs * asked // height)
                done[at] = max(done[at], rows.stop)


def _lives(stages: Sequence[Stage], lowered: Lowered) -> dict[int, tuple[int, int]]:
    """The first and the last stage that need each tensor."""
    lives = dict.fromkeys(lowered.inputs, (-1, -1))
    for index, stage in enumerate(stages):
        for layer in stage:
            for view in (layer.target, *layer.sources):
                lives[view.tensor] = (lives.get(view.tensor, (index, index))[0], index)
    for tensor in lowered.outputs.values():
        lives[tensor] = (lives[tensor][0], len(stages))
    return lives


def _has_rows(view: View, stored: View) -> bool:
    """Whether a view has the rows of the tensor as it is stored."""
    return (
        view.height == stored.height
        and view.row_pitch == stored.row_pitch
        and view.offset < stored.row_pitch
    )


def _rows_read(layer: Layer, rows: range) -> range:
    """Rows of its source that a layer reads for ``rows`` of its target."""
    source = layer.part(rows, range(layer.target.width)).without_unread_rows().source
    start = (source.offset - layer.source.offset) // source.row_pitch
    return range(start, start + source.height)


def _raised(view: View, rows: int) -> View:
    return replace(view, offset=view.offset - rows * view.row_pitch)
