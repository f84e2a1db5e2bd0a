"""Job mode, end to end against a real registry: what lands there, what is answered, and what failures look like."""

import errno
import json
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgemodel_compressor.job.run import answer, run_job
from edgemodel_contract.card import ModelCard
from edgemodel_contract.encoding import decode
from edgemodel_contract.progress import Progress, last_progress
from edgemodel_contract.result import Failure, Success, decode_result
from edgemodel_contract.task import (
    Objectives,
    Pruning,
    Quantization,
    Recipe,
    RegistryAccess,
    Search,
    Source,
)
from tests.unit.compressor import builders, images
from tests.unit.compressor.desk import Desk
from tests.unit.compressor.servers import free_port


def token_model() -> onnx.ModelProto:
    """Two inputs, integer tokens (1, 6) and a float mask (1, 6); output (1, 6, 8): no classes."""
    rng = np.random.default_rng(2)
    weights = {
        "table": rng.normal(size=(30, 8)).astype(np.float32),
        "w": rng.normal(size=(8, 8)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Gather", ["table", "tokens"], ["e"]),
        helper.make_node("MatMul", ["e", "w"], ["m"]),
        helper.make_node("Constant", [], ["axes"], value=numpy_helper.from_array(np.array([2]))),
        helper.make_node("Unsqueeze", ["mask", "axes"], ["k"]),
        helper.make_node("Mul", ["m", "k"], ["y"]),
    ]
    inputs = [
        helper.make_tensor_value_info("tokens", TensorProto.INT64, [1, "length"]),
        helper.make_tensor_value_info("mask", TensorProto.FLOAT, [1, "length"]),
    ]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, "length", 8])]
    return builders.model(nodes, inputs, outputs, weights)


def manual(**changes: Any) -> Recipe:
    return Recipe(mode="Manual", **changes)


STATIC = manual(quantization=Quantization(method="Static"))


def test_the_image_is_the_base_image_plus_one_layer_with_card_model_and_report(desk: Desk) -> None:
    result = desk.succeed(desk.task("conv", "conv", recipe=STATIC))
    image = images.pull(desk.registry, result.image)
    assert len(image.layers) == 2
    assert image.config["config"]["Entrypoint"] == ["python3", "/app/server.py"]
    assert image.config["config"]["User"] == "65532"
    assert image.config["config"]["Labels"]["base"] == "yes"
    assert image.config["created"] == "2025-01-02T03:04:05Z"
    assert len(image.config["history"]) == 2
    added = image.layers[1]
    assert set(added) == {"edgemodel", "edgemodel/model"} | {
        f"edgemodel/model/{name}" for name in ("card.json", "model.onnx", "report.html", "report.json")
    }
    for entry, _ in added.values():
        assert (entry.mtime, entry.uid, entry.gid, entry.uname) == (0, 0, 0, "")
        assert entry.mode == (0o755 if entry.isdir() else 0o644)


def test_the_card_describes_the_model_that_lies_beside_it(desk: Desk) -> None:
    task = desk.task("conv", "conv", recipe=STATIC)
    result = desk.succeed(task)
    layer = images.pull(desk.registry, result.image).layers[1]
    model = layer["edgemodel/model/model.onnx"][1]
    card = decode(layer["edgemodel/model/card.json"][1], ModelCard)
    assert card.files == {
        "model.onnx": images.sha256(model),
        "report.json": images.sha256(layer["edgemodel/model/report.json"][1]),
        "report.html": images.sha256(layer["edgemodel/model/report.html"][1]),
    }
    assert result.model_digest == images.sha256(model)
    assert (card.inputs[0].name, card.inputs[0].datatype, card.inputs[0].shape) == ("image", "FP32", (1, 1, 12, 12))
    assert card.labels == ("a", "b", "c", "d")
    assert card.provenance.task == task.digest
    assert card.provenance.method == "static-int8"
    assert card.comparison.model_size == len(model) == result.chosen.measured.size
    assert card.comparison.samples == result.chosen.measured.samples > 100
    assert "latency" not in layer["edgemodel/model/report.json"][1].decode()


def test_static_quantization_makes_the_model_a_third_and_keeps_its_accuracy(desk: Desk) -> None:
    result = desk.succeed(desk.task("conv", "conv", recipe=STATIC))
    before, after = result.original, result.chosen.measured
    assert after.size < 0.5 * before.size
    assert before.accuracy is not None
    assert before.accuracy > 0.9
    assert after.accuracy is not None
    assert after.accuracy > before.accuracy - 0.03
    assert after.metric == "Top1"
    assert before.latency_p50 is not None
    assert after.latency_p95 is not None


