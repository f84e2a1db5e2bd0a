"""The JSON of the REST API as schemas of its OpenAPI document, by their names."""

from typing import Any, get_args

from edgemodel_contract.task import Datatype

Json = dict[str, Any]


def reference(name: str) -> Json:
    """The schema of that name, as others refer to it."""
    return {"$ref": f"#/components/schemas/{name}"}


def schemas() -> Json:
    """Every schema, by name."""
    text: Json = {"type": "string"}
    yes_or_no: Json = {"type": "boolean"}
    share: Json = {"type": "number", "minimum": 0, "maximum": 1}
    datatype: Json = {"type": "string", "enum": list(get_args(Datatype))}
    size: Json = {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}
    sizes: Json = _array(size)
    parameters: Json = {"type": "object", "description": "Those without a meaning here have no effect."}
    prediction: Json = {
        "label": text,
        "probability": share,
        "top": _array(reference("Class")),
    }
    tensors: Json = {
        "type": "array",
        "items": {
            "type": "object",
            "required": ["name", "data_type", "dims"],
            "properties": {
                "name": text,
                "data_type": text,
                "dims": _array({"type": "integer", "minimum": -1}),
            },
        },
    }
    return {
        "Error": _object("Why there is no result.", error={"type": "string", "minLength": 1}),
        "Live": _object("", live=yes_or_no),
        "Ready": _object("", ("error",), ready=yes_or_no, error=text),
        "ModelReady": _object("", name=text, ready=yes_or_no),
        "ServerMetadata": _object("", name=text, version=text, extensions=_array(text)),
        "TensorMetadata": _object(
            "One input or output; -1 in `shape` is a dimension that may vary.",
            name=text,
            datatype=datatype,
            shape=_array({"type": "integer", "minimum": -1}),
        ),
        "ModelMetadata": _object(
            "",
            name=text,
            versions=_array(text),
            platform=text,
            inputs=_array(reference("TensorMetadata")),
            outputs=_array(reference("TensorMetadata")),
        ),
        "ModelConfiguration": _object(
            "Dimensions are without the batch where `max_batch_size` is not 0.",
            ("dynamic_batching", "parameters"),
            name=text,
            platform=text,
            backend=text,
            version_policy={"type": "object"},
            max_batch_size={"type": "integer", "minimum": 0},
            input=tensors,
            output=tensors,
            instance_group=_array({"type": "object"}),
            dynamic_batching={"type": "object"},
            parameters={
                "type": "object",
                "description": "`batching_off_because` says why requests do not share runs, where they do not.",
            },
        ),
        "RequestInput": _object(
            "One input tensor; all of the model's inputs are needed.",
            ("data", "parameters"),
            name=text,
            shape=sizes,
            datatype=datatype,
            data={
                "type": "array",
                "description": "The elements, flat or nested as `shape`; missing only where they are binary.",
            },
            parameters=parameters,
        ),
        "RequestOutput": _object(
            "One output tensor wanted.",
            ("parameters",),
            name=text,
            parameters=parameters,
        ),
        "InferenceRequest": _object(
            "",
            ("id", "parameters", "outputs"),
            id={"type": "string", "description": "Comes back in the answer."},
            parameters=parameters,
            inputs=_array(reference("RequestInput"), minItems=1),
            outputs=_array(reference("RequestOutput")),
        ),
        "ResponseOutput": _object(
            "One output tensor, flat, in row-major order. JSON has no NaN and no infinity: they are `null`.",
            ("data", "parameters"),
            name=text,
            shape=sizes,
            datatype=datatype,
            data={"type": "array"},
            parameters={"type": "object", "description": "`binary_data_size`, where the elements are binary."},
        ),
        "InferenceResponse": _object(
            "",
            ("id",),
            model_name=text,
            model_version=text,
            id=text,
            outputs=_array(reference("ResponseOutput")),
        ),
        "Class": _object("", label=text, probability=share),
        "Prediction": _object("The most probable class; `top` has more with `top_k`.", ("top",), **prediction),
        "PredictedImage": _object("", ("top",), **prediction, model=text),
        "PredictedImages": _object("", predictions=_array(reference("Prediction")), model=text),
    }


def _array(items: Json, **bounds: int) -> Json:
    return {"type": "array", "items": items, **bounds}


def _object(description: str, optional: tuple[str, ...] = (), **properties: Json) -> Json:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "description": description, "required": required, "properties": properties}
