"""Put the compiler's steps together."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

from gateware.interface.configuration import EngineConfiguration
from gateware.interface.image import TAPE_ADDRESS, build_image
from gateware.interface.layout import TensorLayout
from gateware.interface.protocol import MAX_RUN_LAYERS
from host.model_card import ModelCard, SoftmaxCard, TensorCard
from model.int8.graph import Graph

from .cycles import CycleEstimate, Sharing, Work, estimate
from .errors import CompileError, DoesNotFitError
from .layers import Layer
from .loops import Loops
from .lowering import Lowered, lower
from .placement import Block, bank_shares, meeting, place
from .report import CompiledModel, LayerReport, MemoryBlock
from .residency import cut, in_order_of_cost, resident_sizes
from .tape_writer import Addresses, tape_bytes, write_layer

#: What the card may hold (:mod:`host.model_card`).
_MAX_TEXT = 256


def compile(graph: Graph, configuration: EngineConfiguration) -> CompiledModel:
    """Compile a network for one board.

    Parameters
    ----------
    graph : Graph
        With one int8 input and one output.
    configuration : EngineConfiguration
        The board's engine.

    Raises
    ------
    CompileError
        If the engine cannot run it; the text names the layer, the limit and the amount.
    DoesNotFitError
        If the memory is too small for it.
    """
    lowered = lower(graph, configuration)
    loops = [Loops.of(layer, configuration) for layer in lowered.layers]
    sizes = [tape_bytes(*work, configuration) for work in zip(lowered.layers, loops)]
    # The metadata's length depends on the addresses in it: as long as they can be, at first.
    longest = dict.fromkeys(lowered.storage, configuration.memory_bytes)
    card = _card(graph, lowered, longest, len(sizes))
    streamed, blocks = _place(lowered, loops, sizes, card, configuration)
    addresses = {tensor: block.address for tensor, block in blocks.items()}
    parts = _write_tape(lowered.layers, loops, addresses, configuration)
    tape, stream = cut(parts, streamed, configuration)
    lifetime = blocks[lowered.input].lifetime
    read = lifetime.last + 1 if lifetime.kept else 0
    card = _card(graph, lowered, addresses, read if read <= MAX_RUN_LAYERS else 0)
    image = build_image(configuration, tape, card.to_dict(), len(sizes))
    ranges = _ranges(resident_sizes(sizes, streamed, configuration))
    works = [
        Work(
            layer,
            work,
            configuration,
            _sharing(layer, tape_range, blocks, configuration),
            streams=streams,
        )
        for layer, work, tape_range, streams in zip(lowered.layers, loops, ranges, streamed)
    ]
    predictions = estimate(works, configuration)
    return CompiledModel(
        image=image,
        stream=stream,
        card=card,
        layers=tuple(
            _report(
                index,
                predictions[index],
                size,
                streamed[index],
                graph,
                lowered,
                addresses,
                configuration,
            )
            for index, size in enumerate(sizes)
        ),
        memory=_memory(graph, lowered, blocks, image),
        configuration=configuration,
    )


def _place(
    lowered: Lowered,
    loops: Sequence[Loops],
    sizes: Sequence[int],
    card: ModelCard,
    configuration: EngineConfiguration,
) -> tuple[list[bool], dict[int, Block]]:
    """Decide which layers stream, and where everything else lies.

    Raises
    ------
    DoesNotFitError
    """
    streamed = [False] * len(sizes)
    order = []
    if configuration.flash:
        works = [Work(layer, work, configuration) for layer, work in zip(lowered.layers, loops)]
        order = in_order_of_cost(works, sizes, configuration)
    while True:
        resident = resident_sizes(sizes, streamed, configuration)
        draft = build_image(configuration, bytes(sum(resident)), card.to_dict(), len(sizes))
        try:
            return streamed, place(lowered, len(draft), _ranges(resident), configuration)
        except DoesNotFitError as error:
            missing = error.needed - error.available
            while order and missing > 0:
                layer = order.pop(0)
                streamed[layer] = True
                missing -= sizes[layer]
            if missing > 0:
                raise


def _ranges(sizes: Sequence[int]) -> list[tuple[int, int]]:
    """Addresses at which each layer's part of the tape begins and ends."""
    return list(pairwise(accumulate(sizes, initial=TAPE_ADDRESS)))