def test_pruning_shows_in_the_layer_and_in_the_sparsity_not_in_the_file(desk: Desk) -> None:
    result = desk.succeed(desk.task(recipe=manual(pruning=Pruning(sparsity=0.5, scope="Layer"))))
    before, after = result.original, result.chosen.measured
    assert after.sparsity == pytest.approx(0.5, abs=0.001)
    assert abs(after.size - before.size) < 200
    assert before.layer_size is not None
    assert after.layer_size is not None
    assert after.layer_size < 0.75 * before.layer_size
    image = images.pull(desk.registry, result.image)
    assert after.layer_size == image.manifest["layers"][-1]["size"]


def test_mode_none_packages_the_very_bytes_of_the_source(desk: Desk) -> None:
    result = desk.succeed(desk.task(recipe=Recipe(mode="None")))
    source = (desk.settings.claims_dir / "models" / "mlp.onnx").read_bytes()
    assert result.model_digest == result.source_digest == images.sha256(source)
    assert result.chosen.method == "original"
    layer = images.pull(desk.registry, result.image).layers[1]
    assert layer["edgemodel/model/model.onnx"][1] == source


def test_the_same_task_gives_the_same_digest_after_its_image_was_deleted(desk: Desk) -> None:
    task = desk.task("conv", "conv", recipe=STATIC)
    first = desk.succeed(task)
    repository = task.repository.removeprefix(desk.registry.host + "/")
    images.delete(desk.registry, repository, task.tag)
    images.delete(desk.registry, repository, f"{task.tag}.result")
    assert images.tags(desk.registry, repository) == set()
    second = desk.succeed(task)
    assert not second.reused
    assert second.image == first.image


def test_a_task_whose_image_exists_is_answered_from_the_registry_without_its_source(desk: Desk) -> None:
    task = desk.task(recipe=Recipe(mode="None"))
    first = desk.succeed(task)
    (desk.settings.claims_dir / "models" / "mlp.onnx").unlink()
    second = desk.succeed(task)
    assert second == msgspec.structs.replace(first, reused=True)


def test_an_image_without_its_result_is_built_again_to_the_same_digest(desk: Desk) -> None:
    task = desk.task(recipe=Recipe(mode="None"))
    first = desk.succeed(task)
    images.delete(desk.registry, task.repository.removeprefix(desk.registry.host + "/"), f"{task.tag}.result")
    second = desk.succeed(task)
    assert (second.image, second.reused) == (first.image, False)


def test_a_tag_that_was_moved_to_another_image_is_not_taken_for_the_result(desk: Desk) -> None:
    task = desk.task(recipe=Recipe(mode="None"))
    first = desk.succeed(task)
    images.push_base(desk.registry, task.repository.removeprefix(desk.registry.host + "/"), task.tag)
    second = desk.succeed(task)
    assert (second.image, second.reused) == (first.image, False)


def test_a_registry_may_be_reached_under_another_address_than_its_name(desk: Desk) -> None:
    desk.access = RegistryAccess(endpoints={"registry.example.com:5000": desk.registry.url})
    name = "registry.example.com:5000"
    task = desk.task(
        recipe=Recipe(mode="None"), base_image=f"{name}/base/server:v1", repository=f"{name}/models/mapped"
    )
    result = desk.succeed(task)
    assert result.image.startswith(f"{name}/models/mapped@sha256:")
    assert task.tag in images.tags(desk.registry, "models/mapped")


def test_the_program_writes_the_result_to_the_termination_log_and_stdout(
    desk: Desk, capsys: pytest.CaptureFixture[str]
) -> None:
    task = desk.task(recipe=Recipe(mode="None"))
    assert run_job(desk.write(task), desk.settings) == 0
    lines = capsys.readouterr().out.splitlines()
    result = decode_result(lines[-1])
    assert isinstance(result, Success)
    assert desk.settings.termination_log.read_text() == lines[-1]
    progress = [decode(line, Progress) for line in lines[:-1]]
    assert {step.step for step in progress} >= {"Fetching", "Loading", "Measuring", "Pushing"}
    assert last_progress("\n".join(lines)) == progress[-1]


def test_progress_never_goes_back_and_ends_at_one(desk: Desk) -> None:
    desk.succeed(desk.task("conv", "conv", recipe=Recipe(search=Search(trials=4))))
    fractions = [step.fraction for step in desk.steps]
    assert fractions == sorted(fractions)
    assert fractions[0] == 0
    assert fractions[-1] == 1


def test_objectives_that_cannot_be_met_name_the_closest_candidate_and_push_nothing(desk: Desk) -> None:
    task = desk.task("conv", "conv", recipe=Recipe(objectives=Objectives(max_size=5000), search=Search(trials=2)))
    failure = desk.fail(task)
    assert failure.reason == "ObjectivesNotMet"
    assert failure.closest is not None
    assert failure.closest.method in failure.message
    assert "> 5 kB" in failure.message
    assert failure.original is not None
    assert images.tags(desk.registry, task.repository.removeprefix(desk.registry.host + "/")) == set()
    assert run_job(desk.write(task), desk.settings) == 3


