"""``--from edgemodel.yaml``: the task that an EdgeModel describes, at a desk.

Reads only what a compression depends on. The rest is the operator's to judge: an EdgeModel that it would refuse for its
placement, say, can be tried here all the same.
"""

from pathlib import Path
from typing import Any

import msgspec
import yaml

from edgemodel_compressor.errors import TaskError, first_line
from edgemodel_contract.base import Struct
from edgemodel_contract.spec import CompressionSpec, make_task
from edgemodel_contract.task import Task
from edgemodel_contract.written import read

LARGEST = 1 << 20
"""Bytes of a manifest."""


class _Metadata(Struct, frozen=True, kw_only=True):
    name: str = "model"


class _EdgeModel(Struct, frozen=True, kw_only=True):
    spec: CompressionSpec
    metadata: _Metadata = _Metadata()


def read_manifest(path: Path, engine: str) -> Task:
    """The task of the EdgeModel in the YAML file at ``path``, by the engine of that name; it has no place to push to.

    Raises:
        TaskError: InvalidTask, naming the file or the field.
    """
    try:
        model = msgspec.convert(read(_document(path), _EdgeModel, "$"), _EdgeModel)
        return make_task(
            model.spec, name=model.metadata.name, base_image="", platform="linux/amd64", repository="", engine=engine
        )
    except ValueError as error:
        raise TaskError("InvalidTask", f"{path}: {first_line(error)}.") from error


def _document(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            text = file.read(LARGEST + 1)
        documents = [item for item in yaml.safe_load_all(text[:LARGEST]) if item is not None]
    except (OSError, yaml.YAMLError) as error:
        raise TaskError("InvalidTask", f"{path} cannot be read as YAML: {first_line(error)}.") from error
    found: list[dict[str, Any]] = [
        item for item in documents if isinstance(item, dict) and item.get("kind") == "EdgeModel"
    ]
    if len(text) > LARGEST or len(found) != 1:
        what = f"holds {len(found)} EdgeModels" if len(text) <= LARGEST else f"is larger than {LARGEST} bytes"
        raise TaskError("InvalidTask", f"{path} {what}; give a file with one EdgeModel.")
    return found[0]
