"""The current layer's descriptor, as the blocks of the engine see it."""

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


#: Control fields that the blocks use: everything in the control words but what only fills them.
LAYER = struct_layout(*tape.CONTROLS, without=("spare", "magic"))

DELTA = struct_layout(tape.DELTA)


def combines(layer: data.View) -> Value:
    """Whether results meet bytes that lie where they go, so that each is a read and a write: they
    come every other cycle then."""
    return layer.add | layer.pooled


class DeltaWrite(data.Struct):
    """A delta word on its way into the address generators' memories: twice, as ``half`` tells."""

    index: range(tape.LEVELS)
    half: 1
    delta: DELTA
