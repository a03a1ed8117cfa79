"""The layout of the current layer's descriptor, which all blocks of the engine read."""

from collections.abc import Collection

from amaranth.hdl import Value, signed, unsigned
from amaranth.lib import data

from ..interface import tape


def struct_layout(*words: tape.Word, without: Collection[str] = ()) -> data.StructLayout:
    """The fields of tape words as an Amaranth layout: the one definition is
    :mod:`.interface.tape`."""
    return data.StructLayout(
        {
            field.name: signed(field.width) if field.signed else unsigned(field.width)
            for word in words
            for field in word.fields
            if field.name not in without
        }
    )


#: Control fields that the blocks use: all fields of the control words except padding.
LAYER = struct_layout(*tape.CONTROLS, without=("spare", "magic"))

DELTA = struct_layout(tape.DELTA)


def combines(layer: data.View) -> Value:
    """Whether results are combined with the bytes at their destinations. Each result then takes a
    read and a write, so results come every other cycle."""
    return layer.add | layer.pooled


class DeltaWrite(data.Struct):
    """A delta word to be written to the address generators' memories, in two halves."""

    index: range(tape.LEVELS)
    half: 1
    delta: DELTA
