"""The definition's CEL rules, without a server: none is ever an error, none costs too much, each can be broken."""

from typing import Any

import pytest

from edgemodel_operator.api.crd import custom_resource_definition
from edgemodel_operator.plan.policy.validation import find_problem
from tests.unit.operator.builders import edge_model
from tests.unit.operator.cel_rules import NoBoundError, Rule, broken, defaulted, forms, rules_of
from tests.unit.operator.test_crd import ALL

(VERSION,) = custom_resource_definition()["spec"]["versions"]
ROOT = VERSION["schema"]["openAPIV3Schema"]
SPEC = ROOT["properties"]["spec"]
RULES = list(rules_of(ROOT))

COST_OF_ONE_RULE = 10_000_000
COST_OF_ALL = 100_000_000
"""The server's limits for a definition."""


def test_every_default_keeps_the_rules_as_it_is_written() -> None:
    """A server evaluates them on a default before it fills in the defaults inside, and refuses the definition."""
    defaults = [(path, schema) for path, schema in ALL if "default" in schema]
    assert [problem for path, schema in defaults for problem in broken(schema, schema["default"], path)] == []


def test_every_default_is_complete() -> None:
    """Whatever rule comes next may read what has a default."""
    defaults = [(path, schema) for path, schema in ALL if "default" in schema]
    partial = [path for path, schema in defaults if defaulted(schema, schema["default"]) != schema["default"]]
    assert partial == []


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.text)
def test_a_rule_is_evaluated_on_every_subset_of_the_fields_it_reads(rule: Rule) -> None:
    values = [defaulted(rule.schema, value) for value in forms(rule.schema, rule.reads())]
    outcomes = {rule.holds(value) for value in values}
    assert outcomes == {True, False}, "a rule that nothing breaks, or that everything breaks, says nothing"


def test_rules_stay_below_the_servers_limits() -> None:
    costs = {rule.text: rule.cost() for rule in RULES}
    assert costs, "no rule is found"
    assert max(costs.values()) <= COST_OF_ONE_RULE
    assert sum(costs.values()) <= COST_OF_ALL


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.text)
def test_the_operator_refuses_just_what_the_rules_refuse(rule: Rule) -> None:
    """Servers that know no CEL leave it to the operator."""
    (_, _, part, *inner) = rule.path.split(".")
    differ = []
    for value in forms(SPEC["properties"][part], frozenset((*inner, *path) for path in rule.reads())):
        model = edge_model().set(part, value)
        by_rules = broken(SPEC, defaulted(SPEC, model.raw()["spec"]))
        problem = find_problem(model.build())
        if bool(by_rules) != (problem is not None and problem.reason == "InvalidSpec"):
            differ.append((value, by_rules, problem))
    assert differ == []


class TestTheCheckItself:
    """It sees what a server would refuse."""

    def schema(self, rule: str, **fields: Any) -> dict[str, Any]:
        mode = {"type": "string", "maxLength": 8, "default": "Auto"}
        rules = [{"rule": rule, "message": "no"}]
        return {"type": "object", "properties": {"mode": mode, **fields}, "x-kubernetes-validations": rules}

    def test_a_default_that_lacks_what_a_rule_reads(self) -> None:
        (problem,) = broken(self.schema("self.mode != 'Manual'"), {}, "spec")
        assert "no such member in mapping: 'mode'" in problem

    def test_an_absent_field_that_does_not_matter(self) -> None:
        texts = {"a": {"type": "string"}}
        assert broken(self.schema("!has(self.a) || self.a != 'x'", **texts), {}) == []
        assert broken(self.schema("self.a == 'x' || true", **texts), {}) == []

    def test_a_field_that_does_not_exist(self) -> None:
        (rule,) = rules_of(self.schema("has(self.mood)"))
        with pytest.raises(KeyError, match="reads mood"):
            rule.reads()

    def test_a_list_without_a_bound(self) -> None:
        sites = {"sites": {"type": "array", "items": {"type": "string", "maxLength": 63}}}
        (rule,) = rules_of(self.schema("self.sites.all(s, s != 'x')", **sites))
        with pytest.raises(NoBoundError, match="maxItems"):
            rule.cost()

    def test_a_text_without_a_bound(self) -> None:
        sites = {"sites": {"type": "array", "maxItems": 5, "items": {"type": "string"}}}
        (rule,) = rules_of(self.schema("self.sites.all(s, s != 'x')", **sites))
        with pytest.raises(NoBoundError, match="maxLength"):
            rule.cost()

    def test_a_quadratic_rule_on_long_lists(self) -> None:
        sites = {"sites": {"type": "array", "maxItems": 5000, "items": {"type": "string", "maxLength": 63}}}
        (rule,) = rules_of(self.schema("self.sites.all(s, self.sites.exists_one(t, t == s))", **sites))
        assert rule.cost() > COST_OF_ONE_RULE

    def test_a_rule_in_each_element_of_a_list(self) -> None:
        inner = self.schema("self.mode != 'x'")
        ((once,), (often,)) = (
            list(rules_of(schema)) for schema in (inner, {"type": "array", "maxItems": 500, "items": inner})
        )
        assert often.cost() == 500 * once.cost()
        with pytest.raises(NoBoundError, match="no maxItems"):
            list(rules_of({"type": "array", "items": inner}))

    def test_a_function_of_later_servers(self) -> None:
        (rule,) = rules_of(self.schema("quantity(self.mode).isGreaterThan(quantity('1'))"))
        with pytest.raises(TypeError, match="may not know"):
            rule.cost()
