"""Large messages: raw tensors are neither parsed nor copied, and what the rest will take is charged beforehand.

Parsed, a message takes up to forty times its bytes: for an empty submessage, which is two bytes, as for any other.
"""

from collections.abc import Iterator, Sequence
from types import TracebackType

from edgemodel_server.errors import BadRequestError
from edgemodel_server.grpc import open_inference_pb2 as pb
from edgemodel_server.model.rows.wire import WireError, fields, placed_fields, varint
from edgemodel_server.protocol.memory import Memory

_REQUEST = pb.ModelInferRequest.DESCRIPTOR.fields_by_name
_INPUTS, _RAW = _REQUEST["inputs"].number, _REQUEST["raw_input_contents"].number
_CONTENTS = pb.ModelInferRequest.InferInputTensor.DESCRIPTOR.fields_by_name["contents"].number
_TYPED = pb.InferTensorContents.DESCRIPTOR.fields_by_name
_FLOATS = {_TYPED[name].number for name in ("fp32_contents", "fp64_contents")}
_STRINGS = _TYPED["bytes_contents"].number
_RAW_OUTPUT = pb.ModelInferResponse.DESCRIPTOR.fields_by_name["raw_output_contents"].number

_VARINT_BYTES = 16
"""What an integer of one byte takes, while the list of them grows."""
_STRING_BYTES = 128
"""What a string takes beside its characters, until it is an element of an array."""
_MESSAGE_BYTES = 128
"""What a submessage takes, or a string beside its characters."""
_VIEWS_BYTES = 512
"""What two views of a message take."""
_CHARGED_BYTES = 1024 * 1024
"""Charged at a time."""


def is_short(content: bytes, most_bytes: int, most_fields: int = 64) -> bool:
    """Whether a ModelInferRequest has no more bytes beside its raw tensors, and few fields: to read it is quick."""
    left = len(content)
    try:
        for count, (number, value) in enumerate(fields(memoryview(content))):
            if count == most_fields:
                return False
            if number == _RAW and isinstance(value, memoryview):
                left -= len(value)
    except WireError:
        pass  # who reads it says so
    return left <= most_bytes


class Tally:
    """Charges ``memory`` with many small amounts, some at a time, until it is left as a context."""

    def __init__(self, memory: Memory) -> None:
        """Nothing is charged."""
        self._memory = memory
        self._charged = self._waiting = 0

    def add(self, size: int) -> None:
        """Charge ``size`` bytes, or do so later with others.

        Raises:
            RequestError: there is no memory for so many.
        """
        self._waiting += size
        if self._waiting >= _CHARGED_BYTES:
            self.charge()

    def charge(self) -> None:
        """Charge what waits.

        Raises:
            RequestError: there is no memory for it.
        """
        self._memory.hold(self._waiting)
        self._charged += self._waiting
        self._waiting = 0

    def __enter__(self) -> "Tally":
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Give all of it back."""
        self._memory.release(self._charged)


def cut_raw(content: bytes, tally: Tally) -> tuple[bytes, list[memoryview]]:
    """A ModelInferRequest without its ``raw_input_contents``, and those. ``tally`` is charged with what they take here
    and the rest will take when it is parsed.

    Raises:
        BadRequestError: it is no message.
        RequestError: there is no memory to parse it.
    """
    whole = memoryview(content)
    rest: list[memoryview] = []
    raw: list[memoryview] = []
    kept = 0
    try:
        for number, value, start, end in placed_fields(whole):
            tally.add(_MESSAGE_BYTES)
            if number == _RAW and isinstance(value, memoryview):
                tally.add(_VIEWS_BYTES)
                rest.append(whole[kept:start])
                raw.append(value)
                kept = end
            elif isinstance(value, memoryview):
                for size in _input_sizes(value) if number == _INPUTS else (_VARINT_BYTES * len(value),):
                    tally.add(size)
    except WireError as error:
        raise BadRequestError(f"the message is not a {pb.ModelInferRequest.DESCRIPTOR.full_name}: {error}") from error
    tally.charge()
    rest.append(whole[kept:])
    return b"".join(rest), raw


def with_raw(response: pb.ModelInferResponse, contents: Sequence[memoryview]) -> bytes:
    """A message with raw tensors, which are copied once, and not three times."""
    parts: list[bytes | memoryview] = [response.SerializeToString()]
    for content in contents:
        parts += [varint(_RAW_OUTPUT << 3 | 2) + varint(len(content)), content]
    return b"".join(parts)


def _input_sizes(message: memoryview) -> Iterator[int]:
    for number, value in fields(message):
        if isinstance(value, int):
            yield _VARINT_BYTES
        elif number == _CONTENTS:
            yield _MESSAGE_BYTES
            yield from _contents_sizes(value)
        else:
            yield _MESSAGE_BYTES + _VARINT_BYTES * len(value)


def _contents_sizes(message: memoryview) -> Iterator[int]:
    for number, value in fields(message):
        if isinstance(value, int):
            yield _VARINT_BYTES
        elif number in _FLOATS:
            yield _MESSAGE_BYTES + len(value)
        elif number == _STRINGS:
            yield _STRING_BYTES + 4 * len(value)
        else:
            yield _MESSAGE_BYTES + _VARINT_BYTES * len(value)
