"""Nodes form sites."""

import pytest

from edgemodel_operator.kube.projection import node_from
from edgemodel_operator.observed import Node, Object
from edgemodel_operator.plan.policy.placement import Site, find_sites, missing_sites, off_edge
from tests.unit.operator.builders import ModelBuilder, edge_model, node


def raw_node(name: str, spec: Object) -> Node:
    return node_from({"metadata": {"name": name}, "spec": spec})


def sites(builder: ModelBuilder, *nodes: Node) -> tuple[Site, ...]:
    return find_sites(builder.spec().placement, nodes)


def names(builder: ModelBuilder, *nodes: Node) -> list[str]:
    return [site.name for site in sites(builder, *nodes)]


def test_every_zone_with_an_edge_node_is_a_site_in_the_order_of_names() -> None:
    nodes = [node("core", edge=False), node("n1", "west"), node("n2", "east"), node("n3", "west")]
    assert names(edge_model(), *nodes) == ["east", "west"]


def test_edge_nodes_without_the_site_label_form_the_site_default() -> None:
    assert sites(edge_model(), node("n1"), node("n2")) == (Site("default", connected=True),)


def test_an_empty_site_label_is_none() -> None:
    assert names(edge_model(), node("n1", "")) == ["default"]


def test_a_zone_called_default_and_nodes_without_a_zone_are_one_site() -> None:
    for nodes in ([node("n1"), node("n2", "default")], [node("n2", "default"), node("n1")]):
        assert sites(edge_model(), *nodes) == (Site("default", connected=True),)


def test_the_sites_that_are_named_come_in_that_order_each_once() -> None:
    builder = edge_model().set("placement.sites", ["west", "east", "west", "moon"])
    nodes = [node("n1", "east"), node("n2", "west"), node("n3", "north")]
    assert names(builder, *nodes) == ["west", "east"]
    assert missing_sites(builder.spec().placement, sites(builder, *nodes)) == ("moon",)


def test_an_empty_list_of_sites_means_all() -> None:
    builder = edge_model().set("placement.sites", [])
    assert names(builder, node("n1", "east"), node("n2", "west")) == ["east", "west"]
    assert missing_sites(builder.spec().placement, ()) == ()


def test_another_selector_and_another_site_label() -> None:
    builder = edge_model().set("placement", {"nodeSelector": {"gpu": "yes", "tier": "2"}, "siteLabel": "tower"})
    nodes = [
        node("n1", edge=False, gpu="yes", tier="2", tower="t1"),
        node("n2", edge=False, gpu="yes", tier="1", tower="t2"),
        node("n3", "zone", gpu="yes", tier="2"),
    ]
    assert names(builder, *nodes) == ["default", "t1"]


def test_a_site_is_connected_while_one_of_its_nodes_reports() -> None:
    down, up = node("n1", "east", ready=False), node("n2", "east")
    assert [site.connected for site in sites(edge_model(), down)] == [False]
    assert [site.connected for site in sites(edge_model(), down, up)] == [True]
    assert [site.connected for site in sites(edge_model(), up, down)] == [True]


def test_no_node_matches() -> None:
    assert sites(edge_model(), node("core", edge=False)) == ()


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ([], False),
        ([node("n1", "east")], False),
        ([node("n1", "east"), node("core", edge=False)], True),
        ([raw_node("core", spec={"unschedulable": True})], False),
        ([raw_node("control-plane", spec={"taints": [{"key": "control-plane", "effect": "NoSchedule"}]})], False),
        # Kubernetes lifts the taints of a node's own condition; the Job waits for that rather than go to the edge.
        ([raw_node("core", spec={"taints": [{"key": "node.kubernetes.io/not-ready", "effect": "NoExecute"}]})], True),
        ([raw_node("core", spec={"taints": [{"key": "a", "effect": "PreferNoSchedule"}]})], True),
    ],
)
def test_work_that_is_not_for_users_stays_off_the_edge_where_it_can(nodes: list[Node], expected: bool) -> None:
    assert off_edge(nodes) is expected
