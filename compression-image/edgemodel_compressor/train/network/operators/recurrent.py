"""LSTM, GRU and plain recurrence. torch orders the gates another way, and takes a list of weights per direction."""

from collections.abc import Sequence

import torch
from torch import Tensor

from edgemodel_compressor.train.network.node import Build, Node, Run

_GATES = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2), "RNN": (0,)}
"""torch's gates by their place in ONNX: input, forget, cell, output; reset, update, new."""
_ACTIVATIONS = {
    "LSTM": ["Sigmoid", "Tanh", "Tanh"],
    "GRU": ["Sigmoid", "Tanh"],
    "RNN": ["Tanh"],
}


def _recurrence(node: Node) -> Run:
    kind, direction = node.operator, node.text("direction", "forward")
    directions = 2 if direction == "bidirectional" else 1
    activations = node.texts("activations") or _ACTIVATIONS[kind] * directions
    relu = kind == "RNN" and activations == ["Relu"] * directions
    if activations != _ACTIVATIONS[kind] * directions and not relu:
        raise node.refuse(f"its activations are {', '.join(activations)}")
    if "clip" in node.attributes or node.flag("input_forget", False):
        raise node.refuse("it clips its cell, or couples its gates")
    if node.has_input(4) or (kind == "LSTM" and node.has_input(7)):
        raise node.refuse("its sequences have lengths of their own, or it has peepholes")
    if kind == "GRU" and not node.flag("linear_before_reset", False):
        raise node.refuse("its reset gate comes before the product; export it with linear_before_reset=1")
    batch_first, hidden = node.flag("layout", False), node.integer("hidden_size", 0)
    gates = _GATES[kind]

    def run(
        x: Tensor,
        weight: Tensor,
        recurrence: Tensor,
        bias: Tensor | None = None,
        _lengths: Tensor | None = None,
        hidden_state: Tensor | None = None,
        cell_state: Tensor | None = None,
        *_: Tensor | None,
    ) -> tuple[Tensor, ...]:
        if batch_first:
            x = x.transpose(0, 1)
        if direction == "reverse":
            x = x.flip(0)
        start = x.new_zeros(directions, x.shape[1], hidden)
        states = [start if hidden_state is None else _directions_first(hidden_state, batch_first)]
        if kind == "LSTM":
            states.append(start if cell_state is None else _directions_first(cell_state, batch_first))
        weights = _weights(weight, recurrence, bias, gates)
        options = (bias is not None, 1, 0.0, False, directions == 2, False)
        if kind == "LSTM":
            y, *ends = torch.lstm(x, states, weights, *options)
        elif kind == "GRU":
            y, *ends = torch.gru(x, states[0], weights, *options)
        else:
            y, *ends = (torch.rnn_relu if relu else torch.rnn_tanh)(x, states[0], weights, *options)
        if direction == "reverse":
            y = y.flip(0)
        # (length, batch, directions × hidden) to (length, directions, batch, hidden)
        y = y.reshape(y.shape[0], y.shape[1], directions, -1).transpose(1, 2)
        if batch_first:
            return y.permute(2, 0, 1, 3), *(end.transpose(0, 1) for end in ends)
        return y, *ends

    return run


def _directions_first(state: Tensor, batch_first: bool) -> Tensor:
    return (state.transpose(0, 1) if batch_first else state).contiguous()


def _weights(weight: Tensor, recurrence: Tensor, bias: Tensor | None, gates: Sequence[int]) -> list[Tensor]:
    """The list that torch takes: per direction the input's weights, the state's, and the biases of both."""
    flat = []
    for direction in range(weight.shape[0]):
        flat += [_reorder(weight[direction], gates), _reorder(recurrence[direction], gates)]
        if bias is not None:
            flat += [_reorder(part, gates) for part in bias[direction].chunk(2)]
    return flat


def _reorder(x: Tensor, gates: Sequence[int]) -> Tensor:
    parts = x.chunk(len(gates))
    return torch.cat([parts[gate] for gate in gates])


OPERATORS: dict[str, Build] = {"GRU": _recurrence, "LSTM": _recurrence, "RNN": _recurrence}
