"""``--from edgemodel.yaml``: the task that an EdgeModel describes, at a desk.

Reads only what a compression depends on. The rest is the operator's to judge: an EdgeModel that it would refuse for its
placement, say, can be tried here all the same.
"""

import math
from pathlib import Path

import msgspec
import yaml

from edgemodel_compressor.errors import TaskError, first_line
from edgemodel_contract import task as contract
from edgemodel_contract.quality import Fidelity, Metric
from edgemodel_contract.quantity import parse_cpu, parse_duration, parse_percent, parse_size

LARGEST = 1 << 20
"""Bytes of a manifest."""


class _Part(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """A part of the spec; fields that are not named here are passed over."""


class _Metadata(_Part, frozen=True, kw_only=True):
    name: str = "model"


class _Source(_Part, frozen=True, kw_only=True):
    uri: str
    sha256: str | None = None
    format: contract.Format | None = None
    inputs: tuple[contract.TensorSpec, ...] = ()


class _Objectives(_Part, frozen=True, kw_only=True):
    max_size: str | None = None
    max_latency: str | None = None
    max_accuracy_drop: str | None = None


class _OutputRule(_Part, frozen=True, kw_only=True):
    output: str
    metric: Fidelity | None = None
    max_drop: str | None = None


class _Search(_Part, frozen=True, kw_only=True):
    trials: int = contract.Search().trials
    time: str = "20m"


class _Compression(_Part, frozen=True, kw_only=True):
    mode: contract.Mode = "Auto"
    pruning: contract.Pruning | None = None
    quantization: contract.Quantization | None = None
    recovery: contract.Recovery | None = None
    dataset: _Source | None = None
    objectives: _Objectives = _Objectives()
    search: _Search = _Search()
    target: contract.Target | None = None
    metric: Metric | None = None
    judge: tuple[_OutputRule, ...] = ()


class _Resources(_Part, frozen=True, kw_only=True):
    requests: dict[str, str | int] = {}
    limits: dict[str, str | int] = {}


class _Serving(_Part, frozen=True, kw_only=True):
    labels: tuple[str, ...] = ()
    preprocessing: contract.Preprocessing = contract.Preprocessing()
    resources: _Resources = _Resources()


class _Spec(_Part, frozen=True, kw_only=True):
    model: _Source
    compression: _Compression = _Compression()
    serving: _Serving = _Serving()


class _EdgeModel(_Part, frozen=True, kw_only=True):
    kind: str
    spec: _Spec
    metadata: _Metadata = _Metadata()


def read_manifest(path: Path, engine: str) -> contract.Task:
    """The task of the EdgeModel in the YAML file at ``path``, by the engine of that name; it has no place to push to.

    Raises:
        TaskError: InvalidTask, naming the file or the field.
    """
    try:
        with path.open("rb") as file:
            text = file.read(LARGEST + 1)
        documents = [item for item in yaml.safe_load_all(text[:LARGEST]) if item is not None]
    except (OSError, yaml.YAMLError) as error:
        raise TaskError("InvalidTask", f"{path} cannot be read as YAML: {first_line(error)}.") from error
    found = [item for item in documents if isinstance(item, dict) and item.get("kind") == "EdgeModel"]
    if len(text) > LARGEST or len(found) != 1:
        what = f"holds {len(found)} EdgeModels" if len(text) <= LARGEST else f"is larger than {LARGEST} bytes"
        raise TaskError("InvalidTask", f"{path} {what}; give a file with one EdgeModel.")
    try:
        return _task(msgspec.convert(found[0], _EdgeModel, strict=False), engine)
    except (msgspec.ValidationError, ValueError) as error:
        raise TaskError("InvalidTask", f"{path}: {first_line(error)}.") from error


def _task(model: _EdgeModel, engine: str) -> contract.Task:
    spec, compression = model.spec, model.spec.compression
    limits = compression.objectives
    return contract.Task(
        name=model.metadata.name,
        model=_source(spec.model),
        dataset=None if compression.dataset is None else _source(compression.dataset),
        inputs=spec.model.inputs,
        recipe=contract.Recipe(
            mode=compression.mode,
            pruning=compression.pruning,
            quantization=compression.quantization,
            recovery=compression.recovery,
            objectives=contract.Objectives(
                max_size=None if limits.max_size is None else parse_size(limits.max_size),
                max_latency=None if limits.max_latency is None else parse_duration(limits.max_latency),
                max_accuracy_drop=None if limits.max_accuracy_drop is None else parse_percent(limits.max_accuracy_drop),
            ),
            search=contract.Search(trials=compression.search.trials, time=parse_duration(compression.search.time)),
            target=compression.target,
            metric=compression.metric,
            judge=tuple(
                contract.OutputRule(
                    output=rule.output,
                    metric=rule.metric,
                    max_drop=None if rule.max_drop is None else parse_percent(rule.max_drop),
                )
                for rule in compression.judge
            ),
        ),
        serving=contract.Serving(
            threads=_threads(spec.serving.resources),
            labels=spec.serving.labels,
            preprocessing=spec.serving.preprocessing,
        ),
        base_image="",
        repository="",
        engine=engine,
    )


def _source(source: _Source) -> contract.Source:
    return contract.Source(uri=source.uri, sha256=source.sha256, format=source.format)


def _threads(resources: _Resources) -> int:
    amount = resources.limits.get("cpu", resources.requests.get("cpu", 1))
    return max(1, math.ceil(parse_cpu(str(amount))))
