"""What an API server does with the CEL rules of a schema: evaluates them on values, and estimates what they cost.

The estimate is an upper bound in the server's units (one for a look at a field or an operator, a tenth for each
character that is compared): whatever it allows, the server allows.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import product
from typing import Any

import celpy
from celpy import celtypes
from celpy.adapter import json_to_cel
from celpy.evaluation import CELEvalError
from lark import Token, Tree

Schema = dict[str, Any]
Node = Tree[Token] | Token
Path = tuple[str, ...]

Scope = dict[str, tuple[Schema, Path | None]]
"""Variables: the schema of each, and its path below self."""

HAS: Path = ("has()",)
"""Ends the path of a field that a rule only tests for presence."""

MACROS = {"all", "exists", "exists_one", "map", "filter"}
FUNCTIONS = {"size", "contains", "startsWith", "endsWith", "matches", "int", "double", "string", "duration"}
"""Those that are used and that the first servers with CEL know (1.25)."""

RESERVED = ("edge5g.io/model", "LD_PRELOAD", "EDGEMODEL_PEERS")
"""Names that rules know by heart: of maps' keys and of variables."""
EXAMPLES = ("https://host/file", "10ms", "1%", "1Mi", "1", "name", "a" * 64, "10.0.0.0/8", "spec.nodeName")
ZEROS = ("0ms", "0%", "0Mi")


class NoBoundError(ValueError):
    """A rule compares or goes through something that may be as large as a request."""


@dataclass(frozen=True)
class Rule:
    """One rule on the object (or list) at ``path``, of which a resource may have ``times``."""

    path: str
    text: str
    schema: Schema
    times: int

    def holds(self, value: Any) -> bool:
        """Whether ``value`` keeps it; CELEvalError where a server would call it an error."""
        return bool(_program(self.text).evaluate({"self": as_cel(self.schema, value)}))

    def reads(self) -> frozenset[Path]:
        """Fields below ``self`` that it looks at; those that it only tests for presence end with ``HAS``."""
        return frozenset(_Estimate(self).reads)

    def cost(self) -> int:
        """At most, for all its objects in one resource."""
        return _Estimate(self).total * self.times


@cache
def _program(text: str) -> celpy.Runner:
    environment = celpy.Environment()
    return environment.program(environment.compile(text))


def rules_of(schema: Schema, path: str = "", times: int = 1) -> Iterator[Rule]:
    """Every rule in ``schema`` and below it."""
    for rule in schema.get("x-kubernetes-validations", []):
        yield Rule(path, rule["rule"], schema, times)
    for name, inner in schema.get("properties", {}).items():
        yield from rules_of(inner, f"{path}.{name}", times)
    for key, bound in (("items", "maxItems"), ("additionalProperties", "maxProperties")):
        if key in schema and any(True for _ in rules_of(schema[key])):
            if bound not in schema:
                raise NoBoundError(f"{path} has rules in its {key} and no {bound}")
            yield from rules_of(schema[key], f"{path}[]", times * schema[bound])


def broken(schema: Schema, value: Any, path: str = "") -> list[str]:
    """Rules that ``value`` breaks, and those that cannot be evaluated on it, as a server lists them."""
    found = []
    for rule in schema.get("x-kubernetes-validations", []):
        try:
            if not Rule(path, rule["rule"], schema, 1).holds(value):
                found.append(f"{path}: {rule['message']}")
        except CELEvalError as error:
            found.append(f"{path}: {error.args[0]} evaluating rule: {rule['message']}")
    if isinstance(value, dict):
        for name, inner in value.items():
            known = schema.get("properties", {}).get(name, schema.get("additionalProperties"))
            found += broken(known, inner, f"{path}.{name}") if known else []
    if isinstance(value, list):
        for place, inner in enumerate(value):
            found += broken(schema["items"], inner, f"{path}[{place}]")
    return found


