"""The engine's size: the few numbers from which every width and every layout is derived.

The board tells them in its INFO answer, so that the compiler on the host and the gateware on the
board always compute with the same ones.
"""

from __future__ import annotations

from dataclasses import dataclass

from .flash import PAGE_BYTES

#: What the tape's addresses reach: of words in its rows, of bytes in what is written.
MAX_MEMORY_WORDS = 1 << 18
MAX_MEMORY_BYTES = 1 << 20


@dataclass(frozen=True)
class EngineConfiguration:
    """Size of one engine.

    Attributes
    ----------
    lanes : int
        ``L``: output channels computed at once; also the width of a weight ring entry in bytes.
    pixels : int
        ``P``: output pixels computed at once.
    ring_entries : int
        Depth of the weight ring, a power of two. A window of more than ``ring_entries`` taps can
        only be computed where it is used once.
    memory_bytes : int
        Size of the scratchpad.
    banks : int
        Single-port banks into which the scratchpad is divided, contiguous address ranges.
    accumulator_bits : int
        Width of an accumulator, two's complement.
    requantizers : int
        ``R``: results that are requantised and written together: 1, or as many as there are bytes
        in a word and channels in a group.

    pooling : bool
        Whether convolutions can pool their own results: about 60 logic cells of an iCE40.
    products : bool
        Whether two tensors can be multiplied: 14 logic cells of an iCE40.
    flash : bool
        Whether the tape comes in segments, some of them from flash: see :mod:`.tape`. The
        memory's last page (:data:`.flash.PAGE_BYTES`) is then the flash's, for what it programs.
    diagnostics : bool
        Whether stalls are counted and the class of an answer is found on the board, for its LEDs;
        the host can do without either. About 110 logic cells of an iCE40.

    Raises
    ------
    ValueError
        If a number is outside what the gateware can be built for.
    """

    lanes: int = 8
    pixels: int = 2
    ring_entries: int = 1024
    memory_bytes: int = 128 * 1024
    banks: int = 4
    accumulator_bits: int = 24
    requantizers: int = 1
    pooling: bool = True
    products: bool = True
    flash: bool = False
    diagnostics: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.lanes <= 32:
            raise ValueError(f"Lanes must be between 1 and 32, not {self.lanes!r}")
        if not 1 <= self.pixels <= 16:
            raise ValueError(f"Pixels must be between 1 and 16, not {self.pixels!r}")
        if self.lanes < self.channel_group:
            raise ValueError(
                f"Lanes must be at least {self.channel_group}, the channels that {self.pixels} "
                f"pixels' streams bring, not {self.lanes!r}"
            )
        if self.ring_entries & (self.ring_entries - 1) or not 16 <= self.ring_entries <= 8192:
            raise ValueError(
                f"Ring entries must be a power of two between 16 and 8192, not {self.ring_entries}"
            )
        if not 1 <= self.banks <= 16:
            raise ValueError(f"Banks must be between 1 and 16, not {self.banks!r}")
        bank_bytes, rest = divmod(self.memory_bytes, self.banks)
        most = min(MAX_MEMORY_WORDS * self.word_bytes, MAX_MEMORY_BYTES)
        if rest or bank_bytes & (bank_bytes - 1) or self.memory_bytes > most:
            raise ValueError(
                f"Memory must be banks of a power of two, and at most {most} bytes, not "
                f"{self.memory_bytes!r} bytes in {self.banks} banks"
            )
        if not 20 <= self.accumulator_bits <= 32:
            raise ValueError(
                f"Accumulator bits must be between 20 and 32, not {self.accumulator_bits!r}"
            )
        if self.requantizers != 1 and not (
            self.requantizers == self.word_bytes == self.channel_group
            and self.lanes % self.requantizers == 0
        ):
            raise ValueError(
                f"Requantisers must be 1, or as many as pixels if these are a power of two that "
                f"divides the lanes, not {self.requantizers!r}"
            )

    @property
    def word_bytes(self) -> int:
        """``W``: width of the memory port in bytes: a byte a cycle for each pixel."""
        return max(2, 1 << (self.pixels - 1).bit_length())

    @property
    def window_taps(self) -> int:
        """Ring entries that a window may take if it is used more than once: one stays free."""
        return self.ring_entries - 1

    @property
    def usable_bytes(self) -> int:
        """Memory for images and activations."""
        return self.memory_bytes - (PAGE_BYTES if self.flash else 0)

    @property
    def memory_words(self) -> int:
        return self.memory_bytes // self.word_bytes

    @property
    def bank_bytes(self) -> int:
        return self.memory_bytes // self.banks

    @property
    def entry_words(self) -> int:
        """Memory words of the tape that fill one ring entry."""
        return -(-self.lanes // self.word_bytes)

    @property
    def entry_bytes(self) -> int:
        """Bytes of the tape that one ring entry takes, padding included."""
        return self.entry_words * self.word_bytes

    @property
    def channel_group(self) -> int:
        """Channels that one channel-wise window (pooling, depthwise) works on: a power of two."""
        return 1 << (self.pixels.bit_length() - 1)

    @property
    def most_results(self) -> int:
        """Results of one pixel and channel that a channel-wise window can compute side by side."""
        return self.lanes // self.channel_group

    @property
    def result_cycles(self) -> int:
        """Cycles from ``R`` results to the next, but in layers that add: see there."""
        return 2 if self.requantizers == 1 else 1

    @property
    def kept_stride(self) -> int:
        """Greatest stride at which words are kept for neighbouring outputs (``every_second``).

        With few pixels, keeping twice as many words would cost more than it saves.
        """
        return 2 if self.pixels >= 4 else 1

    @property
    def distributes(self) -> bool:
        """Whether factors take a cycle on their way to the multipliers: so many lie all over the
        device, and what they multiply comes from block RAM, which takes its time already."""
        return self.lanes * self.pixels >= 64

    @property
    def mac_latency(self) -> int:
        """Cycles from a window's last step to its sums: the buffers' read, the way to the
        multipliers, their two registers, the accumulator."""
        return 5 if self.distributes else 4

    @property
    def pool_latency(self) -> int:
        """Cycles from a window's last step to its greatest bytes, in a max-pooling layer.

        With more than two streams these are registered before they are compared: so many buffers
        do not all lie near the comparisons. (ECP5: 13 ns from the buffers, which alone take 6.)
        """
        return 3 if self.pixels > 2 else 2
