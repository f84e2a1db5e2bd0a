"""Torch modules to ONNX: FP32, quiet, and without a trace of where it happened."""

import io
import logging
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import ModelProto

from edgemodel_compressor.errors import TaskError, first_line
from edgemodel_compressor.formats.verify import verify
from edgemodel_compressor.onnxmodel.modelfile import read_model, write_model
from edgemodel_compressor.onnxmodel.runtime import Array, Feed
from edgemodel_compressor.onnxmodel.tensors import dtype_of
from edgemodel_compressor.onnxmodel.walk import graphs
from edgemodel_contract.task import TensorSpec

if TYPE_CHECKING:
    import torch

SAMPLES = 3
"""Random inputs on which an export is compared with its original."""


@contextmanager
def torch_at_work(threads: int) -> Iterator[None]:
    """What every export happens in: so many ``threads``, no gradients, and no word on stdout."""
    import torch

    torch.set_num_threads(threads)
    with quiet(), torch.no_grad():
        yield


def export_program(what: str, target: Path, *arguments: Any, **options: Any) -> None:
    """Write to ``target`` what torch's current exporter makes of ``arguments`` and ``options``.

    Raises:
        TaskError: UnsupportedModel.
    """
    import torch

    with explained(what):
        program = torch.onnx.export(*arguments, **options, dynamo=True, verbose=False)
        if program is None:
            raise ValueError("the exporter returned nothing")
        program.save(target)


def checked(
    target: Path, original: Callable[[Feed], Sequence[Array]], feeds: Iterable[Feed], threads: int
) -> tuple[Path, float]:
    """``target``, and its largest relative difference to ``original`` on ``feeds``.

    It is rewritten without paths, stack traces and versions: the same bytes on every machine.

    Raises:
        TaskError: UnsupportedModel where they differ too much, or either cannot be run.
    """
    proto = read_model(target)
    _strip(proto)
    write_model(proto, target)
    del proto
    return target, verify(target, original, feeds, threads)


@contextmanager
def quiet() -> Iterator[None]:
    """Torch's exporters print and warn about their own affairs; stdout belongs to the progress of the Job."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


@contextmanager
def explained(what: str) -> Iterator[None]:
    """Whatever torch stumbles on while it exports, as one sentence.

    Raises:
        TaskError: UnsupportedModel.
    """
    try:
        yield
    except TaskError:
        raise
    except Exception as error:  # exporters raise whatever their passes stumble on
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        raise TaskError(
            "UnsupportedModel", f"{what} cannot be exported to ONNX: {first_line(cause)}; export it to ONNX yourself."
        ) from error


def _strip(proto: ModelProto) -> None:
    del proto.metadata_props[:]
    proto.producer_name = proto.producer_version = proto.doc_string = ""
    for graph in graphs(proto.graph):
        graph.doc_string = ""
        del graph.metadata_props[:]
        for value in (*graph.input, *graph.output, *graph.value_info):
            value.doc_string = ""
            del value.metadata_props[:]
        for tensor in graph.initializer:
            tensor.doc_string = ""
            del tensor.metadata_props[:]
        for node in graph.node:
            node.doc_string = ""
            del node.metadata_props[:]
    for function in proto.functions:
        function.doc_string = ""
        del function.metadata_props[:]
        for node in function.node:
            node.doc_string = ""
            del node.metadata_props[:]


def random_feeds(specs: Sequence[TensorSpec], largest: Mapping[str, int] | None = None) -> Iterator[Feed]:
    """SAMPLES inputs of the shapes of ``specs``, where open dimensions are 1: noise, and integers from 0 to 1.

    ``largest`` names inputs whose integers may go further, and how far.
    """
    rng = np.random.default_rng(0)
    for _ in range(SAMPLES):
        feed: dict[str, Array] = {}
        for spec in specs:
            shape, dtype = tuple(1 if size == -1 else size for size in spec.shape), dtype_of(spec)
            if dtype.kind == "f":
                feed[spec.name] = rng.normal(size=shape).astype(dtype)
            else:
                feed[spec.name] = rng.integers(0, (largest or {}).get(spec.name, 1) + 1, shape).astype(dtype)
        yield feed


def output_names(count: int) -> list[str]:
    """``output``, or ``output0``, ``output1`` and so on: what torch calls them differs from version to version."""
    return ["output"] if count == 1 else [f"output{index}" for index in range(count)]


def to_arrays(outputs: Any) -> list[Array]:
    """The tensors and numbers in ``outputs``, in order, however they are nested."""
    import torch
    from torch.utils import _pytree

    leaves = (leaf for leaf in _pytree.tree_leaves(outputs) if leaf is not None)
    return [leaf.detach().numpy() if isinstance(leaf, torch.Tensor) else np.asarray(leaf) for leaf in leaves]


def require_single_precision(tensors: Mapping[str, "torch.Tensor"], what: str) -> None:
    """All floating-point ``tensors`` are FP32.

    Raises:
        TaskError: UnsupportedModel.
    """
    import torch

    for name, tensor in tensors.items():
        if tensor.is_floating_point() and tensor.dtype != torch.float32:
            raise TaskError(
                "UnsupportedModel",
                f"{what} keeps {name!r} as {str(tensor.dtype).removeprefix('torch.')}; save it in single precision "
                "(model.float()), the compression chooses the precision itself.",
            )