def defaulted(schema: Schema, value: Any) -> Any:
    """``value`` with every default filled in, as a server does before it evaluates rules on what a user sent."""
    if isinstance(value, dict) and "properties" in schema:
        missing = {n: s["default"] for n, s in schema["properties"].items() if "default" in s and n not in value}
        return {n: defaulted(schema["properties"][n], v) for n, v in (missing | value).items()}
    if isinstance(value, list):
        return [defaulted(schema["items"], item) for item in value]
    return value


def forms(schema: Schema, reads: frozenset[Path]) -> list[Any]:
    """Every value of ``schema`` that can be told apart by what ``reads`` names: each field of it absent, and with each
    value of an enumeration, or the smallest and largest number. What ``reads`` leaves out is as short as it can be."""
    if reads == {HAS}:
        return forms(schema, frozenset())[:1]
    match schema.get("type"):
        case "object" if "properties" in schema:
            required = schema.get("required", [])
            fields = {}
            for name, inner in schema["properties"].items():
                below = frozenset(path[1:] for path in reads if path and path[0] == name)
                if below:
                    fields[name] = [*([] if name in required else [_ABSENT]), *forms(inner, below)]
                elif name in required:
                    fields[name] = forms(inner, frozenset())[:1]
            combinations = product(*fields.values())
            return [{n: v for n, v in zip(fields, values, strict=True) if v is not _ABSENT} for values in combinations]
        case "object":
            values = forms(schema["additionalProperties"], frozenset([()]))
            return [{}, *({name: value} for name in ("name", RESERVED[0]) for value in values)]
        case "array":
            below = frozenset(path[1:] for path in reads if path and path[0] == "[]")
            items = forms(schema["items"], below)
            return [*([] if schema.get("minItems") else [[]]), *([item] for item in items)]
        case "boolean":
            return [False, True]
        case "integer" if "enum" not in schema:
            return list(dict.fromkeys(schema.get(key, 0) for key in ("minimum", "maximum")))
    if "enum" in schema:
        return list(schema["enum"])
    pattern = schema.get("pattern", "")
    example = next(text for text in EXAMPLES if re.search(pattern, text))
    known = RESERVED if () in reads else ()
    return [example, *(text for text in (*ZEROS, *known) if pattern and re.search(pattern, text))]


_ABSENT = object()


def as_cel(schema: Schema, value: Any) -> Any:
    """``value`` in CEL's types, which follow the schema."""
    match value:
        case bool() | str() | int():
            return json_to_cel(value)
        case list():
            return celtypes.ListType([as_cel(schema["items"], item) for item in value])
        case dict():
            known, other = schema.get("properties", {}), schema.get("additionalProperties", {})
            parts = {celtypes.StringType(name): as_cel(known.get(name, other), part) for name, part in value.items()}
            return celtypes.MapType(parts)
    raise TypeError(f"{value!r} is no JSON of a resource")


