"""TorchScript (``torch.jit.save``): a program, so what running it means is decided here.

A TorchScript file is code, and there is no loading it without running some (``__setstate__``). It is not Python: its
own compiler reads it, its pickles name tensors and its own classes only, and its operators compute. Two of them touch
files, ``aten::from_file`` and ``aten::save``; with the first a model could carry off the credentials that are mounted
in a Job. A file whose code names either of them, or operators beyond ATen's, is refused before it is loaded. None
reaches the network or starts a process.

What remains is the chance of a flaw in torch's C++, and that is what the Job's container is for: no Kubernetes token,
no root, a read-only file system, a memory limit. At a desk there is no such container: whoever runs TorchScript of a
stranger there should prefer a .pt2 of theirs, which is checked node by node.

TorchScript says nothing of its inputs' shapes: hints (``inputs``) or the dataset do. The batch stays open unless a hint
fixes it.
"""

import re
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgemodel_compressor.errors import TaskError, first_line
from edgemodel_compressor.formats.export import (
    checked,
    explained,
    output_names,
    random_feeds,
    require_single_precision,
    to_arrays,
    torch_at_work,
)
from edgemodel_compressor.onnxmodel.runtime import Array, Feed
from edgemodel_contract.task import TensorSpec

if TYPE_CHECKING:
    import torch

_WHAT = "The TorchScript model"
_CODE_LIMIT = 64 * 2**20
_CHUNK = 1 << 20
_GAP = r"[\s\\]*"
_FORBIDDEN = re.compile(
    rf"\bfrom_file\b|\.{_GAP}save\b|(?<![.\w])ops{_GAP}\.{_GAP}(?!prim\b|aten\b)\w+|\bclasses{_GAP}\.{_GAP}\w+"
)
_OPSET = 17
_SINGLE = "x"


def convert(
    path: Path, hints: Sequence[TensorSpec], shown: Sequence[TensorSpec], threads: int, folder: Path, limit: int
) -> tuple[Path, float]:
    """The ONNX model of the TorchScript at ``path``, in ``folder``, and its largest relative difference.

    Raises:
        TaskError: InvalidModel, UnsupportedModel, SourceTooLarge; InvalidTask where nothing states an input's shape.
    """
    import torch

    safe, target = folder / "checked.pt", folder / "exported.onnx"
    _rewrite(path, safe, limit)
    with torch_at_work(threads):
        module = _load(safe)
        safe.unlink()
        require_single_precision(dict(module.state_dict()), _WHAT)
        specs = _inputs(module, hints, shown)

        def original(feed: Feed) -> list[Array]:
            return to_arrays(module(*(torch.from_numpy(array) for array in feed.values())))

        # Run once before the exporter, so that wrong shapes are said to be that.
        feed = next(iter(random_feeds(specs)))
        try:
            outputs = original(feed)
        except Exception as error:  # torch raises whatever its operators stumble on
            shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in feed.items())
            raise TaskError(
                "InvalidModel", f"{_WHAT} cannot run on its inputs ({shapes}): {_reason(error)}; mend inputs."
            ) from error
        with explained(_WHAT):
            torch.onnx.export(
                module,
                tuple(torch.from_numpy(array) for array in feed.values()),
                str(target),
                input_names=[spec.name for spec in specs],
                output_names=output_names(len(outputs)),
                dynamic_axes={spec.name: {0: "batch"} for spec in specs if spec.shape[:1] == (-1,)},
                opset_version=_OPSET,
                dynamo=False,
            )
        return checked(target, original, random_feeds(specs), threads)


def _rewrite(path: Path, target: Path, limit: int) -> None:
    """Write the archive anew: what torch's own reader then finds is what was checked here."""
    try:
        with zipfile.ZipFile(path) as archive, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as written:
            entries = archive.infolist()
            if sum(entry.file_size for entry in entries) > limit:
                raise TaskError(
                    "SourceTooLarge", f"The model takes more than the {limit} bytes allowed; give a smaller one."
                )
            if len({entry.filename for entry in entries}) != len(entries):
                raise TaskError("InvalidModel", f"{_WHAT} holds a file twice; save it again.")
            for entry in entries:
                if "/code/" in entry.filename:
                    if entry.file_size > _CODE_LIMIT:
                        raise TaskError("InvalidModel", f"{_WHAT} has {entry.file_size} bytes of code; it is refused.")
                    _check_code(archive.read(entry).decode("utf-8", "replace"))
                copied = zipfile.ZipInfo(entry.filename)
                copied.file_size = entry.file_size
                with archive.open(entry) as source, written.open(copied, "w") as sink:
                    shutil.copyfileobj(source, sink, _CHUNK)
    except (OSError, EOFError, ValueError, NotImplementedError, zipfile.BadZipFile) as error:
        raise TaskError("InvalidModel", f"{_WHAT} is damaged or cut short; save and upload it again.") from error


def _check_code(code: str) -> None:
    found = _FORBIDDEN.search(code)
    if found:
        raise TaskError(
            "UnsupportedModel",
            f"{_WHAT} calls {found[0].lstrip('.')!r}, which is no operator that computes; write it with torch's own "
            "operators, or export it to ONNX yourself.",
        )


def _load(path: Path) -> "torch.jit.ScriptModule":
    import torch

    try:
        module: torch.jit.ScriptModule = torch.jit.load(path, map_location="cpu")  # type: ignore[no-untyped-call]
        return module.eval()
    except Exception as error:  # the loader raises whatever its compiler stumbles on
        raise TaskError(
            "InvalidModel", f"{_WHAT} cannot be read by torch {torch.__version__}: {_reason(error)}; save it again."
        ) from error


def _inputs(
    module: "torch.jit.ScriptModule", hints: Sequence[TensorSpec], shown: Sequence[TensorSpec]
) -> list[TensorSpec]:
    arguments = [item for item in module._c._get_method("forward").schema.arguments[1:] if not item.has_default_value()]
    others = [item.name for item in arguments if str(item.type) != "Tensor"]
    if others or not arguments:
        raise TaskError(
            "UnsupportedModel",
            f"{_WHAT} has {f'the input {others[0]!r}, which is no tensor' if others else 'no input'}; trace a module "
            "that takes tensors.",
        )
    specs = []
    for argument in arguments:
        named = [spec for spec in (*hints, *shown) if spec.name == argument.name]
        if not named and len(arguments) == 1:
            named = [spec for spec in shown if spec.name == _SINGLE] or list(shown if len(shown) == 1 else ())
        if not named or -1 in named[0].shape[1:]:
            raise TaskError(
                "InvalidTask",
                f"{_WHAT} does not say what shape its input {argument.name!r} has; state it in inputs, for instance "
                f"{argument.name} with shape [-1, 3, 224, 224], or give a dataset with an array of that name.",
            )
        # numpy's floats are double where nobody says otherwise; the dataset is converted to what the model takes.
        datatype = "FP32" if named[0] in shown and named[0].datatype == "FP64" else named[0].datatype
        specs.append(TensorSpec(name=argument.name, datatype=datatype, shape=named[0].shape))
    return specs


def _reason(error: BaseException) -> str:
    """What torch's interpreter says last is the cause; before it come lines of the model's code."""
    lines = [line for line in str(error).splitlines() if "Error:" in line]
    return lines[-1].partition("Error:")[2].strip().rstrip(".")[:300] if lines else first_line(error)
