"""Open Inference Protocol, version 2, as REST: request bytes to tensors, tensors to response bytes.

With the binary tensor extension: after the JSON, whose length a header gives, come the raw bytes of the inputs that
have the parameter ``binary_data_size``, in their order; outputs for which ``binary_data`` or ``binary_data_output`` is
true are answered likewise. An output with the parameter ``classification`` is answered as its largest values. Of the
other parameters ``timeout`` (microseconds) has an effect; the rest is accepted and has none, as the protocol leaves
them to each server.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from edgemodel_contract.card import ModelCard
from edgemodel_contract.task import Datatype, TensorSpec
from edgemodel_server.errors import BadRequestError, shown
from edgemodel_server.protocol.bfloat16 import numbers
from edgemodel_server.protocol.classification import classes_bytes, classify, decode_count
from edgemodel_server.protocol.datatypes import Array
from edgemodel_server.protocol.jsons import Text, loads, tree_bytes
from edgemodel_server.protocol.layouts import Layouts
from edgemodel_server.protocol.long_lists import SHORT_BYTES, cut_lists, put_back
from edgemodel_server.protocol.memory import Memory, charged
from edgemodel_server.protocol.plain import decode_plain
from edgemodel_server.protocol.raw import decode_raw, encode_raw
from edgemodel_server.protocol.shapes import decode_shape
from edgemodel_server.protocol.tensors import SHORT_ELEMENTS, decode_tensor, json_elements, json_pieces

MODEL_VERSION = "1"
PLATFORM = "onnxruntime_onnx"
EXTENSIONS = ("binary_tensor_data", "classification", "model_configuration", "parameters")
MICROSECONDS = 1_000_000
MAX_TIMEOUT = 2**63 - 1


@dataclass(frozen=True)
class Signature:
    """The names a request may use; inputs and outputs keep the card's order. ``labels`` are those of an output's
    classes. ``layouts`` are of requests that were read before."""

    model: str
    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)
    layouts: "Layouts[InferRequest]" = field(default_factory=Layouts, compare=False)

    @property
    def takes_strings(self) -> bool:
        """Whether an input is of strings, which are not read without looking at each."""
        return any(spec.datatype == "BYTES" for spec in self.inputs.values())

    @classmethod
    def of(cls, card: ModelCard) -> "Signature":
        """The card's, whose labels are those of the first output."""
        return cls(
            card.name,
            {spec.name: spec for spec in card.inputs},
            {spec.name: spec for spec in card.outputs},
            {spec.name: card.labels for spec in card.outputs[:1]},
        )


@dataclass(frozen=True, slots=True)
class Form:
    """How outputs are answered: those in ``raw`` as raw bytes, the others element by element; of those in ``classes``
    that many of the largest values."""

    raw: frozenset[str] = frozenset()
    classes: Mapping[str, int] = field(default_factory=dict)


PLAIN = Form()


class InferRequest(NamedTuple):
    """``inputs`` has every input of the model; ``outputs`` the names wanted, in the order of the answer.

    ``timeout`` is in seconds. ``form`` says which outputs to answer as raw bytes, and which as classes.
    """

    id: str | None
    inputs: dict[str, Array]
    outputs: tuple[str, ...]
    timeout: float | None = None
    form: Form = PLAIN

    def of(self, inputs: dict[str, Array]) -> "InferRequest":
        """The same, of other inputs."""
        return InferRequest(self.id, inputs, self.outputs, self.timeout, self.form)


class InferResponse(NamedTuple):
    """``parts`` are the body. The first ``header_length`` bytes are JSON; None: all of it."""

    parts: list[bytes | memoryview]
    header_length: int | None


