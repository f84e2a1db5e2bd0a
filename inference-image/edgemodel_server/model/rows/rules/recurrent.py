"""LSTM, GRU and RNN, whose batch lies behind the sequence."""

from collections.abc import Mapping

from edgemodel_server.model.rows.rules.shapes import Rule
from edgemodel_server.model.rows.tensors import Call, MixesError, Tensor, by_rows


def recurrent(call: Call) -> list[Tensor]:
    """X (T, N, C), weights, bias, lengths (N), and states (directions, N, H) to begin with; results are states of every
    step (T, directions, N, H) and of the last (directions, N, H). With ``layout`` 1 the batch comes first everywhere.
    """
    source = call.input(0)
    call.check_shared(1, 2, 3, 7)
    rows = source.rows
    if rows is None:
        raise MixesError("has a sequence that is the model's own")
    first = bool(call.attribute("layout", 0))
    if rows.axis != (0 if first else 1):
        raise MixesError("runs over the batch as if it were the sequence")
    if call.has(4) and call.input(4).rows != rows.at(0):
        raise MixesError("has lengths that are the model's own")
    state = rows.at(0 if first else 1)
    for index in (5, 6):
        if call.has(index) and call.input(index).rows != state:
            raise MixesError("begins with states that are the model's own, for a fixed number of rows")
    directions = 2 if call.attribute("direction", "forward") == "bidirectional" else 1
    hidden = int(call.attribute("hidden_size"))
    steps = source.dimensions[1 if first else 0]
    if first:
        every = by_rows([0, steps, directions, hidden], rows.at(0))
    else:
        every = by_rows([steps, directions, 0, hidden], rows.at(2))
    last = by_rows([0, directions, hidden] if first else [directions, 0, hidden], state)
    return [every, last, last]


RULES: Mapping[tuple[str, str], Rule] = {("", name): recurrent for name in ("GRU", "LSTM", "RNN")}
