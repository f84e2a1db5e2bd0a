"""Open Inference Protocol, version 2, as REST JSON: request bytes to tensors, tensors to response bytes.

Parameters of requests, inputs and outputs are accepted and have no effect, as the protocol leaves them to each server;
those of the binary tensor extension are refused, because the data would be missing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from edgemodel_contract.card import ModelCard
from edgemodel_contract.task import TensorSpec
from edgemodel_server.datatypes import Array
from edgemodel_server.errors import BadRequestError, shown
from edgemodel_server.tensors import decode_tensor, json_elements

MODEL_VERSION = "1"
PLATFORM = "onnxruntime_onnx"


@dataclass(frozen=True)
class InferRequest:
    """``inputs`` has every input of the model; ``outputs`` the names wanted, in the order of the answer."""

    id: str | None
    inputs: Mapping[str, Array]
    outputs: tuple[str, ...]


def decode_request(body: bytes, card: ModelCard) -> InferRequest:
    """Read the JSON of an inference request against the model's inputs and outputs.

    Raises:
        BadRequestError: not JSON, or a field is missing, misplaced or does not fit the model; the message names it.
    """
    try:
        request = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequestError(f"the body is not JSON (NaN and Infinity are not either): {error}") from error
    if not isinstance(request, dict):
        raise BadRequestError('the body is not a JSON object; send {"inputs": [...]}')
    identifier = request.get("id")
    if identifier is not None and not isinstance(identifier, str):
        raise BadRequestError(f"id is {shown(identifier)}; give a string")
    _check_parameters(request, "parameters")
    return InferRequest(
        id=identifier,
        inputs=_decode_inputs(request.get("inputs"), card.inputs),
        outputs=_decode_outputs(request.get("outputs"), card.outputs),
    )


def encode_response(card: ModelCard, identifier: str | None, names: Sequence[str], arrays: Sequence[Array]) -> bytes:
    """The JSON of an inference response; elements flat, in row-major order."""
    datatypes = {spec.name: spec.datatype for spec in card.outputs}
    response: dict[str, Any] = {"model_name": card.name, "model_version": MODEL_VERSION}
    if identifier is not None:
        response["id"] = identifier
    response["outputs"] = [
        {"name": name, "datatype": datatypes[name], "shape": array.shape, "data": json_elements(array)}
        for name, array in zip(names, arrays, strict=True)
    ]
    return orjson.dumps(response, option=orjson.OPT_SERIALIZE_NUMPY)


def model_metadata(card: ModelCard) -> dict[str, Any]:
    """The answer to a model metadata request."""
    return {
        "name": card.name,
        "versions": [MODEL_VERSION],
        "platform": PLATFORM,
        "inputs": [_tensor_metadata(spec) for spec in card.inputs],
        "outputs": [_tensor_metadata(spec) for spec in card.outputs],
    }


def _tensor_metadata(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)}


def _decode_inputs(inputs: Any, specs: Sequence[TensorSpec]) -> dict[str, Array]:
    by_name = {spec.name: spec for spec in specs}
    names = ", ".join(by_name)
    if not isinstance(inputs, list):
        raise BadRequestError(f"inputs is {shown(inputs)}; give a list with the model's inputs: {names}")
    arrays: dict[str, Array] = {}
    for index, entry in enumerate(inputs):
        field = f"inputs[{index}]"
        name = _name(entry, field)
        spec = by_name.get(name)
        if spec is None:
            raise BadRequestError(f"{field}.name is {shown(name)}; the model's inputs are: {names}")
        if name in arrays:
            raise BadRequestError(f"{field}.name is {shown(name)} a second time")
        _check_parameters(entry, f"{field}.parameters")
        for key in ("datatype", "shape", "data"):
            if key not in entry:
                raise BadRequestError(f"{field}.{key} is missing")
        arrays[name] = decode_tensor(spec, entry["datatype"], entry["shape"], entry["data"], field)
    missing = [name for name in by_name if name not in arrays]
    if missing:
        raise BadRequestError(f"inputs lacks {', '.join(missing)}; the model's inputs are: {names}")
    return arrays


def _decode_outputs(outputs: Any, specs: Sequence[TensorSpec]) -> tuple[str, ...]:
    known = [spec.name for spec in specs]
    if outputs is None or outputs == []:
        return tuple(known)
    if not isinstance(outputs, list):
        raise BadRequestError(f"outputs is {shown(outputs)}; give a list of objects with a name")
    wanted: list[str] = []
    for index, entry in enumerate(outputs):
        field = f"outputs[{index}]"
        name = _name(entry, field)
        if name not in known:
            raise BadRequestError(f"{field}.name is {shown(name)}; the model's outputs are: {', '.join(known)}")
        if name in wanted:
            raise BadRequestError(f"{field}.name is {shown(name)} a second time")
        _check_parameters(entry, f"{field}.parameters")
        wanted.append(name)
    return tuple(wanted)


def _name(entry: Any, field: str) -> str:
    if not isinstance(entry, dict):
        raise BadRequestError(f"{field} is {shown(entry)}; give an object")
    name = entry.get("name")
    if not isinstance(name, str):
        raise BadRequestError(f"{field}.name is {shown(name)}; give a string")
    return name


def _check_parameters(entry: dict[str, Any], field: str) -> None:
    parameters = entry.get("parameters")
    if parameters is None:
        return
    if not isinstance(parameters, dict):
        raise BadRequestError(f"{field} is {shown(parameters)}; give an object")
    if "binary_data_size" in parameters:
        raise BadRequestError(f"{field}.binary_data_size: binary tensors are not supported; send data as JSON")
