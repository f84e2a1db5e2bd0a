"""The graph that every method starts from: current opset, constants folded, norms fused, shapes and names known."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import version_converter

from edgemodel_compressor.errors import CutShortError, first_line, not_applicable
from edgemodel_compressor.graph.files import remove, scratch
from edgemodel_compressor.graph.normalize import flatten_biases
from edgemodel_compressor.onnxmodel.modelfile import is_large, read_model, write_model
from edgemodel_compressor.onnxmodel.runtime import optimize

_PER_CHANNEL_OPSET = 13
_TARGET_OPSET = 17
_MARK = ("onnx.quant.pre_process", "onnxruntime.quant")
"""How the tool notes that a model is prepared."""


def prepare(source: Path, folder: Path) -> Path:
    """The model at ``source``, ready to be quantized, as a file in ``folder``; ``source`` itself if it is that already.

    Every node has a name of its own; they are the same on every run, so that one calibration and one ranking of nodes
    serve all recipes.

    Raises:
        NotApplicableError: the tool fails on this model.
    """
    prepared = scratch(folder, "prepared", source)
    with explained(), quiet():
        model = read_model(source)
        if any((item.key, item.value) == _MARK for item in model.metadata_props):
            return source
        large = is_large(model)
        usable = source
        opset = next((item.version for item in model.opset_import if item.domain in ("", "ai.onnx")), 0)
        if opset < _PER_CHANNEL_OPSET:
            model = version_converter.convert_version(model, _TARGET_OPSET)
        if opset < _PER_CHANNEL_OPSET or _has_external_data(source):
            # Written anew, small tensors lie in the file: the shapes among them cannot be read from outside it.
            usable = scratch(folder, "usable", source)
            write_model(model, usable)
        del model
        optimized = scratch(folder, "optimized", source)
        optimize(usable, optimized, large)
        # By path, and not through the tool's own preprocessing: that holds two more copies of the model in memory.
        onnx.shape_inference.infer_shapes_path(optimized, prepared)
        model = read_model(prepared)
        remove(optimized)
        if usable != source:
            remove(usable)
        onnx.helper.set_model_props(model, dict([_MARK]))
        flatten_biases(model)
        _name_nodes(model)
        write_model(model, prepared)
    return prepared


def _has_external_data(path: Path) -> bool:
    model = onnx.load(path, load_external_data=False)
    return any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in model.graph.initializer)


def _name_nodes(model: onnx.ModelProto) -> None:
    taken: set[str] = set()
    for index, node in enumerate(model.graph.node):
        if not node.name or node.name in taken:
            node.name = f"{node.op_type}_{index}"
        while node.name in taken:
            node.name += "_"
        taken.add(node.name)


@contextmanager
def explained() -> Iterator[None]:
    """Whatever a tool raises becomes a NotApplicableError; but lack of memory or disk space stays what it is."""
    with not_applicable():
        try:
            yield
        except DecodeError as error:
            # Of a file that a tool wrote: shape inference does not look whether the disk took all of it.
            raise CutShortError(first_line(error)) from error


@contextmanager
def quiet() -> Iterator[None]:
    """The tools log advice and stack traces through the root logger; neither is for users of this program."""
    before = logging.root.manager.disable
    logging.disable(logging.ERROR)
    try:
        yield
    finally:
        logging.disable(before)
