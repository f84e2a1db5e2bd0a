"""An EdgeModel in YAML as a task at a desk."""

from pathlib import Path

import pytest

from edgemodel_compressor.cli.manifest import read_manifest
from edgemodel_compressor.errors import TaskError
from edgemodel_contract.task import (
    Objectives,
    OutputRule,
    Pruning,
    Quantization,
    Recipe,
    Recovery,
    Search,
    Source,
    Task,
)

FULL = """
apiVersion: v1
kind: Namespace
metadata: {name: radio}
---
apiVersion: edge5g.io/v1alpha1
kind: EdgeModel
metadata: {name: digits}
spec:
  model:
    uri: ./model.pt2
    format: ExportedProgram
    inputs: [{name: image, shape: [1, 1, 32, 32], datatype: FP32}]
  compression:
    mode: Manual
    pruning: {method: Structured, sparsity: 50%}
    recovery: {epochs: 4, method: Labels}
    quantization: {method: Static, calibration: Entropy}
    dataset: {uri: ./digits.npz}
    objectives: {maxSize: 8Mi, maxLatency: 10ms, maxAccuracyDrop: "1%"}
    search: {trials: 5, timeout: 2m}
    targetCPU: AVX512VNNI
    judge: [{output: boxes, metric: Boxes, maxDrop: 2%}]
    metric: Top5
    job: {activeDeadlineSeconds: 60}
  serving:
    classNames: ["0", "1"]
    preprocessing: {scale: 1/255, mean: ["0.5"]}
    resources: {limits: {cpu: 1500m, memory: 1Gi}}
  placement: {sites: [site-a]}
"""


def read(folder: Path, text: str) -> Task:
    path = folder / "edgemodel.yaml"
    path.write_text(text)
    return read_manifest(path, "engine")


def test_what_compression_depends_on_is_taken_over(tmp_path: Path) -> None:
    task = read(tmp_path, FULL)
    assert (task.name, task.engine, task.serving.threads, task.serving.class_names) == (
        "digits",
        "engine",
        2,
        ("0", "1"),
    )
    assert task.model == Source(uri="./model.pt2", format="ExportedProgram")
    assert task.dataset == Source(uri="./digits.npz")
    assert task.inputs[0].shape == (1, 1, 32, 32)
    assert task.recipe == Recipe(
        mode="Manual",
        pruning=Pruning(sparsity=0.5, method="Structured"),
        recovery=Recovery(epochs=4, method="Labels"),
        quantization=Quantization(method="Static", calibration="Entropy"),
        objectives=Objectives(max_size=8 * 2**20, max_latency=0.01, max_accuracy_drop=0.01),
        search=Search(trials=5, timeout=120.0),
        target_cpu="AVX512VNNI",
        judge=(OutputRule(output="boxes", metric="Boxes", max_drop=0.02),),
        metric="Top5",
    )


def test_the_shortest_edge_model_has_the_defaults(tmp_path: Path) -> None:
    task = read(tmp_path, "kind: EdgeModel\nspec: {model: {uri: model.onnx}}\n")
    assert task.recipe == Recipe()
    assert task.dataset is None
    assert task.serving.threads == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("kind: [", "cannot be read as YAML"),
        ("kind: Deployment", "holds 0 EdgeModels"),
        (2 * "---\nkind: EdgeModel\nspec: {model: {uri: a}}\n", "holds 2 EdgeModels"),
        ("kind: EdgeModel\nspec: {}", "`model`"),
        ("kind: EdgeModel\nspec: {model: {uri: a}, compression: {mode: Fast}}", "$.spec.compression.mode"),
        ("kind: EdgeModel\nspec: {model: {uri: a}, compression: {objectives: {maxSize: big}}}", "'big' is not a size"),
        ("kind: EdgeModel\nspec: {model: {uri: !!python/object/apply:os.system [id]}}", "cannot be read as YAML"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(TaskError) as caught:
        read(tmp_path, text)
    assert caught.value.reason == "InvalidTask"
    assert words in caught.value.message
