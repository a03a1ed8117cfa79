"""What the host does before the first layer that the board runs, and behind the last.

The board takes and gives int8. A network's ends may be float32, uint8 or int32, or a softmax: the
operators between those and the board's tensors run on the host, with the reference's arithmetic.
Each end is a chain, for such operators have one activation each.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from model.int8.graph import Graph, Operator

from .errors import CompileError

__all__ = ["SCORES", "End", "Ends", "split"]

#: What the engine cannot do: behind the last layer it runs on the host.
SCORES = ("SOFTMAX", "LOG_SOFTMAX", "ARG_MAX", "ARG_MIN")
#: What may lie between those: cheap wherever it runs.
_BETWEEN = ("QUANTIZE", "DEQUANTIZE", "RESHAPE", "SQUEEZE", "EXPAND_DIMS", "LOGISTIC", "TANH")


@dataclass(frozen=True)
class End:
    """An input or an output of the network.

    Attributes
    ----------
    tensor : int
        The network's.
    board : int
        The int8 tensor that host and board exchange.
    operators : tuple of Operator
        What the host does between them, in running order.
    """

    tensor: int
    board: int
    operators: tuple[Operator, ...] = ()


@dataclass(frozen=True, eq=False)
class Ends:
    """A network cut at its ends.

    Attributes
    ----------
    inputs, outputs : tuple of End
        In the network's order.
    core : Graph
        What the board runs, with its variables. Its inputs and outputs are the board's, each once.
    """

    inputs: tuple[End, ...]
    outputs: tuple[End, ...]
    core: Graph


def split(graph: Graph) -> Ends:
    """Cut ``graph`` into what the host does and what the board does.

    Raises
    ------
    CompileError
        If something between the ends is not int8.
    """
    inputs = tuple(_input(graph, tensor) for tensor in graph.inputs)
    outputs = tuple(_output(graph, tensor) for tensor in graph.outputs)
    before = {id(operator) for end in inputs for operator in end.operators}
    # What the host does behind the board may be needed on the board as well.
    needed = {end.board for end in outputs} | {each.next for each in graph.variables}
    core = []
    for operator in reversed(graph.operators):
        if id(operator) not in before and needed.intersection(operator.outputs):
            core.append(operator)
            needed.update(operator.inputs)
    for operator in core:
        for tensor in (operator.inputs[0], *operator.outputs):
            value = graph.tensors[tensor]
            if value.dtype != "int8" and value.data is None:
                raise CompileError(
                    f"layer {operator.name}: tensor {value.name} is {value.dtype}, and the engine "
                    f"computes with int8"
                )
    for variable in graph.variables:
        if variable.initial.dtype != np.int8:
            raise CompileError(
                f"variable {variable.name}: is {variable.initial.dtype}, and the engine keeps int8"
            )
    return Ends(
        inputs,
        outputs,
        replace(
            graph,
            operators=tuple(reversed(core)),
            inputs=tuple(end.board for end in inputs),
            outputs=tuple(dict.fromkeys(end.board for end in outputs)),
        ),
    )


def _activation(graph: Graph, operator: Operator) -> int | None:
    """The one input that is no constant; None if there are more."""
    found = [each for each in operator.inputs if each >= 0 and graph.tensors[each].data is None]
    return found[0] if len(found) == 1 else None


def _input(graph: Graph, tensor: int) -> End:
    """From a network's input to the first int8 tensor behind it."""
    board, operators = tensor, []
    while graph.tensors[board].dtype != "int8":
        readers = graph.consumers(board)
        reader = graph.operators[readers[0]] if len(readers) == 1 else None
        if reader is None or reader.kind.value not in _BETWEEN or board in graph.outputs:
            value = graph.tensors[board]
            raise CompileError(
                f"{graph.name}: its input {value.name} is {value.dtype}, with no QUANTIZE behind "
                f"it; converters write int8 ends with inference_input_type = tf.int8"
            )
        operators.append(reader)
        board = reader.outputs[0]
    return End(tensor, board, tuple(operators))


def _output(graph: Graph, tensor: int) -> End:
    """From the last tensor that the board computes to a network's output."""
    operators: list[Operator] = []
    length, board, now = 0, tensor, tensor
    while now not in graph.inputs:
        producer = graph.producer(now)
        if producer is None:
            break
        operator = graph.operators[producer]
        before = _activation(graph, operator)
        score = operator.kind.value in SCORES
        if before is None or not (score or operator.kind.value in _BETWEEN):
            break
        operators.insert(0, operator)
        if score or graph.tensors[now].dtype != "int8":
            length, board = len(operators), before
        now = before
    return End(tensor, board, tuple(operators[len(operators) - length :]))