def test_no_temporary_file_is_left(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    scratch = desk.folder / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    monkeypatch.setenv("TMPDIR", str(scratch))
    desk.succeed(desk.task("conv", "conv", recipe=STATIC))
    desk.fail(desk.task("conv", "mlp"))
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "reason", "code", "words"),
    [
        ({"model": Source(uri="pvc://models/none.onnx")}, "SourceNotFound", 1, "none.onnx"),
        ({"model": Source(uri="pvc://models/../x.onnx")}, "InvalidTask", 2, "names no file in a claim"),
        ({"model": Source(uri="/etc/passwd")}, "InvalidTask", 2, "use one of"),
        ({"model": Source(uri="ftp://host/model.onnx")}, "InvalidTask", 2, "use one of"),
        ({"model": Source(uri="pvc://models/mlp.onnx", sha256="0" * 64)}, "ChecksumMismatch", 2, "was expected"),
        ({"model": Source(uri="pvc://models/mlp.npz")}, "InvalidModel", 2, "holds no model among its 2 files"),
        ({"dataset": Source(uri="pvc://models/conv.npz")}, "InvalidDataset", 2, "'x'"),
        ({"dataset": None, "recipe": STATIC}, "InvalidTask", 2, "calibrated on data: add compression.dataset"),
        ({"recipe": Recipe(mode="Manual")}, "InvalidTask", 2, "mode Manual needs pruning or quantization"),
        ({"repository": "UPPER CASE"}, "InvalidTask", 2, "not a repository"),
    ],
)
def test_bad_input_ends_in_its_reason_its_exit_code_and_a_sentence(
    desk: Desk, changes: dict[str, Any], reason: str, code: int, words: str
) -> None:
    task = desk.task(**changes)
    failure = desk.fail(task)
    assert (failure.reason, failure.task) == (reason, task.digest)
    assert words in failure.message
    assert run_job(desk.write(task), desk.settings) == code


def test_a_registry_that_is_down_is_said_to_be(desk: Desk) -> None:
    host = f"127.0.0.1:{free_port()}"
    desk.access = RegistryAccess(insecure=(host,))
    task = desk.task(repository=f"{host}/models/digits")
    failure = desk.fail(task)
    assert failure.reason == "RegistryUnavailable"
    assert f"{host} cannot be reached for models/digits" in failure.message
    assert run_job(desk.write(task), desk.settings) == 1


def test_a_task_file_that_is_no_task_is_an_invalid_task(desk: Desk) -> None:
    path = desk.folder / "task.json"
    path.write_text(json.dumps({"name": "x"}))
    result = answer(path, desk.settings, desk.steps.append)
    assert isinstance(result, Failure)
    assert result.reason == "InvalidTask"
    assert "not a valid Task" in result.message


def test_whatever_else_goes_wrong_is_an_internal_error_with_its_type(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def explode(*_: object) -> None:
        raise ZeroDivisionError("boom")

    monkeypatch.setattr("edgemodel_compressor.job.run.find_result", explode)
    failure = desk.fail(desk.task())
    assert failure.reason == "InternalError"
    assert "ZeroDivisionError: boom" in failure.message
    assert "Traceback" in capsys.readouterr().err


def test_a_model_of_several_inputs_without_classes_is_judged_by_its_outputs(desk: Desk) -> None:
    claim = desk.settings.claims_dir / "models"
    builders.save(token_model(), claim / "tokens.onnx")
    rng = np.random.default_rng(4)
    tokens, mask = rng.integers(0, 30, (40, 6)), np.ones((40, 6), np.float32)
    builders.save_dataset(claim / "tokens.npz", tokens=tokens, mask=mask)
    result = desk.succeed(desk.task("tokens", "tokens", recipe=manual(quantization=Quantization(method="Dynamic"))))
    measured = result.chosen.measured
    assert (measured.metric, measured.samples, result.original.accuracy) == ("Values", 20, 1.0)
    assert measured.accuracy is not None
    assert 0.99 < measured.accuracy <= 1
    layer = images.pull(desk.registry, result.image).layers[1]
    card = decode(layer["edgemodel/model/card.json"][1], ModelCard)
    assert [(spec.name, spec.datatype, spec.shape) for spec in card.inputs] == [
        ("tokens", "INT64", (1, 6)),
        ("mask", "FP32", (1, 6)),
    ]


def test_a_download_limit_holds_for_claims_too(desk: Desk) -> None:
    desk.settings = replace(desk.settings, max_download=1000)
    assert desk.fail(desk.task()).reason == "SourceTooLarge"


def test_a_layer_that_finds_no_room_on_the_disk_is_no_internal_error(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("edgemodel_compressor.publish.push.build_layer", full)
    failure = desk.fail(desk.task(recipe=Recipe(mode="None")))
    assert failure.reason == "SourceTooLarge"
    assert "not enough disk space" in failure.message
