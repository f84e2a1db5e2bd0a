"""The task's digest: the same for equal tasks, another for each difference that matters."""

import json

import msgspec
import pytest

from edgemodel_contract.card import MODEL_DIR
from edgemodel_contract.encoding import decode, digest, encode
from edgemodel_contract.progress import Progress, last_progress
from edgemodel_contract.task import Objectives, Preprocessing, Pruning, Recipe, Serving, Source, Task

TASK = Task(
    name="digits",
    model=Source(uri="https://example.com/digits.onnx"),
    recipe=Recipe(mode="Manual", pruning=Pruning(sparsity=0.5)),
    base_image="registry.example.com/server:v1",
    repository="registry.example.com/models/digits",
    engine="registry.example.com/compressor@sha256:1",
)


def test_a_task_reads_back_with_the_same_digest() -> None:
    read = decode(encode(TASK), Task)
    assert read == TASK
    assert read.digest == TASK.digest
    assert TASK.digest.startswith(TASK.tag)
    assert len(TASK.tag) == 32


def test_the_digest_does_not_depend_on_the_order_or_spacing_of_the_json() -> None:
    value = json.loads(encode(TASK))
    shuffled = json.dumps(dict(reversed(list(value.items()))), indent=3)
    assert decode(shuffled, Task).digest == TASK.digest


def test_a_default_that_is_spelled_out_does_not_change_the_digest() -> None:
    value = json.loads(encode(TASK)) | {"platform": "linux/amd64"}
    assert decode(json.dumps(value), Task).digest == TASK.digest


def _fresh(text: str) -> str:
    """Equal to ``text``, but another object, as text out of a file is."""
    return "".join(list(text))


@pytest.mark.parametrize(
    "task",
    [
        msgspec.structs.replace(TASK, recipe=Recipe(mode=_fresh("Auto"))),  # type: ignore[arg-type]
        msgspec.structs.replace(TASK, platform=_fresh("linux/amd64")),
        msgspec.structs.replace(TASK, serving=Serving(preprocessing=Preprocessing(layout=_fresh("NCHW")))),  # type: ignore[arg-type]
    ],
)
def test_both_sides_of_the_border_agree_on_the_digest(task: Task) -> None:
    assert decode(encode(task), Task).digest == task.digest


@pytest.mark.parametrize(
    "change",
    [
        {"engine": "registry.example.com/compressor@sha256:2"},
        {"base_image": "registry.example.com/server:v2"},
        {"model": Source(uri="https://example.com/digits.onnx", sha256="0" * 64)},
        {"recipe": Recipe(mode="Manual", pruning=Pruning(sparsity=0.6))},
        {"recipe": Recipe(objectives=Objectives(max_size=1))},
        {"platform": "linux/arm64"},
    ],
)
def test_every_difference_that_matters_is_another_task(change: dict[str, object]) -> None:
    assert msgspec.structs.replace(TASK, **change).digest != TASK.digest


def test_a_digest_is_64_hex_digits() -> None:
    assert digest({"b": 1, "a": 2}) == digest({"a": 2, "b": 1})
    assert len(digest({})) == 64
    assert int(digest({}), 16) >= 0


@pytest.mark.parametrize(("text", "words"), [("{", "not a valid Task"), ("{}", "name"), ('{"name": 1}', r"\$\.name")])
def test_what_is_no_task_names_the_field(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        decode(text, Task)


def test_the_last_progress_is_found_among_other_lines() -> None:
    step = Progress(step="Pushing", message="m", fraction=0.5)
    log = f'{{"step":"Loading","message":"","fraction":0}}\nnoise\n{encode(step).decode()}\n{{"outcome":"x"}}\n{{"st'
    assert last_progress(log) == step
    assert last_progress("nothing\n") is None


def test_the_models_folder_is_absolute() -> None:
    assert MODEL_DIR.startswith("/")