def _write_tape(
    layers: Sequence[Layer],
    loops: Sequence[Loops],
    addresses: dict[int, int],
    configuration: EngineConfiguration,
) -> list[bytes]:
    return [
        write_layer(
            layer,
            work,
            Addresses(
                addresses[layer.source.tensor] + layer.source.offset,
                addresses[layer.target.tensor],
            ),
            configuration,
            last=layer is layers[-1],
        )
        for layer, work in zip(layers, loops)
    ]


def _layout(lowered: Lowered, addresses: dict[int, int], tensor: int) -> TensorLayout:
    view = lowered.storage[tensor]
    left, right = lowered.margin if tensor == lowered.input else (0, 0)
    return TensorLayout(
        address=addresses[tensor],
        height=view.height,
        width=view.width - left - right,
        channels=view.pixel_pitch,
        row_pitch=view.row_pitch,
        left=left,
    )


def _card(
    graph: Graph, lowered: Lowered, addresses: dict[int, int], input_layers: int
) -> ModelCard:
    softmax = None if lowered.softmax is None else SoftmaxCard(lowered.softmax.beta)
    return ModelCard(
        name=graph.name[:_MAX_TEXT],
        input=_tensor_card(graph, lowered.input, _layout(lowered, addresses, lowered.input)),
        output=_tensor_card(graph, lowered.answer, _layout(lowered, addresses, lowered.output)),
        softmax=softmax,
        labels=tuple(label[:_MAX_TEXT] for label in graph.labels),
        input_layers=input_layers,
    )


def _tensor_card(graph: Graph, tensor: int, layout: TensorLayout) -> TensorCard:
    value = graph.tensors[tensor]
    if value.quantization is None:
        raise CompileError(f"tensor {value.name}: no quantisation")
    return TensorCard(
        shape=value.shape[1:] if len(value.shape) > 1 else value.shape,
        scale=float(value.quantization.scale[0]),
        zero_point=int(value.quantization.zero_point[0]),
        layout=layout,
    )


def _sharing(
    layer: Layer,
    tape_range: tuple[int, int],
    blocks: dict[int, Block],
    configuration: EngineConfiguration,
) -> Sharing:
    source, target = (blocks[view.tensor] for view in (layer.source, layer.target))
    banks = [
        bank_shares(*part, configuration)
        for part in ((source.address, source.end), (target.address, target.end), tape_range)
    ]
    return Sharing(
        source_target=meeting(banks[0], banks[1]),
        tape_source=meeting(banks[2], banks[0]),
        tape_target=meeting(banks[2], banks[1]),
    )


def _report(
    index: int,
    prediction: CycleEstimate,
    size: int,
    streams: bool,
    graph: Graph,
    lowered: Lowered,
    addresses: dict[int, int],
    configuration: EngineConfiguration,
) -> LayerReport:
    layer, later = lowered.layers[index], lowered.layers[index + 1 :]
    tensor, stored = layer.result, layer.target.tensor
    complete = all(tensor != other.result for other in later)
    multipliers = configuration.lanes * configuration.pixels
    return LayerReport(
        name=layer.name,
        op=layer.operation,
        macs=layer.macs,
        cycles=prediction.cycles,
        utilisation=layer.macs / (prediction.cycles * multipliers),
        bound=prediction.bound,
        tensor=tensor if complete and tensor < len(graph.tensors) else None,
        output=_layout(lowered, addresses, stored),
        channels=lowered.storage[stored].channels,
        tape_bytes=size,
        streams=streams,
    )


def _memory(
    graph: Graph, lowered: Lowered, blocks: dict[int, Block], image: bytes
) -> tuple[MemoryBlock, ...]:
    def name(tensor: int) -> str:
        if tensor < len(graph.tensors):
            return graph.tensors[tensor].name
        return next(layer.name for layer in lowered.layers if layer.target.tensor == tensor)

    memory = [MemoryBlock("image", 0, len(image), -1, len(lowered.layers))]
    for tensor, block in blocks.items():
        lifetime = block.lifetime
        memory.append(
            MemoryBlock(name(tensor), block.address, lifetime.size, lifetime.first, lifetime.until)
        )
    return tuple(sorted(memory, key=lambda block: (block.address, block.first)))
