"""The compiler as a whole: from a graph to an image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate, pairwise
from math import prod

import numpy as np

from gateware.interface.configuration import EngineConfiguration
from gateware.interface.image import TAPE_ADDRESS, build_image
from gateware.interface.layout import TensorLayout
from gateware.interface.protocol import MAX_RUN_LAYERS
from host.model_card import (
    MAX_TEXT,
    HostStep,
    HostTensor,
    ModelCard,
    StateCard,
    TensorCard,
    Ticket,
)
from model.int8.graph import Graph, Operator

from .cycles import CycleEstimate, Sharing, Work, estimate
from .ends import End, Ends, split
from .errors import CompileError, DoesNotFitError
from .layers import Layer, View
from .loops import Loops
from .lowering import Lowered, lower, with_ticket
from .placement import Block, bank_shares, meeting, place
from .report import CompiledModel, LayerReport, MemoryBlock
from .residency import cut, in_order_of_cost, resident_sizes
from .tape_writer import Addresses, tape_bytes, write_layer

#: Characters of an input's or output's name in the card: converters make up names.
_MAX_NAME = 64
#: What tensors may need at once, of the memory beside the image, where the network does not fit as
#: it is fastest: gaps between tensors need some, too.
_PARTS_OF_MEMORY = (1.0, 0.96, 0.92, 0.86, 0.8)
#: The engine counts layers in a byte. A run of all begins at 0 and so ends, at the latest, with
#: this one.
_MOST_LAYERS = MAX_RUN_LAYERS + 1


def compile(graph: Graph, configuration: EngineConfiguration) -> CompiledModel:
    """Compile a network for one board.

    Parameters
    ----------
    graph : Graph
    configuration : EngineConfiguration
        The board's engine.

    Raises
    ------
    CompileError
        If the engine cannot run it; the text names the layer, the limit and the amount.
    DoesNotFitError
        If the memory is too small for it.
    """
    graph = with_ticket(graph)
    ends = split(graph)
    lowered = lower(ends.core, configuration)
    assert lowered is not None
    try:
        return _assemble(graph, ends, lowered, configuration)
    except DoesNotFitError as error:
        refusal = error
    for part in _PARTS_OF_MEMORY:
        most = int(part * (refusal.available - refusal.image))
        lowered = lower(ends.core, configuration, most) if most > 0 else None
        if lowered is None:
            break
        try:
            return _assemble(graph, ends, lowered, configuration)
        except CompileError:
            # More in bands has more layers, but may fit where less did not.
            continue
    raise refusal


def _assemble(
    graph: Graph, ends: Ends, lowered: Lowered, configuration: EngineConfiguration
) -> CompiledModel:
    """The image of a lowered network.

    Raises
    ------
    CompileError
        If it has too many layers.
    DoesNotFitError
    """
    if len(lowered.layers) > _MOST_LAYERS:
        name, count = Counter(layer.name for layer in lowered.layers).most_common(1)[0]
        raise CompileError(
            f"the network takes {len(lowered.layers)} layers of the engine, whose limit is "
            f"{_MOST_LAYERS}; {count} of them for layer {name}"
        )
    loops = [Loops.of(layer, configuration) for layer in lowered.layers]
    sizes = [tape_bytes(*work, configuration) for work in zip(lowered.layers, loops)]
    # The metadata's length depends on the addresses in it: as long as they can be, at first.
    longest = dict.fromkeys(lowered.storage, configuration.memory_bytes)
    card = _card(graph, ends, lowered, longest, len(sizes))
    streamed, blocks = _place(lowered, loops, sizes, card, configuration)
    addresses = {tensor: block.address for tensor, block in blocks.items()}
    parts = _write_tape(lowered.layers, loops, addresses, configuration)
    tape, stream = cut(parts, streamed, configuration)
    lifetimes = [blocks[tensor].lifetime for tensor in lowered.inputs]
    read = max(lifetime.last for lifetime in lifetimes) + 1
    if read > MAX_RUN_LAYERS or graph.variables or not all(each.kept for each in lifetimes):
        read = 0
    card = _card(graph, ends, lowered, addresses, read)
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
            if not order:
                raise
            # Activations may find better places with less beside them: so all is tried.
            missing = error.needed - error.available
            while order and missing > 0:
                layer = order.pop(0)
                streamed[layer] = True
                missing -= sizes[layer]


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
                tuple(addresses[view.tensor] + view.offset for view in layer.sources),
                addresses[layer.target.tensor],
            ),
            configuration,
            last=layer is layers[-1],
        )
        for layer, work in zip(layers, loops)
    ]


def _layout(
    lowered: Lowered, addresses: dict[int, int], tensor: int, view: View | None = None
) -> TensorLayout:
    view = view or lowered.storage[tensor]
    left, right = lowered.margin if tensor in lowered.inputs else (0, 0)
    return TensorLayout(
        address=addresses[view.tensor] + view.offset,
        height=view.height,
        width=view.width - left - right,
        channels=view.pixel_pitch,
        row_pitch=view.row_pitch,
        left=left,
    )


def _card(
    graph: Graph, ends: Ends, lowered: Lowered, addresses: dict[int, int], input_layers: int
) -> ModelCard:
    places = {
        tensor: _layout(lowered, addresses, tensor, view)
        for tensor, view in lowered.variables.items()
    }
    variables = tuple(
        StateCard(shape, places[each.tensor], each.initial.reshape(shape))
        for each in graph.variables[:-1]
        for shape in (graph.tensors[each.tensor].example_shape,)
    )
    ticket, inputs = None, ends.inputs
    if graph.variables:
        # The last input and the last variable are the ticket's.
        inputs, given = ends.inputs[:-1], ends.inputs[-1]
        left = places[graph.variables[-1].tensor]
        ticket = Ticket(_layout(lowered, addresses, given.board).address, left.address)
    return ModelCard(
        name=graph.name[:MAX_TEXT],
        inputs=tuple(
            _tensor_card(graph, end, _layout(lowered, addresses, end.board), is_input=True)
            for end in inputs
        ),
        outputs=tuple(
            _tensor_card(
                graph, end, _layout(lowered, addresses, lowered.outputs[end.board]), is_input=False
            )
            for end in ends.outputs
        ),
        labels=tuple(label[:MAX_TEXT] for label in graph.labels),
        input_layers=input_layers,
        finds_best=_finds_best(ends, lowered),
        variables=variables,
        ticket=ticket,
    )


def _tensor_card(graph: Graph, end: End, layout: TensorLayout, *, is_input: bool) -> TensorCard:
    board = _host_tensor(graph, end.board)
    return TensorCard(
        shape=board.shape,
        scale=board.scale,
        zero_point=board.zero_point,
        layout=layout,
        name=graph.tensors[end.tensor].name[:_MAX_NAME],
        steps=tuple(
            _host_step(graph, each, (each.inputs if is_input else each.outputs)[0])
            for each in end.operators
        ),
    )


def _host_tensor(graph: Graph, tensor: int) -> HostTensor:
    value = graph.tensors[tensor]
    scale, zero_point = 0.0, 0
    if value.quantization is not None and value.dtype != "float32":
        scale = float(value.quantization.scale[0])
        zero_point = int(value.quantization.zero_point[0])
    elif value.dtype == "int8":
        raise CompileError(f"tensor {value.name}: no quantisation")
    return HostTensor(value.dtype, value.example_shape, scale, zero_point)


def _host_step(graph: Graph, operator: Operator, tensor: int) -> HostStep:
    kind, parameter = operator.kind.value, 0.0
    if kind == "SOFTMAX":
        parameter = float(getattr(operator.options, "beta", 1.0))
    elif kind in ("ARG_MAX", "ARG_MIN"):
        axis = graph.tensors[operator.inputs[1]].data
        assert axis is not None
        rank = len(graph.tensors[operator.inputs[0]].shape)
        parameter = int(axis.item()) % rank - 1
    elif kind in ("SQUEEZE", "EXPAND_DIMS"):
        kind = "RESHAPE"
    return HostStep(kind, _host_tensor(graph, tensor), parameter)


def _finds_best(ends: Ends, lowered: Lowered) -> bool:
    """Whether the engine's index of the last layer's greatest result is the first output's.

    It counts results in the order in which they are written: channel by channel only where there
    is one pixel, which one layer computes.
    """
    *before, last = lowered.layers
    answer = ends.outputs[0].board
    return (
        lowered.outputs[answer] == last.target.tensor
        and all(layer.result != last.result for layer in before)
        and last.target.height == last.target.width == 1
        and last.output_step == 1
        and last.target.channels == lowered.storage[last.target.tensor].channels
    )


def _sharing(
    layer: Layer,
    tape_range: tuple[int, int],
    blocks: dict[int, Block],
    configuration: EngineConfiguration,
) -> Sharing:
    tape = bank_shares(*tape_range, configuration)
    target, *sources = (
        bank_shares(block.address, block.end, configuration)
        for block in (blocks[view.tensor] for view in (layer.target, *layer.sources))
    )
    # Two sources are read in turn: results soon come when that one is read that they do not meet.
    return Sharing(
        source_target=prod(
            _together(view, layer.target, blocks, configuration) for view in layer.sources
        ),
        tape_source=sum(meeting(tape, source) for source in sources) / len(sources),
        tape_target=meeting(tape, target),
    )


def _together(
    source: View, target: View, blocks: dict[int, Block], configuration: EngineConfiguration
) -> float:
    """For which part of a tile's time pixels come from the bank into which results go.

    Both sweep through their memory at the same time, from its beginning to its end.
    """
    times = (np.arange(64) + 0.5) / 64
    banks = [
        (blocks[view.tensor].address + view.offset + times * view.size) // configuration.bank_bytes
        for view in (source, target)
    ]
    return float(np.mean(banks[0] == banks[1]))


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
    tensor, view = layer.result, lowered.results[layer.result]
    # Of a ring, later layers may write new rows; what moves into a variable is no tensor's value.
    complete = tensor not in (*lowered.partial, *lowered.variables) and not any(
        other.result == tensor or (there.tensor == view.tensor and there.size < view.size)
        for other in later
        for there in (lowered.results[other.result],)
    )
    output = TensorLayout(
        address=addresses[view.tensor] + view.offset,
        height=view.height,
        width=view.width,
        channels=view.pixel_pitch,
        row_pitch=view.row_pitch,
    )
    # The last row's end may be nobody's memory, where the tensor lies in another one.
    readable = output.address + output.size <= configuration.memory_bytes
    multipliers = configuration.lanes * configuration.pixels
    return LayerReport(
        name=layer.name,
        op=layer.operation,
        macs=layer.macs,
        cycles=prediction.cycles,
        utilisation=layer.macs / (prediction.cycles * multipliers),
        bound=prediction.bound,
        tensor=tensor if complete and readable and tensor < len(graph.tensors) else None,
        output=output if readable else replace(output, height=1, row_pitch=output.row_bytes),
        channels=view.channels,
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
