"""Bounds of the status, and who owns what."""

from datetime import timedelta

from edgemodel_operator.manifests.owned import is_owned
from edgemodel_operator.manifests.service import build_service
from edgemodel_operator.policy.health import SiteHealth
from edgemodel_operator.policy.placement import Site
from edgemodel_operator.status import MOST_SITES, site_statuses
from tests.unit.operator.builders import NOW, edge_model


def test_a_status_has_room_for_so_many_sites_and_so_many_words() -> None:
    """etcd takes no object over 1.5 MiB."""
    healths = [
        SiteHealth(Site(f"site-{n:04}", True, True), "Degraded", "ServerCrashing", "word " * 1000)
        for n in range(MOST_SITES + 100)
    ]
    found = site_statuses(edge_model().build(), healths, {}, timedelta(seconds=15), NOW)
    assert [site.name for site in found] == [health.name for health in healths[:MOST_SITES]]
    assert {len(str(site.message)) for site in found} == {512}


def test_a_child_of_a_namesake_from_before_is_not_owned() -> None:
    service = build_service(edge_model(uid="before").build(), "site-a", secure=False)
    assert is_owned(service, edge_model(uid="before").build())
    assert not is_owned(service, edge_model(uid="now").build())
    assert not is_owned({"metadata": {"name": "stray"}}, edge_model().build())
