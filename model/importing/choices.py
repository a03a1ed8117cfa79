"""What is decided by trying, and kept where it comes closer to the float network."""

from __future__ import annotations

from dataclasses import dataclass

from model.importing.rounding import ACCUMULATOR_BITS

__all__ = ["Choices"]


@dataclass(frozen=True)
class Choices:
    """What may help but need not.

    Attributes
    ----------
    clip : bool
        Cut ranges where rounding and clipping together err least; else take them whole.
    correct_bias : bool
        Take the mean of what rounding the weights changes out of the biases.
    dense_by_channel : bool
        A weight scale for each output of a dense layer; else one for all.
    sum_bits : int
        Bits that sums of products fit into; where they would not, weights are made coarser. With
        more than the engine's accumulator has, it takes two passes.
    """

    clip: bool = False
    correct_bias: bool = False
    dense_by_channel: bool = False
    sum_bits: int = ACCUMULATOR_BITS
