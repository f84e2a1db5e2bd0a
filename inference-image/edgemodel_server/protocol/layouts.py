"""The JSON before raw tensors that was read before: clients send the same again, with other numbers behind it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, Self, TypeVar

from edgemodel_contract.task import TensorSpec
from edgemodel_server.protocol.datatypes import Array
from edgemodel_server.protocol.raw import decode_raw

MAX_LAYOUTS = 64
MAX_LAYOUT_BYTES = 2048
"""Of the JSON."""


class Request(Protocol):
    """An inference request that was read."""

    @property
    def inputs(self) -> dict[str, Array]:
        """Every input, by name."""

    def of(self, inputs: dict[str, Array]) -> Self:
        """The same request of other inputs."""


R = TypeVar("R", bound=Request)


@dataclass(frozen=True, slots=True)
class Place:
    """Where the elements of an input lie among the raw bytes."""

    spec: TensorSpec
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Layout(Generic[R]):
    """What some JSON says of ``size`` raw bytes that follow it."""

    request: R
    places: tuple[Place, ...]
    size: int


class Layouts(Generic[R]):
    """What is known of ``MAX_LAYOUTS`` at most; beyond that it begins anew. Several threads may use it."""

    def __init__(self) -> None:
        """Layouts of no request yet."""
        self._known: dict[bytes, Layout[R]] = {}

    def __len__(self) -> int:
        """How many are known."""
        return len(self._known)

    def find(self, header: bytes, raw: memoryview) -> R | None:
        """The request that ``header`` and ``raw`` are; None: the header has to be read.

        Raises:
            BadRequestError: what ``decode_raw`` raises.
        """
        layout = self._known.get(header)
        if layout is None or layout.size != len(raw):
            return None
        inputs: dict[str, Array] = {}
        for index, place in enumerate(layout.places):
            content = raw[place.begin : place.end]
            inputs[place.spec.name] = decode_raw(place.spec, place.shape, content, f"inputs[{index}] as binary")
        return layout.request.of(inputs)

    def learn(self, header: bytes, size: int, request: R, specs: Mapping[str, TensorSpec]) -> None:
        """``header``, before ``size`` raw bytes, was read as ``request``.

        Nothing is learnt where an input's elements are in the JSON, or do not have the same length each: inputs then
        do not fill the raw bytes one after the other.
        """
        if len(header) > MAX_LAYOUT_BYTES or any(specs[name].datatype == "BYTES" for name in request.inputs):
            return
        places: list[Place] = []
        end = 0
        for name, array in request.inputs.items():
            begin, end = end, end + array.nbytes
            places.append(Place(specs[name], array.shape, begin, end))
        if end != size:
            return
        if len(self._known) >= MAX_LAYOUTS:
            self._known.clear()
        self._known[header] = Layout(request.of({}), tuple(places), size)
