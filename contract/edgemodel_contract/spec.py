"""What of an EdgeModel's spec a compression depends on, and the task that it asks for.

The operator's API extends these structs; the command line reads them as they are. ``make_task`` serves both.
"""

import math
from typing import Annotated, ClassVar

from msgspec import Meta

from edgemodel_contract import task
from edgemodel_contract.base import Rule, Struct, broken_rules, project
from edgemodel_contract.fields import Resources, SecretRef, Sha256, TensorName, keyed
from edgemodel_contract.quantity import parse_cpu


class TensorInput(task.TensorSpec, frozen=True, kw_only=True):
    """Shape and datatype of one input, where the file leaves them open."""

    name: TensorName
    """Name of the input in the model file."""
    shape: Annotated[tuple[Annotated[int, Meta(ge=-1, le=2**31 - 1)], ...], Meta(max_length=8)]
    """All dimensions; -1 is one that may vary from request to request."""
    datatype: task.Datatype = "FP32"
    """Datatype, as the Open Inference Protocol names it."""


class ModelSource(Struct, frozen=True, kw_only=True):
    """What to deploy."""

    uri: Annotated[str, Meta(max_length=2048)]
    """Where the model is: oci://registry/repository:tag, https://host/path, pvc://claim/path, or
    hf://org/name@revision/path; a file, an archive, in a claim a folder, or of the hub a whole model."""
    format: task.Format | None = None
    """Format of the file. If absent, it is detected from the content."""
    sha256: Sha256 | None = None
    """Expected digest of the file. With it, a changed file is refused; without it, a tag is read once per change."""
    secret_ref: SecretRef | None = None
    """Secret with credentials for the URI: keys username and password, or token, or .dockerconfigjson."""
    inputs: Annotated[tuple[TensorInput, ...], keyed("name", 64)] = ()
    """Only what the file does not say, such as sizes of dimensions that it leaves open."""


class Dataset(Struct, frozen=True, kw_only=True):
    """Samples for calibration and evaluation; the Job splits them, the parts never overlap."""

    uri: Annotated[str, Meta(max_length=2048)]
    """Where the data is: oci://registry/repository:tag, https://host/path, pvc://claim/path, or
    hf://datasets/org/name@revision/path; a NumPy .npz file, a Parquet file, or images in a folder per class (in a
    claim, or as an archive)."""
    sha256: Sha256 | None = None
    """Expected digest of the file. With it, a changed file is refused."""
    secret_ref: SecretRef | None = None
    """Secret with credentials for the URI: keys username and password, or token, or .dockerconfigjson."""


class Compression(task.Recipe, frozen=True, kw_only=True):
    """How to make the model small."""

    RULES: ClassVar[tuple[Rule, ...]] = (
        *task.Recipe.RULES,
        Rule(
            "has(self.dataset) || !has(self.recovery)",
            lambda s: s.dataset is not None or s.recovery is None,
            "recovery trains on data: add compression.dataset",
        ),
        Rule(
            "has(self.dataset) || !(has(self.quantization) && self.quantization.method == 'Static')",
            lambda s: s.dataset is not None or s.quantization is None or s.quantization.method != "Static",
            "static quantization is calibrated on data: add compression.dataset, or use quantization.method Dynamic",
        ),
        Rule(
            "has(self.dataset) || !(has(self.pruning) && self.pruning.depth.matches('[1-9]'))",
            lambda s: s.dataset is not None or s.pruning is None or not s.pruning.depth,
            "pruning.depth is measured on data: add compression.dataset",
        ),
        Rule(
            "has(self.dataset) || !has(self.metric)",
            lambda s: s.dataset is not None or s.metric is None,
            "metric is measured on data: add compression.dataset",
        ),
        Rule(
            "has(self.dataset) || !has(self.judge)",
            lambda s: s.dataset is not None or not s.judge,
            "judge is measured on data: add compression.dataset",
        ),
        Rule(
            "has(self.dataset) || !(has(self.objectives) && has(self.objectives.maxAccuracyDrop))",
            lambda s: s.dataset is not None or s.objectives.max_accuracy_drop is None,
            "objectives.maxAccuracyDrop is measured on data: add compression.dataset",
        ),
    )

    dataset: Dataset | None = None


class Serving(Struct, frozen=True, kw_only=True):
    """The inference server. Threads follow limits.cpu, rounded up; latency is measured with as many."""

    resources: Resources = Resources()
    preprocessing: task.Preprocessing = task.Preprocessing()
    class_names: Annotated[tuple[Annotated[str, Meta(max_length=256)], ...], Meta(max_length=10000)] = ()
    """Names of the classes, by index."""


class CompressionSpec(Struct, frozen=True, kw_only=True):
    """The part of a spec that a compression depends on."""

    model: ModelSource
    compression: Compression = Compression()
    serving: Serving = Serving()


def make_task(
    spec: CompressionSpec, *, name: str, base_image: str, platform: str, repository: str, engine: str
) -> task.Task:
    """The task that ``spec`` asks for. It depends on nothing but the arguments, so that its digest names the result.

    Raises:
        ValueError: the CPU of ``spec.serving.resources`` is not an amount.
    """
    model, dataset = spec.model, spec.compression.dataset
    return task.Task(
        name=name,
        model=task.Source(uri=model.uri, sha256=model.sha256, secret=model.secret_ref is not None, format=model.format),
        dataset=task.Source(uri=dataset.uri, sha256=dataset.sha256, secret=dataset.secret_ref is not None)
        if dataset
        else None,
        inputs=tuple(project(item, task.TensorSpec) for item in model.inputs),
        recipe=project(spec.compression, task.Recipe),
        serving=task.Serving(
            threads=threads(spec.serving.resources),
            class_names=spec.serving.class_names,
            preprocessing=spec.serving.preprocessing,
        ),
        base_image=base_image,
        platform=platform,
        repository=repository,
        engine=engine,
    )


def threads(resources: Resources) -> int:
    """Threads of one server: its CPU limit, else its CPU request, rounded up; 1 where neither is named.

    Raises:
        ValueError: the quantity is not a number of CPUs.
    """
    for amounts in (resources.limits, resources.requests):
        if "cpu" in amounts:
            return max(1, math.ceil(parse_cpu(str(amounts["cpu"]))))
    return 1


def recipe_problem(recipe: task.Recipe, *, has_dataset: bool) -> str | None:
    """What is wrong with a recipe, by the rules of ``spec.compression``: the field and what to do; None if nothing."""
    fields = {name: getattr(recipe, name) for name in task.Recipe.__struct_fields__}
    compression = Compression(**fields, dataset=Dataset(uri="") if has_dataset else None)
    for path, rule in broken_rules(compression, "compression"):
        return f"{path}: {rule.message}"
    return None
