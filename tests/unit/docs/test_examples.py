"""The YAML in the documents is what an API server takes: fields that exist, values that fit, rules that hold."""

import itertools
import re
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
import yaml

from edgemodel_operator.api.crd import custom_resource_definition
from edgemodel_operator.api.resource import parse
from edgemodel_operator.plan.policy.validation import find_problem
from tests.unit.docs.test_paths import DOCUMENTS, ROOT
from tests.unit.operator.cel_rules import broken, defaulted

Object = dict[str, Any]
Schema = dict[str, Any]

SCHEMA: Schema = custom_resource_definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
SPEC: Schema = SCHEMA["properties"]["spec"]
BLOCK = re.compile(r"^( *)```ya?ml\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
HERE_DOCUMENT = re.compile(r"<<'?EOF'?\n(apiVersion: edge5g\.io/.*?)^EOF", re.MULTILINE | re.DOTALL)
META = {
    "apiVersion": "edge5g.io/v1alpha1",
    "kind": "EdgeModel",
    "metadata": {"name": "example", "namespace": "default", "uid": "1", "generation": 1},
}


def strict(schema: Schema) -> Schema:
    """The schema with fields that it does not name refused, as `kubectl apply` with validation does."""
    found = {key: value for key, value in schema.items() if not key.startswith("x-")}
    if schema.get("x-kubernetes-int-or-string"):
        found["type"] = ["integer", "string"]
    if "properties" in schema:
        found["properties"] = {name: strict(inner) for name, inner in schema["properties"].items()}
        found["additionalProperties"] = False
    elif isinstance(schema.get("additionalProperties"), dict):
        found["additionalProperties"] = strict(schema["additionalProperties"])
    if "items" in schema:
        found["items"] = strict(schema["items"])
    return found


VALIDATOR = jsonschema_rs.Draft4Validator(strict(SPEC))


def problems(spec: Object) -> list[str]:
    """What is wrong with the spec of an EdgeModel."""
    found = [f"{'.'.join(map(str, error.instance_path))}: {error.message}" for error in VALIDATOR.iter_errors(spec)]
    if found:
        return found
    found = list(map(str, broken(SPEC, defaulted(SPEC, spec), "spec")))
    problem = find_problem(parse({**META, "spec": defaulted(SPEC, spec)}))
    return found + ([problem.message] if problem else [])


def examples() -> Iterator[tuple[str, Object]]:
    """Every EdgeModel's spec in the documents and samples. A part of one is completed by a source and its dataset."""
    texts = [(document, block) for document in DOCUMENTS for block in _blocks(document.read_text())]
    count = itertools.count(1)
    samples = (ROOT / "manifests" / "samples").glob("*.yaml")
    for file, text in [*texts, *((sample, sample.read_text()) for sample in samples)]:
        for value in yaml.safe_load_all(text):
            where = f"{file.relative_to(ROOT)}:{next(count)}"
            if isinstance(value, dict) and value.get("kind") == "EdgeModel":
                yield where, value["spec"]
            elif isinstance(value, dict) and value.keys() <= SPEC["properties"].keys():
                yield where, {"model": {"uri": "https://models.example/model.onnx"}, **value}


def _blocks(text: str) -> Iterator[str]:
    for indent, block in BLOCK.findall(text):
        yield re.sub(f"^{indent}", "", block, flags=re.MULTILINE)
    yield from HERE_DOCUMENT.findall(text)


EXAMPLES = list(examples())


@pytest.mark.parametrize("spec", [spec for _, spec in EXAMPLES], ids=[where for where, _ in EXAMPLES])
def test_an_example_is_valid(spec: Object) -> None:
    assert problems(spec) == []


def test_examples_are_found_and_faults_in_them_too() -> None:
    assert {where.partition(":")[0] for where, _ in EXAMPLES} >= {"README.md", "docs/edgemodel.md", "docs/serving.md"}
    spec = dict(EXAMPLES[0][1])
    assert "nonsense" in "".join(problems({**spec, "nonsense": 1}))
    assert problems({**spec, "scaling": {"minReplicas": -1}}) != []
    assert problems({**spec, "scaling": {"minReplicas": 5, "maxReplicas": 2}}) != []
