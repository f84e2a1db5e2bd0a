"""A bare ONNX file, served without a card that somebody wrote: the card is made from what the file says of itself."""

import ast
import hashlib
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgemodel_contract.card import ORIGINAL, Comparison, ModelCard, Provenance
from edgemodel_contract.task import Preprocessing, Recipe, TensorSpec
from edgemodel_server.errors import ModelError, shown
from edgemodel_server.model.folder import ModelFolder
from edgemodel_server.model.ort import onnxruntime
from edgemodel_server.protocol.datatypes import ONNX_RUNTIME

logger = logging.getLogger(__name__)

LABELS_FILE = "labels.txt"
"""Beside the model: a class per line."""
LABELS_KEYS = ("labels", "classes", "names")
"""Of the file's own metadata; exporters write a list, or a mapping from each index to its name."""
MAX_LABELS_BYTES = 1024 * 1024
_FATAL_ONLY = 4
_CHANNELS = (1, 3)


def open_file(path: Path) -> ModelFolder:
    """The model in ``path``, with a card of its own.

    Raises:
        ModelError: it cannot be read, is no model, or has an input or output that the protocol has no datatype for.
    """
    try:
        with path.open("rb") as stream:
            digest = "sha256:" + hashlib.file_digest(stream, "sha256").hexdigest()
        size = path.stat().st_size
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror}") from error
    session = _session(path)
    inputs = tuple(_spec("input", node, path) for node in session.get_inputs())
    outputs = tuple(_spec("output", node, path) for node in session.get_outputs())
    card = ModelCard(
        name=path.stem,
        inputs=inputs,
        outputs=outputs,
        files={path.name: digest},
        labels=_labels(path, session.get_modelmeta().custom_metadata_map, outputs),
        preprocessing=_preprocessing(inputs),
        provenance=Provenance(
            source_uri=path.name,
            source_digest=digest,
            task="",
            recipe=Recipe(mode="None"),
            method=ORIGINAL,
            engine="",
            libraries={},
        ),
        comparison=Comparison(source_size=size, model_size=size),
    )
    return ModelFolder(path.parent, card, path.name)


def _session(path: Path) -> Any:
    options = onnxruntime.SessionOptions()
    # Only its inputs and outputs are looked at.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = _FATAL_ONLY
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's exceptions have no common base class
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(f"ONNX Runtime {onnxruntime.__version__} cannot load {path}: {reason}") from error


def _spec(kind: str, node: Any, path: Path) -> TensorSpec:
    datatype = ONNX_RUNTIME.get(node.type)
    if datatype is None:
        hint = "; convert it with zipmap=False" if node.type.startswith("seq(map(") else ""
        raise ModelError(
            f"{kind} {node.name!r} of {path} is {node.type}: the Open Inference Protocol has no datatype for it{hint}"
        )
    shape = tuple(size if isinstance(size, int) and size >= 0 else -1 for size in node.shape or ())
    return TensorSpec(name=node.name, datatype=datatype, shape=shape)


def _preprocessing(inputs: Sequence[TensorSpec]) -> Preprocessing:
    """Channels are where three of them, or one, can only be; the scale and the rest are the card's defaults."""
    shape = inputs[0].shape if len(inputs) == 1 else ()
    last = len(shape) == 4 and shape[3] in _CHANNELS and shape[1] not in _CHANNELS
    return Preprocessing(layout="NHWC" if last else "NCHW")


def _labels(path: Path, metadata: Mapping[str, str], outputs: Sequence[TensorSpec]) -> tuple[str, ...]:
    """Those of LABELS_FILE, or of the metadata; none where their number is not that of the model's classes."""
    file = path.with_name(LABELS_FILE)
    if file.is_file():
        with file.open(encoding="utf-8", errors="replace") as stream:
            labels, source = tuple(stream.read(MAX_LABELS_BYTES).splitlines()), str(file)
    else:
        key = next((key for key in LABELS_KEYS if key in metadata), "")
        labels, source = _parsed(metadata.get(key, "")), f"the metadata {key!r} of {path}"
    sizes = [size for size in outputs[0].shape[1:] if size != 1] if outputs else []
    if labels and len(sizes) == 1 and sizes[0] not in (-1, len(labels)):
        logger.warning("%d labels of %s left out: the model has %d classes", len(labels), source, sizes[0])
        return ()
    return labels


def _parsed(text: str) -> tuple[str, ...]:
    """A list of names, or a mapping from 0, 1, … to them, as JSON or Python writes it; none of anything else."""
    try:
        value = ast.literal_eval(text) if text and len(text) <= MAX_LABELS_BYTES else None
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        logger.warning("labels %s of the model's metadata left out: they are no list", shown(text))
        return ()
    if isinstance(value, dict):
        value = [value.get(index, value.get(str(index))) for index in range(len(value))]
    if isinstance(value, list | tuple) and all(isinstance(item, str) for item in value):
        return tuple(value)
    return ()