def decode_request(
    body: bytes | bytearray | memoryview,
    header_length: int | None,
    signature: Signature,
    memory: Memory | None = None,
) -> InferRequest:
    """Read an inference request. ``header_length`` is that of the JSON; None: the body is all JSON. ``memory`` is
    charged with what long JSON takes beside the body; None: nothing is, for JSON that is known to be short.

    Raises:
        BadRequestError: not JSON, or a field is missing, misplaced or does not fit the model; the message names it.
        RequestError: there is no memory for it.
    """
    if header_length is None and memory is not None and len(body) > SHORT_BYTES:
        return _decode_long(body, None, signature, memory)
    if header_length is None:
        content = bytes(body) if isinstance(body, memoryview) else body
        plain = decode_plain(content, signature.inputs)
        if plain is not None:
            return InferRequest(*plain, tuple(signature.outputs))
        return _decode(content, None, signature, memory)
    if header_length > len(body):
        raise BadRequestError(f"Inference-Header-Content-Length is {header_length} but the body has {len(body)} bytes")
    whole = memoryview(body)
    if memory is not None and header_length > SHORT_BYTES:
        return _decode_long(whole[:header_length], Raw(whole[header_length:]), signature, memory)
    header, raw = bytes(whole[:header_length]), whole[header_length:]
    request = signature.layouts.find(header, raw)
    if request is None:
        request = _decode(header, Raw(raw), signature, memory)
        signature.layouts.learn(header, len(raw), request, signature.inputs)
    return request


def _decode_long(text: Text, raw: "Raw | None", signature: Signature, memory: Memory) -> InferRequest:
    rest, lists = cut_lists(text, memory)
    with charged(memory, tree_bytes(rest) if len(rest) > SHORT_BYTES else 0):
        request = loads(rest, memory)
        put_back(request, lists)
        return _infer_request(request, raw, signature, memory)


def _decode(header: bytes | bytearray, raw: "Raw | None", signature: Signature, memory: Memory | None) -> InferRequest:
    return _infer_request(loads(header), raw, signature, memory)


def _infer_request(request: Any, raw: "Raw | None", signature: Signature, memory: Memory | None) -> InferRequest:
    if not isinstance(request, dict):
        raise BadRequestError('the body is not a JSON object; send {"inputs": [...]}')
    identifier = request.get("id")
    if identifier is not None and not isinstance(identifier, str):
        raise BadRequestError(f"id is {shown(identifier)}; give a string")
    parameters = _parameters(request, "parameters")
    inputs = _decode_inputs(request.get("inputs"), signature.inputs, raw, memory)
    outputs, binary = _decode_outputs(request.get("outputs"), signature.outputs, parameters)
    return InferRequest(identifier, inputs, outputs, decode_timeout(parameters.get("timeout")), binary)


def encode_response(
    signature: Signature,
    identifier: str | None,
    names: Sequence[str],
    arrays: Sequence[Array],
    form: Form = PLAIN,
    memory: Memory | None = None,
) -> InferResponse:
    """An inference response; elements flat, in row-major order. ``memory`` is charged with what is made of the arrays;
    None: nothing is, for arrays that are known to be small.

    Raises:
        RequestError: there is no memory for it.
    """
    response: dict[str, Any] = {"model_name": signature.model, "model_version": MODEL_VERSION}
    if identifier is not None:
        response["id"] = identifier
    outputs: list[dict[str, Any]] = []
    long: dict[int, tuple[Datatype, Array]] = {}
    raw: list[bytes | memoryview] = []
    for index, (name, datatype, array) in enumerate(answers(signature, names, arrays, form, memory)):
        output = {"name": name, "datatype": datatype, "shape": array.shape}
        if name in form.raw:
            content = encode_raw(array, memory)
            output["parameters"] = {"binary_data_size": len(content)}
            raw.append(content)
        elif memory is not None and array.size > SHORT_ELEMENTS:
            long[index] = datatype, array
        else:
            output["data"] = json_elements(numbers(datatype, array))
        outputs.append(output)
    if memory is None or not long:
        header = [orjson.dumps({**response, "outputs": outputs}, option=orjson.OPT_SERIALIZE_NUMPY)]
    else:
        header = list(_long_response(response, outputs, long, memory))
    if memory is not None and not long:
        memory.hold(len(header[0]))
    return InferResponse([*header, *raw], sum(map(len, header)) if raw else None)


def _long_response(
    response: dict[str, Any],
    outputs: Sequence[dict[str, Any]],
    long: Mapping[int, tuple[Datatype, Array]],
    memory: Memory,
) -> Iterator[bytes]:
    """The JSON of a response in pieces; the elements of the outputs in ``long``, by number, are not in ``outputs``."""
    yield orjson.dumps(response)[:-1] + b',"outputs":['
    for index, output in enumerate(outputs):
        start = orjson.dumps(output, option=orjson.OPT_SERIALIZE_NUMPY)
        yield b"," + start[:-1] if index else start[:-1]
        if index in long:
            yield b',"data":['
            yield from json_pieces(*long[index], memory)
            yield b"]"
        yield b"}"
    yield b"]}"


