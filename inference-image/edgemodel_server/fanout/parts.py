"""Parts of a request on their way to another replica and back: the Open Inference Protocol from the client's side, all
tensors as raw bytes."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from edgemodel_server.errors import BadRequestError, NotFoundError, shown
from edgemodel_server.protocol.datatypes import Array
from edgemodel_server.protocol.jsons import loads
from edgemodel_server.protocol.open_inference import Raw, Signature
from edgemodel_server.protocol.raw import decode_raw, encode_raw
from edgemodel_server.protocol.shapes import decode_shape

PART = b"x-edgemodel-part"
"""Header of a part: the digest of the model it is for. While an update runs, a site has replicas of two models."""


def check_part(headers: Mapping[bytes, bytes], digest: str) -> bool:
    """Whether ``headers`` are those of a part, which is not split further.

    Raises:
        NotFoundError: a part for another model than that of ``digest``.
    """
    wanted = headers.get(PART)
    if wanted is None:
        return False
    if wanted != digest.encode():
        raise NotFoundError(f"the part is for a model {shown(wanted.decode('latin-1'))}; this server has {digest}")
    return True


def encode_part(
    signature: Signature, inputs: Mapping[str, Array], outputs: Sequence[str]
) -> tuple[list[bytes | memoryview], int]:
    """The body of an inference request, and the length of its JSON. Arrays are not copied where they need not be."""
    tensors: list[dict[str, Any]] = []
    raw: list[bytes | memoryview] = []
    for name, array in inputs.items():
        content = encode_raw(array)
        raw.append(content)
        tensors.append(
            {
                "name": name,
                "datatype": signature.inputs[name].datatype,
                "shape": array.shape,
                "parameters": {"binary_data_size": len(content)},
            }
        )
    wanted = [{"name": name, "parameters": {"binary_data": True}} for name in outputs]
    header = orjson.dumps({"inputs": tensors, "outputs": wanted})
    return [header, *raw], len(header)


def decode_part(
    body: bytes | bytearray, header_length: int, signature: Signature, outputs: Sequence[str]
) -> list[Array]:
    """The arrays of ``outputs`` in an inference response; views of ``body``, of the datatypes and shapes of the card.

    Raises:
        BadRequestError: it is none, or has other outputs.
    """
    if not 0 <= header_length <= len(body):
        raise BadRequestError(f"an answer of {len(body)} bytes cannot have JSON of {header_length} bytes")
    whole = memoryview(body)
    answer, raw = loads(whole[:header_length]), Raw(whole[header_length:])
    tensors = answer.get("outputs") if isinstance(answer, dict) else None
    if not isinstance(tensors, list) or len(tensors) != len(outputs):
        raise BadRequestError(f"outputs is {shown(tensors)}; wanted were {', '.join(outputs)}")
    arrays: list[Array] = []
    for index, (name, tensor) in enumerate(zip(outputs, tensors, strict=True)):
        field = f"outputs[{index}]"
        if not isinstance(tensor, dict) or tensor.get("name") != name:
            raise BadRequestError(f"{field} is {shown(tensor)}; wanted was {name}")
        parameters = tensor.get("parameters")
        size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
        spec = signature.outputs[name]
        shape = decode_shape(spec, tensor.get("datatype"), tensor.get("shape"), field)
        arrays.append(decode_raw(spec, shape, raw.take(size, field), field))
    raw.check_empty()
    return arrays