class _Estimate:
    """One walk through a rule: what it costs once, and which fields it reads."""

    def __init__(self, rule: Rule) -> None:
        self.reads: set[Path] = set()
        self.rule = rule
        tree = celpy.Environment().compile(rule.text)
        self.total, _, _ = self.walk(tree, {"self": (rule.schema, ())})

    def walk(self, node: Node, scope: Scope) -> tuple[int, Schema, Path | None]:
        """(cost, schema of the result, path below self); raises for what no server would take."""
        if isinstance(node, Token):
            raise TypeError(f"{node!r} in {self.rule.text!r} is not understood here")
        if node.data == "ident":
            schema, path = scope[str(node.children[0])]
            return 1, schema, path
        if node.data == "literal":
            return 0, {"type": "string", "maxLength": len(str(node.children[0]))}, None
        if node.data in ("member_dot", "member_index"):
            return self.member(node, scope)
        if node.data in ("member_dot_arg", "ident_arg"):
            return self.call(node, scope)
        if len(node.children) == 1:
            return self.walk(node.children[0], scope)
        walked = [self.walk(child, scope) for child in node.children if isinstance(child, Tree) and child.children]
        cost = 1 + sum(cost for cost, _, _ in walked)
        if node.data in ("relation_eq", "relation_ne", "relation_in") or any(
            isinstance(child, Tree) and child.data in ("relation_eq", "relation_ne", "relation_in")
            for child in node.children
        ):
            cost += max(size(schema, self.rule) for _, schema, _ in walked)
        return cost, walked[0][1] if len(walked) == 1 else {"type": "boolean"}, None

    def member(self, node: Tree[Token], scope: Scope, mark: Path = ()) -> tuple[int, Schema, Path | None]:
        cost, schema, path = self.walk(node.children[0], scope)
        if node.data == "member_index":
            index, _, _ = self.walk(node.children[1], scope)
            inner = schema.get("items") or schema["additionalProperties"]
            return cost + index + 1, inner, None if path is None else (*path, "[]")
        name = str(node.children[1])
        known = schema.get("properties", {})
        if name not in known:
            raise KeyError(f"{self.rule.text!r} at {self.rule.path} reads {name}, which is none of {sorted(known)}")
        below = None if path is None else (*path, name)
        if below:
            self.reads.add(below + mark)
        return cost + 1, known[name], below

    def call(self, node: Tree[Token], scope: Scope) -> tuple[int, Schema, Path | None]:
        target = node.children[0] if node.data == "member_dot_arg" else None
        name = str(node.children[0 if target is None else 1])
        last = node.children[-1]
        arguments = last.children if isinstance(last, Tree) and last.data == "exprlist" else []
        if name == "has":
            field = arguments[0]
            while isinstance(field, Tree) and field.data != "member_dot":
                (field,) = field.children
            assert isinstance(field, Tree)
            cost, _, _ = self.member(field, scope, mark=HAS)
            return cost, {"type": "boolean"}, None
        if name in MACROS:
            assert target is not None
            cost, schema, path = self.walk(target, scope)
            assert isinstance(arguments[0], Tree)
            (variable,) = (token for token in arguments[0].scan_values(lambda _: True))
            # The elements of a map, in a macro, are its keys.
            item = (
                (schema["items"], (*path, "[]") if path else None) if "items" in schema else ({"type": "string"}, None)
            )
            body, _, _ = self.walk(arguments[1], scope | {str(variable): item})
            return cost + length(schema, self.rule) * (body + 3), {"type": "boolean"}, None
        if name not in FUNCTIONS:
            raise TypeError(f"{self.rule.text!r} calls {name}, which the first servers with CEL may not know")
        walked = [self.walk(part, scope) for part in ([target] if target is not None else []) + list(arguments)]
        # How a text begins or ends takes no longer to see than what it is held against.
        compared = walked[-1:] if name in ("startsWith", "endsWith") else walked
        texts = [size(schema, self.rule) for _, schema, _ in compared] if name not in ("size", "int", "double") else [1]
        return sum(cost for cost, _, _ in walked) + max(texts) * (2 if name == "matches" else 1), {}, None


def length(schema: Schema, rule: Rule) -> int:
    """Elements of a list or map, at most."""
    for bound in ("maxItems", "maxProperties"):
        if bound in schema:
            return int(schema[bound])
    raise NoBoundError(f"{rule.text!r} at {rule.path} goes through something that has no maxItems or maxProperties")


def size(schema: Schema, rule: Rule) -> int:
    """Units for one comparison with such a value, at most. A character may be four bytes."""
    match schema.get("type"):
        case "array":
            return length(schema, rule) * size(schema["items"], rule)
        case "object":
            inner = schema.get("properties", {}).values()
            if "additionalProperties" in schema:
                return length(schema, rule) * size(schema["additionalProperties"], rule)
            return 1 + sum(size(field, rule) for field in inner)
        case "string" if "enum" not in schema:
            if "maxLength" not in schema:
                raise NoBoundError(f"{rule.text!r} at {rule.path} compares a text that has no maxLength")
            return 1 + int(schema["maxLength"]) * 4 // 10
    return 1
