"""The reference pages of the API, written from the code: ``python -m edgemodel_operator.api.reference FOLDER``.

``reasons.md`` is the table of ``reasons.NOT_READY``; ``edgemodel.md`` lists every field of the EdgeModel as the
CustomResourceDefinition has it.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from edgemodel_operator.api.crd import custom_resource_definition
from edgemodel_operator.api.generated import run
from edgemodel_operator.api.reasons import NOT_READY, Explanation

Schema = Mapping[str, Any]

HEADER = "<!-- Written by `make docs` from operator/edgemodel_operator/api/; do not edit. -->\n\n"


def reasons_page() -> str:
    """The reasons of ``Ready=False``; those that mean the same to a person share a row."""
    rows: dict[Explanation, list[str]] = {}
    for reason, explanation in NOT_READY.items():
        rows.setdefault(explanation, []).append(f"`{reason}`")
    lines = [
        "# Reasons",
        "",
        "Why an EdgeModel is not `Ready`, whether `Stalled` is true with it (nothing happens until a person acts), and",
        "what to do. While a version fails, the one before keeps serving.",
        "",
        "| reason of `Ready=False` | `Stalled` | what to do |",
        "|---|---|---|",
        *(f"| {', '.join(names)} | {row.stalls.value} | {row.remedy} |" for row, names in rows.items()),
    ]
    return HEADER + "\n".join(lines) + "\n"


def fields_page() -> str:
    """Every field of spec and status: path, type, default and what it means."""
    version = custom_resource_definition()["spec"]["versions"][0]
    properties = version["schema"]["openAPIV3Schema"]["properties"]
    lines = ["# EdgeModel", "", f"Every field of `edge5g.io/{version['name']}`, as `kubectl explain` has them."]
    for part in ("spec", "status"):
        lines += ["", f"## {part}", "", "| field | type | default | meaning |", "|---|---|---|---|"]
        lines += [
            f"| `{path}` | {_type(schema)}{' (required)' if required else ''} | {_default(schema)} | {_text(schema)} |"
            for path, schema, required in _fields(part, properties[part])
        ]
    return HEADER + "\n".join(lines) + "\n"


PAGES = {"reasons.md": reasons_page, "edgemodel.md": fields_page}


def _fields(path: str, schema: Schema) -> Iterator[tuple[str, Schema, bool]]:
    required = schema.get("required", ())
    for name, child in schema.get("properties", {}).items():
        yield f"{path}.{name}", child, name in required
        yield from _fields(f"{path}.{name}", child)
        if "items" in child:
            yield from _fields(f"{path}.{name}[]", child["items"])


def _type(schema: Schema) -> str:
    if schema.get("x-kubernetes-int-or-string"):
        return "integer or string"
    if "enum" in schema:
        return " \\| ".join(f"`{value}`" for value in schema["enum"])
    kind = str(schema.get("type", "any"))
    if kind == "array":
        return f"list of {_type(schema['items'])}"
    if kind == "object" and "additionalProperties" in schema:
        return "map"
    return kind


def _default(schema: Schema) -> str:
    value = schema.get("default")
    if value is None or isinstance(value, dict):
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _text(schema: Schema) -> str:
    return " ".join(str(schema.get("description", "")).split()).replace("|", "\\|")


def main() -> int:
    """Write the pages, or with ``--check`` say whether they are up to date."""
    return run("edgemodel_operator.api.reference", str(__doc__), PAGES, "make docs")


if __name__ == "__main__":
    raise SystemExit(main())
