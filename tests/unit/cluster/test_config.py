"""What a cluster looks like: names, labels, addresses."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.localcluster.config import (
    HOST_ADDRESS,
    MAX_NODES,
    NODE_NETWORK,
    POD_NETWORK,
    SERVICE_NETWORK,
    ClusterConfig,
)
from tools.localcluster.errors import ClusterError


@st.composite
def configs(draw: st.DrawFn) -> ClusterConfig:
    sites = draw(st.integers(1, 26))
    return ClusterConfig(sites, draw(st.integers(1, (MAX_NODES - 1) // sites)))


def test_by_default_there_is_a_core_node_and_two_sites_of_one_node() -> None:
    core, first, second = ClusterConfig().nodes
    assert (core.name, core.site, core.labels) == ("core", "", {})
    assert (first.name, first.site) == ("site-a", "site-a")
    assert second.labels == {"node-role.kubernetes.io/edge": "", "topology.kubernetes.io/zone": "site-b"}


def test_the_nodes_of_a_larger_site_are_numbered() -> None:
    names = [node.name for node in ClusterConfig(sites=1, nodes_per_site=2).nodes]
    assert names == ["core", "site-a-1", "site-a-2"]


@given(configs())
def test_no_two_nodes_share_a_name_or_an_address(config: ClusterConfig) -> None:
    nodes = config.nodes
    assert len(nodes) == 1 + config.sites * config.nodes_per_site
    assert len({node.name for node in nodes}) == len(nodes)
    addresses = {ipaddress.ip_address(node.address) for node in nodes}
    assert len(addresses) == len(nodes)
    assert all(address in NODE_NETWORK and str(address) != HOST_ADDRESS for address in addresses)
    pods = [ipaddress.ip_network(node.pod_cidr) for node in nodes]
    assert len(set(pods)) == len(nodes)
    assert all(network.subnet_of(POD_NETWORK) for network in pods)  # type: ignore[arg-type]


def test_nodes_services_and_pods_have_networks_of_their_own() -> None:
    assert not NODE_NETWORK.overlaps(SERVICE_NETWORK)
    assert not NODE_NETWORK.overlaps(POD_NETWORK)
    assert not SERVICE_NETWORK.overlaps(POD_NETWORK)


@given(configs())
def test_a_configuration_is_read_as_it_was_written(config: ClusterConfig) -> None:
    assert ClusterConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize(("sites", "nodes"), [(0, 1), (27, 1), (1, 0), (2, 50), (26, 4)])
def test_too_few_or_too_many_are_refused(sites: int, nodes: int) -> None:
    with pytest.raises(ClusterError, match="a local cluster has"):
        ClusterConfig(sites, nodes)
