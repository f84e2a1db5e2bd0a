"""The CustomResourceDefinition, from the types beside it: ``python -m edgemodel_operator.api.crd FILE``.

The schema is structural (apiextensions.k8s.io/v1): no references, every optional field with its default, int-or-string
where Kubernetes has it, and CEL rules, which servers before 1.25 drop. Field descriptions are the docstrings of
the types.
"""

import ast
import inspect
import re
import textwrap
from typing import Any

import msgspec
import yaml
from msgspec import NODEFAULT
from msgspec import inspect as types

from edgemodel_contract.base import Struct
from edgemodel_contract.written import form_of, write
from edgemodel_operator import api
from edgemodel_operator.api.generated import run

Schema = dict[str, Any]

HEADER = "# Written by `make crds` from operator/edgemodel_operator/api/; do not edit.\n"

PRINTER_COLUMNS: tuple[tuple[str, str, str, int], ...] = (
    ("Ready", "string", '.status.conditions[?(@.type=="Ready")].status', 0),
    ("Reason", "string", '.status.conditions[?(@.type=="Ready")].reason', 0),
    ("Size", "string", ".status.summary.size", 0),
    ("Latency", "string", ".status.summary.latency", 0),
    ("Accuracy", "string", ".status.summary.accuracy", 0),
    ("Sites", "string", ".status.summary.sites", 0),
    ("Replicas", "integer", ".status.replicas", 0),
    ("Image", "string", ".status.model.image", 1),
    ("Age", "date", ".metadata.creationTimestamp", 0),
)


def custom_resource_definition() -> dict[str, Any]:
    """The whole object, ready to apply."""
    spec = _struct(types.type_info(api.Spec))  # type: ignore[arg-type]
    spec.pop("default", None)
    status = _status_schema()
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{api.PLURAL}.{api.GROUP}"},
        "spec": {
            "group": api.GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": api.KIND,
                "listKind": f"{api.KIND}List",
                "plural": api.PLURAL,
                "singular": "edgemodel",
                "shortNames": ["em"],
                "categories": ["all"],
            },
            "versions": [
                {
                    "name": api.VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": {"status": {}},
                    "additionalPrinterColumns": [
                        {"name": name, "type": kind, "jsonPath": path} | ({"priority": priority} if priority else {})
                        for name, kind, path, priority in PRINTER_COLUMNS
                    ],
                    "schema": {
                        "openAPIV3Schema": {
                            "type": "object",
                            "description": (
                                "EdgeModel takes a trained model to every labelled edge node: compressed, measured, "
                                "packaged as an image, rolled out site by site, scaled by latency."
                            ),
                            "required": ["spec"],
                            "properties": {
                                "apiVersion": {"type": "string"},
                                "kind": {"type": "string"},
                                "metadata": {"type": "object"},
                                "spec": spec,
                                "status": status,
                            },
                        }
                    },
                }
            ],
        },
    }


def _status_schema() -> Schema:
    """Nothing in status has a default."""
    status: Schema = _without_defaults(_struct(types.type_info(api.Status)))  # type: ignore[arg-type]
    return status


def _without_defaults(schema: Any) -> Any:  # a schema, or a value inside one
    if isinstance(schema, dict):
        return {key: _without_defaults(value) for key, value in schema.items() if key != "default"}
    return schema


def _schema(kind: types.Type) -> Schema:
    if (form := form_of(kind)) is not None:
        return {"type": "string", "maxLength": form.max_length, "pattern": form.pattern}
    match kind:
        case types.Metadata():
            return _schema(kind.type) | (kind.extra_json_schema or {})
        case types.StructType():
            return _struct(kind)
        case types.UnionType():
            return _union(kind)
        case types.ListType() | types.VarTupleType():
            bounds = _bounds(minItems=kind.min_length, maxItems=kind.max_length)
            return {"type": "array", "items": _schema(kind.item_type), "x-kubernetes-list-type": "atomic"} | bounds
        case types.DictType():
            return {"type": "object", "additionalProperties": _schema(kind.value_type)} | _bounds(
                minProperties=kind.min_length, maxProperties=kind.max_length
            )
        case types.StrType():
            return {"type": "string"} | _bounds(
                minLength=kind.min_length, maxLength=kind.max_length, pattern=kind.pattern
            )
        case types.IntType():
            small = kind.le is not None and kind.le < 2**31
            return {"type": "integer", "format": "int32" if small else "int64"} | _bounds(
                minimum=kind.ge, maximum=kind.le
            )
        case types.BoolType():
            return {"type": "boolean"}
        case types.LiteralType():
            values = list(kind.values)
            if isinstance(values[0], str):
                return {"type": "string", "enum": values}
            return {"type": "integer", "format": "int32", "enum": values}
    raise TypeError(f"no structural schema for {kind}")


