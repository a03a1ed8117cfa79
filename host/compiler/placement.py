"""Placement: the address of each tensor in the scratchpad.

The image comes first, then the activations. Two tensors may share bytes if no layer needs both.
Correctness requires no more. Speed requires few bank conflicts between the clients that are busy at
the same time: tape reader, pixel fetcher and writer. There are several attempts: some consider
banks, and some only save space. Of the attempts that fit, the one with the fewest conflicts wins.
Everything is deterministic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from gateware.interface.configuration import EngineConfiguration

from .cycles import Sharing, Work
from .errors import DoesNotFitError
from .layers import Layer
from .loops import Loops
from .lowering import Lowered
from .nest import round_up

#: How many orders are tried before a network is refused.
_TIGHT_ORDERS = 200


@dataclass(frozen=True)
class Lifetime:
    """A tensor's size and the layers between which it must be kept.

    Attributes
    ----------
    tensor : int
    size : int
        Bytes.
    first, last : int
        The layer that writes it and the last that reads it, both included; -1 and the number of
        layers stand for the host.
    until : int
        The last layer during which its memory is reserved for it, usually ``last``.
    """

    tensor: int
    size: int
    first: int
    last: int
    until: int

    @property
    def kept(self) -> bool:
        """Whether its memory stays reserved after its last use."""
        return self.until > self.last

    def meets(self, other: Lifetime) -> bool:
        """Whether both are needed at some time."""
        return self.first <= other.until and other.first <= self.until


@dataclass(frozen=True)
class Block:
    """The memory of a tensor during its lifetime."""

    lifetime: Lifetime
    address: int

    @property
    def end(self) -> int:
        return self.address + self.lifetime.size


def lifetimes(lowered: Lowered, keep_inputs: bool = False) -> list[Lifetime]:
    """Lifetimes of all tensors in memory, in the order in which they are first written.

    Parameters
    ----------
    lowered : Lowered
    keep_inputs : bool
        The inputs' memory is nobody else's: the host may write the next ones once they have been
        read.
    """
    homes = {view.tensor for view in lowered.variables.values()}
    first = dict.fromkeys([*lowered.inputs, *sorted(homes)], -1)
    last = dict(first)
    for index, layer in enumerate(lowered.layers):
        last |= {view.tensor: index for view in layer.sources}
        first.setdefault(layer.target.tensor, index)
        last[layer.target.tensor] = index
    end = len(lowered.layers)
    last.update(dict.fromkeys([*lowered.outputs.values(), *homes], end))
    until = {**last, **dict.fromkeys(lowered.inputs, end)} if keep_inputs else last
    return [
        Lifetime(tensor, lowered.storage[tensor].size, first[tensor], last[tensor], until[tensor])
        for tensor in sorted(first, key=lambda tensor: (first[tensor], tensor))
    ]


def place(
    lowered: Lowered,
    image_bytes: int,
    tape_ranges: Sequence[tuple[int, int]],
    configuration: EngineConfiguration,
) -> dict[int, Block]:
    """Give every tensor an address; the inputs' memory is reserved for them if that fits.

    Parameters
    ----------
    lowered : Lowered
    image_bytes : int
        Address from which on activations may lie.
    tape_ranges : sequence of (int, int)
        Begin and end of each layer's part of the tape.
    configuration : EngineConfiguration

    Returns
    -------
    dict of int to Block
        By tensor.

    Raises
    ------
    DoesNotFitError
        If image and activations need more than the memory.
    """
    arguments = lowered, image_bytes, tape_ranges, configuration
    try:
        return _place(lifetimes(lowered, keep_inputs=True), *arguments)
    except DoesNotFitError:
        return _place(lifetimes(lowered), *arguments)


def _place(
    needs: Sequence[Lifetime],
    lowered: Lowered,
    image_bytes: int,
    tape_ranges: Sequence[tuple[int, int]],
    configuration: EngineConfiguration,
) -> dict[int, Block]:
    pairs: dict[frozenset[int], float] = {}
    for layer in lowered.layers:
        cost = _cost_of_sharing(layer, configuration) / len(layer.sources)
        for view in layer.sources:
            pair = frozenset((view.tensor, layer.target.tensor))
            pairs[pair] = pairs.get(pair, 0.0) + cost

    def placed(order: Sequence[Lifetime], heed_banks: bool) -> _Placement:
        placement = _Placement(image_bytes, pairs, tape_ranges, configuration, heed_banks)
        for lifetime in order:
            placement.add(lifetime)
        return placement

    orders = [sorted(needs, key=key) for key in (_by_size, _by_time)]
    found = [placed(order, heed_banks) for order in orders for heed_banks in (True, False)]
    best = min(found, key=lambda placement: placement.end)
    usable = configuration.usable_bytes
    if best.end > usable >= image_bytes + _most_at_once(needs):
        # What is needed at once would fit, so the gaps between are too many.
        for order in _tight_orders(needs):
            best = min(best, placed(order, False), key=lambda placement: placement.end)
            if best.end <= usable:
                found.append(best)
                break
    fitting = [placement for placement in found if placement.end <= usable]
    if fitting:
        chosen = min(fitting, key=lambda placement: placement.cost)
        return {block.lifetime.tensor: block for block in chosen.blocks}
    raise DoesNotFitError(
        f"the network needs {best.end} bytes of memory ({image_bytes} for the image, "
        f"{best.end - image_bytes} for activations), the board has {configuration.usable_bytes}",
        needed=best.end,
        available=configuration.usable_bytes,
        image=image_bytes,
    )


def _most_at_once(needs: Sequence[Lifetime]) -> int:
    """Bytes of the tensors that are needed at the same time, at the worst time."""
    times = {lifetime.first for lifetime in needs}
    return max(
        sum(each.size for each in needs if each.first <= time <= each.until) for time in times
    )


def _tight_orders(needs: Sequence[Lifetime]) -> Iterator[list[Lifetime]]:
    """Orders in which tensors may fit with fewer gaps: those first that are kept long, then sizes
    by chance, always by the same."""
    yield sorted(needs, key=lambda each: (each.first - each.until, -each.size, each.tensor))
    rng = np.random.default_rng(0)
    for _ in range(_TIGHT_ORDERS):
        weights = dict(zip((each.tensor for each in needs), rng.uniform(0.4, 1.6, len(needs))))
        yield sorted(needs, key=lambda each: -each.size * weights[each.tensor])


def _cost_of_sharing(layer: Layer, configuration: EngineConfiguration) -> float:
    """Cycles that the layer loses if its results go into the bank from which its pixels come."""
    loops = Loops.of(layer, configuration)
    apart, together = (
        Work(layer, loops, configuration, Sharing(source_target=share)) for share in (0.0, 1.0)
    )
    windows = loops.tiles * loops.windows
    # Even where none are lost, it is better not to share.
    return windows * (together.period - apart.period + together.vectors / 16)


def _by_size(lifetime: Lifetime) -> tuple[int, int]:
    return -lifetime.size, lifetime.tensor


def _by_time(lifetime: Lifetime) -> tuple[int, int, int]:
    return lifetime.first, -lifetime.last, lifetime.tensor


class _Placement:
    """Blocks placed so far."""

    def __init__(
        self,
        begin: int,
        pairs: dict[frozenset[int], float],
        tape_ranges: Sequence[tuple[int, int]],
        configuration: EngineConfiguration,
        heed_banks: bool,
    ) -> None:
        self.pairs = pairs
        self.begin = round_up(begin, configuration.word_bytes)
        self.tape_ranges = tape_ranges
        self.configuration = configuration
        self.heed_banks = heed_banks
        self.blocks: list[Block] = []

    @property
    def end(self) -> int:
        return max((block.end for block in self.blocks), default=self.begin)

    @property
    def cost(self) -> float:
        """Of all conflicts, those between two tensors counted from either side."""
        return sum(self._conflicts(block.lifetime, block.address) for block in self.blocks)

    def add(self, lifetime: Lifetime) -> None:
        """Place one more, without moving the others."""
        taken = [block for block in self.blocks if block.lifetime.meets(lifetime)]

        def free(address: int) -> bool:
            end = address + lifetime.size
            return all(end <= block.address or block.end <= address for block in taken)

        lowest = min(address for address in (self.begin, *(b.end for b in taken)) if free(address))
        if not self.heed_banks:
            self.blocks.append(Block(lifetime, lowest))
            return
        top = self.configuration.usable_bytes - lifetime.size
        candidates = [a for a in self._candidates(lifetime, taken) if self.begin <= a <= top]
        cost: Callable[[int], tuple[float, int]] = lambda address: (  # noqa: E731
            self._conflicts(lifetime, address),
            address,
        )
        address = min(filter(free, candidates), key=cost, default=lowest)
        self.blocks.append(Block(lifetime, address))

    def _candidates(self, lifetime: Lifetime, taken: Iterable[Block]) -> list[int]:
        bank = self.configuration.bank_bytes
        addresses = [self.begin, self.configuration.usable_bytes - lifetime.size]
        for block in taken:
            addresses += [block.end, block.address - lifetime.size]
        for index in range(self.configuration.banks):
            addresses += [index * bank, index * bank - lifetime.size]
        word = self.configuration.word_bytes
        return [address // word * word for address in addresses]

    def _shares(self, begin: int, end: int) -> list[float]:
        return bank_shares(begin, end, self.configuration)

    def _conflicts(self, lifetime: Lifetime, address: int) -> float:
        """Approximate number of cycles that the layers lose to bank conflicts.

        The tape waits for pixels and results, but it is fetched ahead: half of it counts.
        """
        mine = self._shares(address, address + lifetime.size)
        conflicts = 0.0
        for layer in range(max(0, lifetime.first), lifetime.last + 1):
            if layer < len(self.tape_ranges) and layer in (lifetime.first, lifetime.last):
                begin, end = self.tape_ranges[layer]
                words = (end - begin) / self.configuration.word_bytes
                conflicts += words / 2 * meeting(mine, self._shares(begin, end))
        for block in self.blocks:
            # One is the source and the other the target of some layers.
            pair = frozenset((block.lifetime.tensor, lifetime.tensor))
            if pair in self.pairs:
                theirs = self._shares(block.address, block.end)
                conflicts += self.pairs[pair] * meeting(mine, theirs)
        return round(conflicts, 3)


def meeting(one: Sequence[float], other: Sequence[float]) -> float:
    """Probability of a bank conflict between two clients, given the shares of their accesses in
    each bank."""
    return sum(a * b for a, b in zip(one, other))


def bank_shares(begin: int, end: int, configuration: EngineConfiguration) -> list[float]:
    """Part of the addresses from ``begin`` to ``end`` that each bank holds; of none, nothing."""
    bank = configuration.bank_bytes
    parts = [
        max(0, min(end, (index + 1) * bank) - max(begin, index * bank))
        for index in range(configuration.banks)
    ]
    return [part / max(1, end - begin) for part in parts]