def answers(
    signature: Signature, names: Sequence[str], arrays: Sequence[Array], form: Form, memory: Memory | None = None
) -> list[tuple[str, Datatype, Array]]:
    """Name, datatype and elements of each output as ``form`` wants it; ``memory`` is charged with classes.

    Raises:
        RequestError: there is no memory for them.
    """
    found: list[tuple[str, Datatype, Array]] = []
    for name, array in zip(names, arrays, strict=True):
        count = form.classes.get(name)
        if count is None:
            found.append((name, signature.outputs[name].datatype, array))
        else:
            values = numbers(signature.outputs[name].datatype, array)
            labels = signature.labels.get(name, ())
            with nullcontext() if memory is None else charged(memory, classes_bytes(values, count)):
                found.append((name, "BYTES", classify(values, count, labels)))
    return found


def decode_timeout(value: Any) -> float | None:
    """Seconds from the parameter ``timeout``, which is in microseconds; 0 is no timeout.

    Raises:
        BadRequestError: not a whole number from 0.
    """
    if value is None:
        return None
    if type(value) is not int or not 0 <= value <= MAX_TIMEOUT:
        raise BadRequestError(f"parameters.timeout is {shown(value)}; give microseconds, a whole number from 0")
    return value / MICROSECONDS or None


def model_metadata(card: ModelCard) -> dict[str, Any]:
    """The answer to a model metadata request."""
    return {
        "name": card.name,
        "versions": [MODEL_VERSION],
        "platform": PLATFORM,
        "inputs": [_tensor_metadata(spec) for spec in card.inputs],
        "outputs": [_tensor_metadata(spec) for spec in card.outputs],
    }


class Raw:
    """The bytes after the JSON, taken from the front."""

    def __init__(self, content: memoryview) -> None:
        """Nothing is taken yet."""
        self._content = content
        self._taken = 0

    def take(self, size: Any, field: str) -> memoryview:
        """The next ``size`` bytes. Raises BadRequestError if there are fewer, or ``size`` is none."""
        left = len(self._content) - self._taken
        if type(size) is not int or not 0 <= size <= left:
            raise BadRequestError(f"{field} is {shown(size)}; {left} bytes are left of the body")
        self._taken += size
        return self._content[self._taken - size : self._taken]

    def check_empty(self) -> None:
        """Raise BadRequestError if bytes are left over."""
        left = len(self._content) - self._taken
        if left:
            raise BadRequestError(f"{left} bytes follow the last tensor; give their input parameters.binary_data_size")


def _tensor_metadata(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)}


def _decode_inputs(
    inputs: Any, specs: Mapping[str, TensorSpec], raw: Raw | None, memory: Memory | None
) -> dict[str, Array]:
    if not isinstance(inputs, list):
        raise BadRequestError(f"inputs is {shown(inputs)}; give a list with the model's inputs: {', '.join(specs)}")
    arrays: dict[str, Array] = {}
    for index, entry in enumerate(inputs):
        field = f"inputs[{index}]"
        name = _name(entry, field)
        spec = input_spec(name, specs, arrays, field)
        options = _parameters(entry, f"{field}.parameters")
        check_no_shared_memory(options, f"{field}.parameters")
        size = options.get("binary_data_size")
        for key in ("datatype", "shape"):
            if key not in entry:
                raise BadRequestError(f"{field}.{key} is missing")
        if size is None:
            if "data" not in entry:
                raise BadRequestError(f"{field}.data is missing")
            arrays[name] = decode_tensor(spec, entry["datatype"], entry["shape"], entry["data"], field)
        else:
            arrays[name] = _decode_binary(spec, entry, size, raw, field, memory)
    check_complete(specs, arrays)
    if raw is not None:
        raw.check_empty()
    return arrays


