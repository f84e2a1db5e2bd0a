"""``torch.export`` programs (.pt2): read after ``pt2_archive`` has checked them, exported by the dynamo exporter."""

from pathlib import Path
from typing import TYPE_CHECKING

from edgemodel_compressor.errors import TaskError, first_line
from edgemodel_compressor.formats.export import (
    checked,
    export_program,
    output_names,
    random_feeds,
    require_single_precision,
    to_arrays,
    torch_at_work,
)
from edgemodel_compressor.formats.pt2_archive import rewrite
from edgemodel_compressor.onnxmodel.runtime import Array, Feed
from edgemodel_contract.task import Datatype, TensorSpec

if TYPE_CHECKING:
    import torch
    from torch.export import ExportedProgram

_WHAT = "The torch.export program"


def convert(path: Path, threads: int, folder: Path, limit: int) -> tuple[Path, float]:
    """The ONNX model of the program at ``path``, in ``folder``, and its largest relative difference.

    Raises:
        TaskError: InvalidModel, UnsupportedModel, SourceTooLarge.
    """
    import torch
    from torch.utils import _pytree

    safe, target = folder / "checked.pt2", folder / "exported.onnx"
    rewrite(path, safe, limit)
    with torch_at_work(threads):
        program = _load(safe)
        safe.unlink()
        require_single_precision(program.state_dict, _WHAT)
        specs = _inputs(program)
        names = output_names(len(program.graph_signature.user_outputs))
        export_program(_WHAT, target, program, (), output_names=names)
        module = program.module()

        def original(feed: Feed) -> list[Array]:
            tensors = [torch.from_numpy(array) for array in feed.values()]
            positional, named = _pytree.tree_unflatten(tensors, program.call_spec.in_spec)
            return to_arrays(module(*positional, **named))

        return checked(target, original, random_feeds(specs), threads)


def _load(path: Path) -> "ExportedProgram":
    import torch

    try:
        return torch.export.load(path)
    except Exception as error:  # the loader raises whatever its schema stumbles on
        raise TaskError(
            "InvalidModel",
            f"{_WHAT} cannot be read by torch {torch.__version__}: {first_line(error)}; save it again with this or an "
            "earlier version.",
        ) from error


def _inputs(program: "ExportedProgram") -> list[TensorSpec]:
    """The inputs, with the sizes that they had when the program was made."""
    wanted = set(program.graph_signature.user_inputs)
    specs = []
    for node in program.graph.nodes:
        if node.op != "placeholder" or node.name not in wanted:
            continue
        value = node.meta.get("val")
        datatype = _datatype(value)
        if datatype is None:
            raise TaskError(
                "UnsupportedModel",
                f"{_WHAT} has the input {node.name!r}, which is no tensor of numbers; export it with tensors only.",
            )
        shape = tuple(_size(size) for size in value.shape)
        specs.append(TensorSpec(name=node.name, datatype=datatype, shape=shape))
    if not specs:
        raise TaskError("InvalidModel", f"{_WHAT} has no input; export it with its inputs.")
    return specs


def _size(size: "int | torch.SymInt") -> int:
    if isinstance(size, int):
        return size
    hint = size.node.hint
    return int(hint) if hint is not None else 1


def _datatype(value: object) -> Datatype | None:
    import torch

    known: dict[torch.dtype, Datatype] = {
        torch.float32: "FP32",
        torch.float64: "FP64",
        torch.int64: "INT64",
        torch.int32: "INT32",
        torch.int16: "INT16",
        torch.int8: "INT8",
        torch.uint8: "UINT8",
        torch.bool: "BOOL",
    }
    return known.get(value.dtype) if isinstance(value, torch.Tensor) else None