def _bounds(**limits: Any) -> Schema:
    return {name: value for name, value in limits.items() if value is not None}


def _union(kind: types.UnionType) -> Schema:
    members = [member for member in kind.types if not isinstance(member, types.NoneType)]
    if len(members) == 1:
        return _schema(members[0])
    names = {type(member.type if isinstance(member, types.Metadata) else member) for member in members}
    if names != {types.IntType, types.StrType}:
        raise TypeError(f"only int-or-string unions are structural, not {kind}")
    parts = [_schema(member) for member in members]
    number, text = sorted(parts, key=lambda schema: str(schema["type"]))
    # Each bound applies to the form that it can be said of, and is passed over for the other.
    bounds = [(number, "minimum"), (number, "maximum"), (text, "pattern"), (text, "maxLength")]
    return {
        "anyOf": [{"type": "integer"}, {"type": "string"}],
        "x-kubernetes-int-or-string": True,
    } | {name: schema[name] for schema, name in bounds}


def _struct(kind: types.StructType) -> Schema:
    documented = _field_docs(kind.cls)
    properties: dict[str, Schema] = {}
    required: list[str] = []
    for member in kind.fields:
        schema = _schema(member.type)
        if text := documented.get(member.name):
            schema = {"description": text} | {k: v for k, v in schema.items() if k != "description"}
        if member.required:
            required.append(member.encode_name)
        else:
            default = member.default if member.default_factory is NODEFAULT else member.default_factory()
            # An empty list or map says as much as none.
            if default is not None and (default or not isinstance(default, tuple | dict)):
                schema["default"] = _complete(schema, write(msgspec.to_builtins(default), member.type))
        properties[member.encode_name] = schema
    result: Schema = {"type": "object"}
    if text := _clean(kind.cls.__doc__ or ""):
        result["description"] = text
    if required:
        result["required"] = required
    result["properties"] = properties
    if rules := getattr(kind.cls, "RULES", ()):
        result["x-kubernetes-validations"] = [{"rule": rule.cel, "message": rule.message} for rule in rules]
    return result


def _complete(schema: Schema, value: Any) -> Any:
    """A default with the defaults inside it written out.

    An API server evaluates the rules of an object on that object's default as it stands, before it fills in what the
    default leaves out; a rule that reads a field that is not there makes it refuse the whole definition.
    """
    if not isinstance(value, dict):
        return value
    inner = schema.get("properties", {})
    missing = {name: field["default"] for name, field in inner.items() if "default" in field and name not in value}
    return {name: _complete(inner.get(name, {}), part) for name, part in (value | missing).items()}


def _field_docs(cls: type) -> dict[str, str]:
    """Docstrings that stand below the fields of a class, or of the classes that it extends."""
    found: dict[str, str] = {}
    for part in reversed(cls.__mro__):
        if issubclass(part, Struct) and part is not Struct:
            found |= _own_field_docs(part)
    return found


def _own_field_docs(cls: type) -> dict[str, str]:
    body = ast.parse(textwrap.dedent(inspect.getsource(cls))).body[0]
    assert isinstance(body, ast.ClassDef)  # noqa: S101
    found: dict[str, str] = {}
    for before, after in zip(body.body, body.body[1:], strict=False):
        if (
            isinstance(before, ast.AnnAssign)
            and isinstance(before.target, ast.Name)
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
            and isinstance(after.value.value, str)
        ):
            found[before.target.id] = _clean(after.value.value)
    return found


def _clean(text: str) -> str:
    return re.sub(r"\s+", " ", text.replace("``", "")).strip()


class _Literal(yaml.SafeDumper):
    """Repeats equal parts instead of anchoring them: people read this file."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002
        return True


def render() -> str:
    """The file's text."""
    body: str = yaml.dump(custom_resource_definition(), Dumper=_Literal, sort_keys=False, width=110)
    return HEADER + body


def main() -> int:
    """Write the file, or with ``--check`` say whether it is up to date."""
    return run("edgemodel_operator.api.crd", str(__doc__), {"edgemodels.yaml": render}, "make crds")


if __name__ == "__main__":
    raise SystemExit(main())
