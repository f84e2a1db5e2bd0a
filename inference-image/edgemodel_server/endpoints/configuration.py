"""The answer to a model configuration request, in the terms of Triton's ``ModelConfig``, which its clients ask for."""

from typing import Any

from edgemodel_contract.task import Datatype, TensorSpec
from edgemodel_server.protocol.open_inference import MODEL_VERSION, PLATFORM
from edgemodel_server.service import Service

Configuration = dict[str, Any]

OFF = "batching_off_because"
"""The parameter that says why requests do not share runs of the model, where they do not."""


def model_config(service: Service) -> Configuration:
    """How the model is served. As there, dimensions are without the batch where ``max_batch_size`` is not 0.

    Raises:
        UnavailableError: there is no model yet.
    """
    card = service.model().engine.card
    sharing = service.scheduler.sharing
    size = sharing.batch_size
    batched = 0 if size == 1 else size
    config: Configuration = {
        "name": card.name,
        "platform": PLATFORM,
        "backend": "onnxruntime",
        "version_policy": {"specific": {"versions": [int(MODEL_VERSION)]}},
        "max_batch_size": batched,
        "input": [_tensor(spec, batched) for spec in card.inputs],
        "output": [_tensor(spec, batched) for spec in card.outputs],
        "instance_group": [{"name": card.name, "kind": "KIND_CPU", "count": service.scheduler.workers}],
    }
    if batched:
        delay = round(service.scheduler.batch_delay * 1e6)
        config["dynamic_batching"] = {"preferred_batch_size": [], "max_queue_delay_microseconds": delay}
    if sharing.off_because is not None:
        config["parameters"] = {OFF: {"string_value": sharing.off_because}}
    return config


def data_type(datatype: Datatype) -> str:
    """The name of Triton's enumeration ``DataType``."""
    return "TYPE_STRING" if datatype == "BYTES" else f"TYPE_{datatype}"


def _tensor(spec: TensorSpec, batched: int) -> dict[str, Any]:
    dims = spec.shape[1:] if batched else spec.shape
    return {"name": spec.name, "data_type": data_type(spec.datatype), "dims": list(dims)}
