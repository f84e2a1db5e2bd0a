"""The compression task that a spec asks for."""

import hashlib

from msgspec import UNSET

from edgemodel_contract import task as contract
from edgemodel_contract.quantity import parse_duration, parse_percent, parse_size
from edgemodel_operator.api import EdgeModel, Spec
from edgemodel_operator.manifests.resources import threads
from edgemodel_operator.settings import Settings

MAX_REPOSITORY = 255
"""Characters of a repository's name, the registry's host included (distribution's reference grammar)."""


def desired_task(model: EdgeModel, spec: Spec, settings: Settings) -> contract.Task:
    """Depends on nothing but the spec and the settings, so that its digest names the result."""
    namespace, name = model.key
    compression, preprocessing = spec.compression, spec.serving.preprocessing
    return contract.Task(
        name=name,
        model=contract.Source(
            uri=spec.model.uri,
            sha256=_given(spec.model.sha256),
            secret=spec.model.secret_ref is not UNSET,
            format=None if spec.model.format is UNSET else spec.model.format,
        ),
        dataset=None
        if compression.dataset is UNSET
        else contract.Source(
            uri=compression.dataset.uri,
            sha256=_given(compression.dataset.sha256),
            secret=spec.model.secret_ref is not UNSET,
        ),
        inputs=tuple(
            contract.TensorSpec(name=item.name, datatype=item.datatype, shape=tuple(item.shape))
            for item in (spec.model.inputs if spec.model.inputs is not UNSET else [])
        ),
        recipe=_recipe(spec),
        serving=contract.Serving(
            threads=threads(spec.serving.resources),
            labels=tuple(spec.serving.labels if spec.serving.labels is not UNSET else ()),
            preprocessing=contract.Preprocessing(
                scale=preprocessing.scale,
                mean=tuple(preprocessing.mean if preprocessing.mean is not UNSET else ()),
                std=tuple(preprocessing.std if preprocessing.std is not UNSET else ()),
                layout=preprocessing.layout,
            ),
        ),
        base_image=settings.inference_image,
        platform=settings.platform,
        repository=repository(settings.repository, namespace, name),
        engine=settings.compression_image,
    )


def repository(root: str, namespace: str, name: str) -> str:
    """Where the images of an EdgeModel go. Registries take at most 255 characters, so a long name is cut and marked
    with a hash of all of it."""
    plain = f"{root}/{namespace}/{name}"
    if len(plain) <= MAX_REPOSITORY:
        return plain
    mark = hashlib.sha256(name.encode()).hexdigest()[:12]
    kept = max(0, MAX_REPOSITORY - len(f"{root}/{namespace}/") - len(mark) - 1)
    return f"{root}/{namespace}/{name[:kept].rstrip('-.')}-{mark}"


def _recipe(spec: Spec) -> contract.Recipe:
    compression, wanted = spec.compression, spec.compression.objectives
    pruning = quantization = recovery = None
    if compression.pruning is not UNSET:
        named = compression.pruning
        pruning = contract.Pruning(sparsity=named.sparsity, depth=named.depth, scope=named.scope, method=named.method)
    if compression.quantization is not UNSET:
        integers = compression.quantization
        quantization = contract.Quantization(
            method=integers.method, bits=integers.bits, calibration=integers.calibration
        )
    if compression.recovery is not UNSET:
        training = compression.recovery
        recovery = contract.Recovery(
            method=None if training.method is UNSET else training.method,
            epochs=training.epochs,
            learning_rate=None if training.learning_rate is UNSET else training.learning_rate,
        )
    return contract.Recipe(
        mode=compression.mode,
        pruning=pruning,
        quantization=quantization,
        recovery=recovery,
        search=contract.Search(trials=compression.search.trials, time=parse_duration(compression.search.time)),
        target=None if compression.target is UNSET else compression.target,
        metric=None if compression.metric is UNSET else compression.metric,
        judge=tuple(
            contract.OutputRule(
                output=rule.output,
                metric=None if rule.metric is UNSET else rule.metric,
                max_drop=None if rule.max_drop is UNSET else parse_percent(rule.max_drop),
            )
            for rule in (() if compression.judge is UNSET else compression.judge)
        ),
        objectives=contract.Objectives(
            max_size=None if wanted.max_size is UNSET else parse_size(wanted.max_size),
            max_latency=None if wanted.max_latency is UNSET else parse_duration(wanted.max_latency),
            max_accuracy_drop=None if wanted.max_accuracy_drop is UNSET else parse_percent(wanted.max_accuracy_drop),
        ),
    )


def _given(text: object) -> str | None:
    return text if isinstance(text, str) else None
