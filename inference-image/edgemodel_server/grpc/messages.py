"""Messages of the Open Inference Protocol to tensors and back."""

from collections.abc import Mapping, Sequence
from typing import Any

from edgemodel_server.endpoints.configuration import Configuration
from edgemodel_server.errors import BadRequestError
from edgemodel_server.grpc import open_inference_pb2 as pb
from edgemodel_server.grpc.contents import FIELDS, decode_contents, encode_contents
from edgemodel_server.grpc.large import with_raw
from edgemodel_server.protocol.classification import decode_count
from edgemodel_server.protocol.datatypes import NUMPY, Array
from edgemodel_server.protocol.memory import Memory
from edgemodel_server.protocol.open_inference import (
    MODEL_VERSION,
    Form,
    InferRequest,
    Signature,
    answers,
    check_complete,
    check_no_shared_memory,
    decode_timeout,
    input_spec,
    output_name,
)
from edgemodel_server.protocol.raw import decode_raw, encode_raw
from edgemodel_server.protocol.shapes import decode_shape


def decode_request(
    message: pb.ModelInferRequest, raw: Sequence[memoryview], signature: Signature, memory: Memory
) -> InferRequest:
    """Read an inference request against the model's inputs and outputs. ``raw`` are its ``raw_input_contents``;
    ``memory`` is charged with what typed contents become.

    Raises:
        BadRequestError: a field is missing, misplaced or does not fit the model; the message names it.
        RequestError: there is no memory for it.
    """
    if raw and len(raw) != len(message.inputs):
        raise BadRequestError(f"raw_input_contents has {len(raw)} elements; there are {len(message.inputs)} inputs")
    arrays: dict[str, Array] = {}
    for index, tensor in enumerate(message.inputs):
        field = f"inputs[{index}]"
        check_no_shared_memory(tensor.parameters, f"{field}.parameters")
        spec = input_spec(tensor.name, signature.inputs, arrays, field)
        shape = decode_shape(spec, tensor.datatype, list(tensor.shape), field)
        if not raw:
            arrays[tensor.name] = decode_contents(spec, shape, tensor.contents, f"{field}.contents", memory)
        elif tensor.HasField("contents"):
            raise BadRequestError(f"{field}.contents is given beside raw_input_contents; use one of them")
        else:
            arrays[tensor.name] = decode_raw(spec, shape, raw[index], f"raw_input_contents[{index}]", memory)
    check_complete(signature.inputs, arrays)
    wanted: list[str] = []
    classes: dict[str, int] = {}
    for index, output in enumerate(message.outputs):
        check_no_shared_memory(output.parameters, f"outputs[{index}].parameters")
        name = output_name(output.name, signature.outputs, wanted, f"outputs[{index}]")
        wanted.append(name)
        if "classification" in output.parameters:
            count = _parameter(output.parameters, "classification")
            classes[name] = decode_count(count, signature.outputs[name], f"outputs[{index}].parameters.classification")
    names = tuple(wanted or signature.outputs)
    timeout = decode_timeout(_parameter(message.parameters, "timeout"))
    return InferRequest(message.id, arrays, names, timeout, Form(frozenset(names if raw else ()), classes))


def encode_response(signature: Signature, request: InferRequest, arrays: Sequence[Array], memory: Memory) -> bytes:
    """An inference response: raw where the request was, or where a datatype has no typed contents. ``memory`` is
    charged with it, and with what it takes to write it.

    Raises:
        RequestError: there is no memory for it.
    """
    response = pb.ModelInferResponse(model_name=signature.model, model_version=MODEL_VERSION, id=request.id or "")
    outputs = answers(signature, request.outputs, arrays, request.form, memory)
    is_typed = not request.form.raw and all(datatype in FIELDS for _, datatype, _ in outputs)
    raw: list[memoryview] = []
    for name, datatype, array in outputs:
        contents = None
        if is_typed:
            # In the message, while it grows, and in bytes.
            memory.hold(3 * array.size * NUMPY[datatype].itemsize)
            contents = encode_contents(datatype, array)
        else:
            raw.append(encode_raw(array, memory))
        response.outputs.add(name=name, datatype=datatype, shape=array.shape, contents=contents)
    memory.hold(sum(map(len, raw)))
    return with_raw(response, raw)


def model_metadata(metadata: Mapping[str, Any]) -> pb.ModelMetadataResponse:
    """The message of what ``protocol.model_metadata`` gives."""
    return pb.ModelMetadataResponse(**metadata)


def model_config(config: Configuration) -> pb.ModelConfigResponse:
    """The message of what ``configuration.model_config`` gives."""
    fields = {name: value for name, value in config.items() if name != "version_policy"}
    return pb.ModelConfigResponse(config=pb.ModelConfig(**fields))


def _parameter(parameters: Mapping[str, pb.InferParameter], name: str) -> Any:
    if name not in parameters:
        return None
    choice = parameters[name].WhichOneof("parameter_choice")
    return getattr(parameters[name], choice) if choice else None
