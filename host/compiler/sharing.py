"""Saving memory around additions: sums in place, and convolutions band by band.

An addition writes each byte after it has read those that it adds, so that its output may take the
place of an input that nobody needs any more. And where the other input comes straight from a
convolution, both can be done in bands of a few lines: then only a band of the convolution's output
is ever in memory. Its weights are then on the tape once for each band.
"""

from __future__ import annotations

from dataclasses import replace

from .layers import Layer, Mode, View
from .lowering import Lowered
from .nest import ceil_divide

__all__ = ["share_memory"]


def share_memory(lowered: Lowered, bands: int, spare: int) -> Lowered:
    """The same network in less memory.

    Parameters
    ----------
    lowered : Lowered
    bands : int
        Into how many bands a convolution before an addition is cut; 1: none.
    spare : int
        A number above all tensors'; those of bands are numbered from here on.
    """
    layers = list(lowered.layers)
    storage = dict(lowered.storage)
    kept: dict[int, int] = {}
    for index, layer in enumerate(layers):
        if layer.mode is not Mode.ADDITION:
            continue
        place = next((v.tensor for v in layer.sources if _is_free(v, index, layers, lowered)), None)
        if place is None or layer.target.tensor == lowered.output:
            continue
        kept[layer.target.tensor] = place
        layers = [_renamed(other, layer.target.tensor, place) for other in layers]
    result: list[Layer] = []
    for layer in layers:
        before = result[-1] if result else None
        if bands > 1 and before is not None and _follows(layer, before, layers):
            result[-1:] = _banded(before, layer, bands, spare)
            storage[spare] = _band(storage[before.target.tensor], spare, bands)
            del storage[before.target.tensor]
            spare += 1
        else:
            result.append(layer)
    return replace(lowered, layers=tuple(result), storage=storage, kept=kept)


def _is_free(view: View, index: int, layers: list[Layer], lowered: Lowered) -> bool:
    """Whether nobody needs what ``view`` shows after layer ``index``, nor owns its memory."""
    later = any(
        other.tensor == view.tensor for layer in layers[index + 1 :] for other in layer.sources
    )
    made = index > 0 and layers[index - 1].target.tensor == view.tensor
    return not later and not made and view.tensor not in (lowered.input, lowered.output)


def _renamed(layer: Layer, tensor: int, place: int) -> Layer:
    """The layer with ``tensor`` in the memory of ``place``."""

    def view(old: View) -> View:
        return replace(old, tensor=place) if old.tensor == tensor else old

    return replace(
        layer,
        source=view(layer.source),
        target=view(layer.target),
        other=None if layer.other is None else view(layer.other),
        result=layer.result if layer.result is not None else layer.target.tensor,
    )


def _follows(layer: Layer, before: Layer, layers: list[Layer]) -> bool:
    """Whether ``layer`` adds what the convolution ``before`` made for it alone."""
    made = before.target.tensor
    users = sum(view.tensor == made for other in layers for view in other.sources)
    return (
        layer.mode is Mode.ADDITION
        and before.mode is Mode.CONVOLUTION
        and users == 1
        and any(view.tensor == made for view in layer.sources)
        and before.target.height == layer.target.height
    )


def _lines(height: int, bands: int) -> list[tuple[int, int]]:
    """First line and number of lines of each band."""
    size = ceil_divide(height, bands)
    return [(first, min(size, height - first)) for first in range(0, height, size)]


def _band(view: View, spare: int, bands: int) -> View:
    return replace(view, tensor=spare, height=ceil_divide(view.height, bands))


def _banded(convolution: Layer, addition: Layer, bands: int, spare: int) -> list[Layer]:
    """Convolution and addition in turn, band by band; ``spare`` is the band's tensor."""
    made = convolution.target.tensor
    layers = []
    for first, height in _lines(addition.target.height, bands):
        kernel = convolution.kernel
        part = replace(convolution.target, tensor=spare, height=height)
        share = height / addition.target.height
        layers.append(
            replace(
                convolution,
                target=part,
                kernel=replace(kernel, top=kernel.top - first * kernel.stride_h),
                macs=round(convolution.macs * share),
                result=None,
            )
        )

        def cut(view: View, first: int = first, height: int = height) -> View:
            if view.tensor == made:
                return replace(view, tensor=spare, height=height)
            offset = view.offset + first * view.row_pitch
            return replace(view, height=height, offset=offset)

        source, other = (cut(view) for view in addition.sources)
        layers.append(replace(addition, source=source, other=other, target=cut(addition.target)))
    return layers
