"""From a graph to layers that the engine can run, as passes over values.

*Fuse* decides which operators become a step, which fold into another one, and which only say where
bytes lie: a :class:`.Plan`. *Sums* finds the step behind which each ADD happens. *Storage* decides
how each tensor that remains lies in memory: :class:`.Stored`. The builders then give each step's
layers: geometry, weights and arithmetic.

A channel-wise layer reads ``G`` channels of a pixel at once and wants them within a memory word, so
the pixel pitch of its input is rounded up to a multiple of ``G``. The tensor's producer simply
leaves the bytes between untouched, and a convolution that reads the same tensor has weights of zero
for them. An engine of several requantisers writes as many channels at once, so there all tensors
but the input are like that.
"""

from .lower import lower
from .plan import Lowered, picture_shape
from .state import with_ticket

__all__ = ["Lowered", "lower", "picture_shape", "with_ticket"]
