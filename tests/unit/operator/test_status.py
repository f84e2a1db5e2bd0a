"""Bounds of the status, and who owns what."""

from datetime import timedelta

import pytest
from msgspec.structs import replace

from edgemodel_operator.api import Condition, ConditionStatus, ModelStatus, Status
from edgemodel_operator.api.exposure import Expose
from edgemodel_operator.api.spec import MAX_SITES
from edgemodel_operator.manifests.owned import is_owned
from edgemodel_operator.manifests.service import build_service
from edgemodel_operator.plan.policy.health import SiteHealth
from edgemodel_operator.plan.policy.placement import Site
from edgemodel_operator.plan.status.figures import is_news, site_statuses
from tests.unit.operator.builders import NOW, edge_model


def test_a_status_has_room_for_so_many_sites_and_so_many_words() -> None:
    """etcd takes no object over 1.5 MiB."""
    healths = [
        SiteHealth(Site(f"site-{n:04}", True), "Degraded", "ServerCrashing", "word " * 1000)
        for n in range(MAX_SITES + 100)
    ]
    found = site_statuses(edge_model().build(), healths, {}, {}, timedelta(seconds=15), NOW)
    assert [site.name for site in found] == [health.name for health in healths[:MAX_SITES]]
    assert {len(str(site.message)) for site in found} == {512}


def test_a_child_of_a_namesake_from_before_is_not_owned() -> None:
    service = build_service(edge_model(uid="before").build(), "site-a", Expose(), secure=False)
    assert is_owned(service, edge_model(uid="before").build())
    assert not is_owned(service, edge_model(uid="now").build())
    assert not is_owned({"metadata": {"name": "stray"}}, edge_model().build())


def condition(
    kind: str = "Ready", status: ConditionStatus = "False", reason: str = "RollingOut", **text: str
) -> Condition:
    return Condition(
        type=kind,
        status=status,
        reason=reason,
        message=text.get("message", "1 of 2 sites"),
        observed_generation=1,
        last_transition_time="2026-01-05T12:00:00Z",
    )


WRITTEN = Status(observed_generation=1, conditions=[condition()], ready_sites=0, replicas=1)


@pytest.mark.parametrize(
    "after",
    [
        replace(WRITTEN, observed_generation=2),
        replace(WRITTEN, conditions=[condition(reason="ImagePullFailed")]),
        replace(WRITTEN, conditions=[condition(status="True")]),
        replace(WRITTEN, conditions=[condition(), condition("Stalled")]),
        replace(WRITTEN, model=ModelStatus(image="a", task="t", source_digest="s", model_digest="m")),
    ],
)
def test_what_somebody_waits_for_is_news(after: Status) -> None:
    assert is_news(WRITTEN, after)
    assert is_news(Status(), after), "the first status"


def test_figures_sites_on_their_way_and_words_are_not() -> None:
    words = replace(WRITTEN, ready_sites=1, replicas=2, conditions=[condition(message="2 of 2 sites")])
    assert not is_news(WRITTEN, words)
    assert not is_news(WRITTEN, WRITTEN)