def input_spec(name: str, specs: Mapping[str, TensorSpec], seen: Mapping[str, Array], field: str) -> TensorSpec:
    """The input of that name. Raises BadRequestError if there is none, or it was ``seen``."""
    spec = specs.get(name)
    if spec is None:
        raise BadRequestError(f"{field}.name is {shown(name)}; the model's inputs are: {', '.join(specs)}")
    if name in seen:
        raise BadRequestError(f"{field}.name is {shown(name)} a second time")
    return spec


def check_complete(specs: Mapping[str, TensorSpec], arrays: Mapping[str, Array]) -> None:
    """Raise BadRequestError unless there is an array for every input."""
    if len(arrays) != len(specs):
        missing = ", ".join(name for name in specs if name not in arrays)
        raise BadRequestError(f"inputs lacks {missing}; the model's inputs are: {', '.join(specs)}")


def output_name(name: str, specs: Mapping[str, TensorSpec], seen: Sequence[str], field: str) -> str:
    """``name``. Raises BadRequestError if the model has no such output, or it was ``seen``."""
    if name not in specs:
        raise BadRequestError(f"{field}.name is {shown(name)}; the model's outputs are: {', '.join(specs)}")
    if name in seen:
        raise BadRequestError(f"{field}.name is {shown(name)} a second time")
    return name


def check_no_shared_memory(parameters: Iterable[str], field: str) -> None:
    """Raise BadRequestError if a tensor's parameters place it in memory that client and server share, as clients on the
    server's machine may ask of others."""
    for name in parameters:
        if name.startswith("shared_memory"):
            raise BadRequestError(
                f"{field}.{name} is given, but this server shares no memory with its clients; send and receive tensors "
                "in the messages themselves"
            )


def _decode_binary(
    spec: TensorSpec, entry: dict[str, Any], size: Any, raw: Raw | None, field: str, memory: Memory | None
) -> Array:
    parameter = f"{field}.parameters.binary_data_size"
    if raw is None:
        raise BadRequestError(f"{parameter} needs the header Inference-Header-Content-Length: the length of the JSON")
    if "data" in entry:
        raise BadRequestError(f"{field} has both data and parameters.binary_data_size; give one of them")
    shape = decode_shape(spec, entry["datatype"], entry["shape"], field)
    return decode_raw(spec, shape, raw.take(size, parameter), f"{field} as binary", memory)


def _decode_outputs(
    outputs: Any, specs: Mapping[str, TensorSpec], parameters: Mapping[str, Any]
) -> tuple[tuple[str, ...], Form]:
    """The names wanted, and the form of each."""
    everything = _flag(parameters, "binary_data_output", "parameters", default=False)
    if outputs is None or outputs == []:
        names = tuple(specs)
        return names, Form(frozenset(names)) if everything else PLAIN
    if not isinstance(outputs, list):
        raise BadRequestError(f"outputs is {shown(outputs)}; give a list of objects with a name")
    wanted: list[str] = []
    binary: set[str] = set()
    classes: dict[str, int] = {}
    for index, entry in enumerate(outputs):
        field = f"outputs[{index}]"
        name = output_name(_name(entry, field), specs, wanted, field)
        wanted.append(name)
        options = _parameters(entry, f"{field}.parameters")
        check_no_shared_memory(options, f"{field}.parameters")
        if _flag(options, "binary_data", f"{field}.parameters", default=everything):
            binary.add(name)
        if "classification" in options:
            where = f"{field}.parameters.classification"
            classes[name] = decode_count(options["classification"], specs[name], where)
    return tuple(wanted), Form(frozenset(binary), classes)


def _flag(parameters: Mapping[str, Any], name: str, field: str, *, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise BadRequestError(f"{field}.{name} is {shown(value)}; give true or false")
    return value


def _name(entry: Any, field: str) -> str:
    if not isinstance(entry, dict):
        raise BadRequestError(f"{field} is {shown(entry)}; give an object")
    name = entry.get("name")
    if not isinstance(name, str):
        raise BadRequestError(f"{field}.name is {shown(name)}; give a string")
    return name


def _parameters(entry: dict[str, Any], field: str) -> dict[str, Any]:
    parameters = entry.get("parameters")
    if parameters is None:
        return {}
    if not isinstance(parameters, dict):
        raise BadRequestError(f"{field} is {shown(parameters)}; give an object")
    return parameters
