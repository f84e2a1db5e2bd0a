"""From objects of the API server to the structs that decisions read."""

import pytest

from edgemodel_operator.api.labels import ATTEMPT_LABEL, SITE_LABEL, TASK_LABEL
from edgemodel_operator.kube.kinds import CHILD_KINDS
from edgemodel_operator.kube.projection import child_from
from edgemodel_operator.observed import Child, Deployment, Job, Observed, Service
from tests.unit.operator.builders import NOW, as_deployment, as_job, deployment_status, finished, job


@pytest.mark.parametrize("kind", CHILD_KINDS)
def test_every_kind_of_child_is_projected_from_its_name_alone(kind: str) -> None:
    child = child_from(kind, {"metadata": {"name": "digits-site-a"}})
    assert (child.name, child.site, child.task, child.applied_hash) == ("digits-site-a", "", "", None)
    assert type(child).__name__ in (kind, Child.__name__)


def test_children_are_found_by_their_type() -> None:
    children = {kind: {"one": child_from(kind, {"metadata": {"name": "one"}})} for kind in CHILD_KINDS}
    observed = Observed(children=children)
    assert isinstance(observed.deployments["one"], Deployment)
    assert isinstance(observed.jobs["one"], Job)
    assert isinstance(observed.services["one"], Service)


def test_labels_say_what_a_child_is_for() -> None:
    labels = {SITE_LABEL: "site-a", TASK_LABEL: "abc"}
    child = child_from("ConfigMap", {"metadata": {"name": "one", "labels": labels}})
    assert (child.site, child.task) == ("site-a", "abc")


@pytest.mark.parametrize(("seen", "current"), [(3, True), (2, False)])
def test_a_deployment_is_current_once_its_controller_has_seen_the_last_change(seen: int, current: bool) -> None:
    status = deployment_status(wanted=2, generation=seen, updated=1, available=1, total=3)
    found = as_deployment({"metadata": {"name": "one", "generation": 3}, "spec": {"replicas": 2}, "status": status})
    assert found.current is current
    assert (found.replicas, found.total, found.updated, found.ready, found.available) == (2, 3, 1, 1, 1)
    progress = found.condition("Progressing")
    assert progress is not None
    assert progress.updated_at == NOW


def test_a_job_ends_by_a_condition_that_holds() -> None:
    running = job("compress-1", "abc", attempt=3)
    assert (as_job(running).attempt, as_job(running).end) == (3, None)
    end = as_job(finished(running, "Failed", "DeadlineExceeded")).end
    assert end is not None
    assert (end.type, end.reason, end.changed_at) == ("Failed", "DeadlineExceeded", NOW)
    suspended = running | {"status": {"conditions": [{"type": "Suspended", "status": "True"}]}}
    assert as_job(suspended).end is None


@pytest.mark.parametrize("spoilt", ["", "first", "-1"])
def test_a_job_whose_attempt_somebody_spoilt_is_the_first(spoilt: str) -> None:
    labels = {ATTEMPT_LABEL: spoilt}
    assert as_job({"metadata": {"name": "one", "labels": labels}}).attempt == 1
