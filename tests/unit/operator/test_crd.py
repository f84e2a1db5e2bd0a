"""The CustomResourceDefinition: structural, documented, with defaults that its own schema accepts, and up to date."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from edgemodel_contract.written import read
from edgemodel_operator.api import Spec, Status
from edgemodel_operator.api.crd import custom_resource_definition, render
from tests.unit.operator.builders import edge_model
from tests.unit.operator.cel_rules import defaulted

FILE = Path(__file__).parents[3] / "crds" / "edgemodels.yaml"
SAMPLES = sorted((Path(__file__).parents[3] / "manifests" / "samples").glob("*.yaml"))
DEFINITION = custom_resource_definition()
(VERSION,) = DEFINITION["spec"]["versions"]
ROOT = VERSION["schema"]["openAPIV3Schema"]
SPEC = ROOT["properties"]["spec"]
STATUS = ROOT["properties"]["status"]

KNOWN_KEYS = {
    "type",
    "format",
    "description",
    "properties",
    "required",
    "items",
    "additionalProperties",
    "default",
    "enum",
    "pattern",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "anyOf",
    "x-kubernetes-int-or-string",
    "x-kubernetes-validations",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
}


def nodes(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, inner in schema.get("properties", {}).items():
        yield from nodes(inner, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if key in schema:
            yield from nodes(schema[key], f"{path}[]")


ALL = list(nodes(ROOT, ""))


def problems(schema: dict[str, Any], value: Any, path: str = "") -> list[str]:
    """Why ``value`` is not valid, as an API server would see it; without CEL."""
    if schema.get("x-kubernetes-int-or-string"):
        if isinstance(value, int):
            return [f"{path}: {value!r} is out of bounds"] if _out_of_bounds(schema, value) else []
        text = str(value) if isinstance(value, str) else ""
        return [] if _matches(schema, text) else [f"{path}: {value!r}"]
    kinds: dict[str, type] = {
        "object": dict,
        "array": list,
        "string": str,
        "integer": int,
        "boolean": bool,
    }
    fits = isinstance(value, kinds[schema["type"]])
    if not fits:
        return [f"{path}: {value!r} is no {schema['type']}"]
    found = []
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{path}: {value!r} is none of {schema['enum']}")
    if "pattern" in schema and not _matches(schema, value):
        found.append(f"{path}: {value!r} does not match {schema['pattern']}")
    if _out_of_bounds(schema, value):
        found.append(f"{path}: {value!r} is out of bounds")
    if isinstance(value, dict):
        found += [f"{path}.{name} is missing" for name in schema.get("required", []) if name not in value]
        for name, inner in value.items():
            known = schema.get("properties", {}).get(name, schema.get("additionalProperties"))
            found += [f"{path}.{name} is unknown"] if known is None else problems(known, inner, f"{path}.{name}")
    if isinstance(value, list):
        for place, inner in enumerate(value):
            found += problems(schema["items"], inner, f"{path}[{place}]")
    return found


def _matches(schema: dict[str, Any], value: str) -> bool:
    return re.search(schema["pattern"], value) is not None


def _out_of_bounds(schema: dict[str, Any], value: Any) -> bool:
    size = value if isinstance(value, int | float) else len(value)
    lower = max((schema[key] for key in ("minimum", "minLength", "minItems") if key in schema), default=size)
    upper = min((schema[key] for key in ("maximum", "maxLength", "maxItems") if key in schema), default=size)
    return not lower <= size <= upper


def test_the_file_is_up_to_date() -> None:
    assert FILE.read_text() == render(), "run `make crds`"
    assert yaml.safe_load(render()) == DEFINITION


def test_the_check_of_the_command_line_sees_drift(tmp_path: Path) -> None:
    copy = tmp_path / "edgemodels.yaml"
    command = [sys.executable, "-m", "edgemodel_operator.api.crd", str(tmp_path)]
    missing = subprocess.run([*command, "--check"], capture_output=True, text=True, check=False)
    assert missing.returncode == 1
    assert "make crds" in missing.stderr
    assert subprocess.run(command, check=False).returncode == 0
    assert subprocess.run([*command, "--check"], check=False).returncode == 0
    copy.write_text(copy.read_text().replace("edge5g", "edge6g", 1))
    assert subprocess.run([*command, "--check"], check=False, capture_output=True).returncode == 1


def test_every_node_is_structural() -> None:
    assert [path for path, schema in ALL if not set(schema) <= KNOWN_KEYS] == []
    for path, schema in ALL:
        mixed = bool(schema.get("x-kubernetes-int-or-string"))
        assert ("type" in schema) != mixed, path
        if mixed:
            assert schema["anyOf"] == [{"type": "integer"}, {"type": "string"}], f"{path}: the only form allowed"
        if schema.get("type") == "object" and path.startswith((".spec", ".status")):
            assert ("properties" in schema) != ("additionalProperties" in schema), path
        assert ("items" in schema) == (schema.get("type") == "array"), path
        assert set(schema.get("required", [])) <= set(schema.get("properties", {})), path


def test_every_default_is_valid_and_only_the_spec_has_any() -> None:
    defaults = [(path, schema) for path, schema in ALL if "default" in schema]
    assert len(defaults) > 20
    assert [found for path, schema in defaults for found in problems(schema, schema["default"], path)] == []
    assert [path for path, _ in defaults if not path.startswith(".spec.")] == []


def test_everything_in_the_spec_has_a_largest_size() -> None:
    """A rule may compare it or go through it, and the server then knows what that costs at most."""
    bounds = {"array": "maxItems", "string": "maxLength"}
    unbounded = []
    for path, schema in nodes(SPEC, "spec"):
        kind = "string" if schema.get("x-kubernetes-int-or-string") else schema["type"]
        bound = "maxProperties" if "additionalProperties" in schema else bounds.get(kind)
        if bound and bound not in schema and "enum" not in schema:
            unbounded.append(f"{path} has no {bound}")
    assert unbounded == []


def test_a_docstring_of_code_never_leaks_its_markup() -> None:
    assert "``" not in render()


def test_what_a_schema_defaults_is_what_the_operator_assumes() -> None:
    """An older server, or a dry run, may leave defaults out: the operator must read the same."""
    short = edge_model().raw()["spec"]
    full = defaulted(SPEC, short)
    assert full["compression"]["job"]["activeDeadlineSeconds"] == 3600
    assert msgspec.convert(read(full, Spec, "spec"), Spec) == msgspec.convert(read(short, Spec, "spec"), Spec)
    assert problems(SPEC, full, "spec") == []


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)
def test_the_samples_are_valid(sample: Path) -> None:
    document = yaml.safe_load(sample.read_text())
    assert problems(SPEC, document["spec"], "spec") == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("model.uri", "ftp://x"),
        ("model.sha256", "abc"),
        ("compression.mode", "Fast"),
        ("compression.pruning", {"sparsity": "100%"}),
        ("compression.pruning", {"depth": "150%"}),
        ("scaling.minReplicas", 0),
        ("scaling.target", {"latency": "soon"}),
        ("scaling.target", {"latency": "1s", "percentile": 100}),
        ("rollout.waves", []),
        ("rollout.waves", ["0%"]),
        ("rollout.waves", [-5]),
        ("rollout.gates", {"latency": "9ms"}),
        ("serving.preprocessing", {"scale": 1}),
        ("suspend", "yes"),
    ],
)
def test_what_the_server_refuses(path: str, value: Any) -> None:
    assert problems(SPEC, edge_model().set(path, value).raw()["spec"], "spec")


def test_names_columns_and_subresources() -> None:
    assert DEFINITION["metadata"]["name"] == "edgemodels.edge5g.io"
    assert DEFINITION["spec"]["names"]["shortNames"] == ["em"]
    assert (VERSION["name"], VERSION["served"], VERSION["storage"]) == ("v1alpha1", True, True)
    assert VERSION["subresources"] == {"status": {}}
    columns = [column["name"] for column in VERSION["additionalPrinterColumns"] if not column.get("priority")]
    assert columns == ["Ready", "Reason", "Size", "Latency", "Accuracy", "Sites", "Replicas", "Age"]


def test_every_path_of_a_column_exists() -> None:
    paths = [column["jsonPath"] for column in VERSION["additionalPrinterColumns"]]
    known = {path for path, _ in ALL} | {".metadata.creationTimestamp"}
    for path in paths:
        assert re.sub(r"\[\?\(@\.type==\"\w+\"\)\]", "[]", path) in known, path


def _fields() -> list[tuple[str, dict[str, Any]]]:
    """Every field of spec and status, and every element of their lists and maps."""
    return [*nodes(SPEC, "spec"), *nodes(STATUS, "status")]


class TestConventions:
    """docs/decisions/api-conventions.md, as far as a schema shows it."""

    def test_numbers_are_integers_or_text_with_a_unit(self) -> None:
        assert [path for path, schema in _fields() if schema.get("type") == "number"] == []

    def test_every_integer_has_a_format_and_bounds(self) -> None:
        integers = [(path, schema) for path, schema in _fields() if schema.get("type") == "integer"]
        assert integers
        assert [path for path, schema in integers if schema.get("format") not in ("int32", "int64")] == []
        assert [path for path, schema in integers if "enum" not in schema and "minimum" not in schema] == []
        wanted = [(path, schema) for path, schema in integers if path.startswith("spec") and "enum" not in schema]
        assert [path for path, schema in wanted if "maximum" not in schema] == []
        large = [path for path, schema in wanted if schema["format"] == "int32" and schema["maximum"] >= 2**31]
        assert large == []

    def test_both_forms_of_an_integer_or_text_are_bounded(self) -> None:
        either = [(path, schema) for path, schema in _fields() if schema.get("x-kubernetes-int-or-string")]
        assert either
        bounds = {"minimum", "maximum", "pattern", "maxLength"}
        assert [path for path, schema in either if not bounds <= set(schema)] == []

    def test_enumerated_values_are_camel_case(self) -> None:
        names = [(path, value) for path, schema in _fields() for value in schema.get("enum", ())]
        texts = [(path, value) for path, value in names if isinstance(value, str)]
        assert texts
        assert [item for item in texts if not re.fullmatch(r"[A-Z][A-Za-z0-9]*", item[1])] == []

    def test_every_list_says_how_it_is_merged(self) -> None:
        lists = [(path, schema) for path, schema in _fields() if schema.get("type") == "array"]
        assert lists
        for path, schema in lists:
            assert schema.get("x-kubernetes-list-type") in ("atomic", "set", "map"), path
            keys = schema.get("x-kubernetes-list-map-keys", [])
            assert bool(keys) == (schema["x-kubernetes-list-type"] == "map"), path
            assert set(keys) <= set(schema["items"].get("required", [])), path

    def test_every_field_is_described(self) -> None:
        """`kubectl explain edgemodel.spec` is where people look."""
        silent = [path for path, schema in _fields() if not path.endswith("[]") and not schema.get("description")]
        assert silent == [], "add a docstring below the field"

    def test_a_description_is_a_sentence_and_no_fragment(self) -> None:
        texts = [(path, str(schema.get("description", ""))) for path, schema in _fields()]
        assert [path for path, text in texts if re.match(r"(Of|In|The same) ", text)] == []
        assert [path for path, text in texts if text and not re.match(r"\S.*[.)]$", text)] == []

    def test_a_secret_is_named_in_one_way(self) -> None:
        """Where the shape is not Kubernetes' own, as in a pod."""
        own = [path for path, _ in _fields() if ".podTemplate." not in path and ".valueFrom." not in path]
        names = [path.rpartition(".")[2] for path in own if "secret" in path.rpartition(".")[2].lower()]
        assert len(names) >= 4
        assert set(names) == {"secretRef"}

    def test_a_name_is_in_camel_case(self) -> None:
        names = {name for _, schema in _fields() for name in schema.get("properties", {})}
        assert [name for name in names if not re.fullmatch(r"[a-z]+([A-Z0-9][a-z0-9]*|CPU)*", name)] == []

    def test_the_status_is_found_whole(self) -> None:
        assert STATUS["properties"]["conditions"]["x-kubernetes-list-map-keys"] == ["type"]
        assert STATUS["properties"]["sites"]["x-kubernetes-list-map-keys"] == ["name"]
        assert set(STATUS["properties"]) == {field.encode_name for field in msgspec.structs.fields(Status)}
