"""Which format a file or a folder is, told from its bytes. Nothing is loaded for it, and no name is believed."""

from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from edgemodel_compressor.errors import TaskError
from edgemodel_compressor.fetch.archive import is_archive, zip_names
from edgemodel_contract.task import Format

CONFIG = "config.json"
EXPORT_HINT = (
    "export it where it can be trusted instead: torch.export.save(torch.export.export(model.eval(), (sample,)), "
    "'model.pt2'), or torch.onnx.export"
)
_PICKLED_WEIGHTS = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".h5", ".msgpack")
_CANDIDATES = (".onnx", ".pt2", ".pt", ".ts", ".torchscript")


@dataclass(frozen=True)
class Found:
    """A model's main file, or its folder for ``transformers``."""

    format: Format
    path: Path


def needs_unpacking(path: Path) -> bool:
    """Whether ``path`` is an archive around a model, and not a model that happens to be a zip (torch's are).

    Raises:
        TaskError: InvalidModel for a zip that torch.save wrote: a pickle.
    """
    return path.is_file() and is_archive(path) and _torch_format(path) is None


def detect(path: Path, stated: Format | None) -> Found:
    """The model in the file or the unpacked folder ``path``.

    Where a folder holds more than one model, ``stated`` says which of them is meant.

    Raises:
        TaskError: InvalidModel where nothing, or not one thing, or another thing than ``stated`` is found.
    """
    found = _in_folder(path, stated) if path.is_dir() else _of_file(path)
    if stated is not None and found.format != stated:
        raise TaskError(
            "InvalidModel",
            f"The model is said to be {stated}, but its bytes are those of {_name(found.format)}; correct the format, "
            "or leave it out.",
        )
    return found


def _of_file(path: Path) -> Found:
    # What is no zip of torch's is taken for ONNX, whose own reader says what else it may be.
    return Found(_torch_format(path) or "ONNX", path)


def _torch_format(path: Path) -> Format | None:
    """The format of a zip as torch writes it; None for everything else."""
    names = zip_names(path)
    if not names:
        return None
    root = names[0].split("/", 1)[0]
    inside = {name.removeprefix(f"{root}/") for name in names}
    if "archive_format" in inside or "serialized_exported_program.json" in names:
        return "ExportedProgram"
    if "constants.pkl" in inside and any(name.startswith("code/") for name in inside):
        return "TorchScript"
    if "data.pkl" in inside:
        raise TaskError(
            "InvalidModel",
            "The model is a Python pickle in a zip archive, as torch.save writes them, and is never unpickled; "
            f"{EXPORT_HINT}.",
        )
    return None


def _in_folder(folder: Path, stated: Format | None) -> Found:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    found = [_of_file(path) for path in files if path.suffix in _CANDIDATES and _is_model(path)]
    if (folder / CONFIG).is_file() and any(path.suffix == ".safetensors" for path in folder.iterdir()):
        found.append(Found("Transformers", folder))
    if stated is not None:
        found = [item for item in found if item.format == stated] or found
    if len(found) == 1:
        return found[0]
    if found:
        names = ", ".join(str(item.path.relative_to(folder)) or "." for item in found[:5])
        raise TaskError(
            "InvalidModel",
            f"The source holds {len(found)} models ({names}); give one of them alone, or state the format that is "
            "meant.",
        )
    pickled = next((path for path in files if path.suffix in _PICKLED_WEIGHTS), None)
    if pickled is not None:
        hint = (
            "save the weights as safetensors, with model.save_pretrained(folder, safe_serialization=True)"
            if (folder / CONFIG).is_file()
            else EXPORT_HINT
        )
        raise TaskError(
            "InvalidModel",
            f"The source holds only pickled weights ({pickled.name}), which are never unpickled; {hint}.",
        )
    raise TaskError(
        "InvalidModel",
        f"The source holds no model among its {len(files)} files; one of {', '.join(get_args(Format))} is needed: an "
        ".onnx with its data files, a .pt2, a TorchScript file, or config.json with .safetensors.",
    )


def _is_model(path: Path) -> bool:
    """Pickles beside a model, such as optimizer states, are no models and no reason to refuse what is one."""
    if path.suffix in (".onnx", ".pt2"):
        return True
    try:
        return _torch_format(path) is not None
    except TaskError:
        return False


def _name(kind: Format) -> str:
    return {
        "ONNX": "an ONNX file, if of a model at all",
        "ExportedProgram": "a torch.export program (ExportedProgram)",
        "TorchScript": "TorchScript",
        "Transformers": "a transformers folder (Transformers)",
    }[kind]
