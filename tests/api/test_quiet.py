"""While nothing changes nothing is written, and the operator's own pages say how it does."""

import pytest

from edgemodel_operator.kube.kinds import CHILD_KINDS
from tests.api.edge_model import Model
from tests.api.operator_process import OperatorProcess
from tests.api.waiting import eventually
from tests.api.world import World

pytestmark = [pytest.mark.api]


def test_nothing_is_written_while_nothing_changes_resync_included(world: World, operator: OperatorProcess) -> None:
    ready, failed, missing = world.create("ready"), world.create("failed"), world.create("missing")
    ready.bring_to_ready("site-a", "site-b")
    failed.fail_job("InvalidModel", "Not a model.")
    missing.edit({"placement": {"nodeSelector": {"test": world.namespace}}})
    missing.finish_job()
    for model, reason in ((ready, "Ready"), (failed, "InvalidModel"), (missing, "NoMatchingNodes")):
        model.wait_for("Ready", "True" if reason == "Ready" else "False", reason)
    operator.settle()
    writes, versions = operator.writes(), [_versions(model) for model in (ready, failed, missing)]
    operator.wait_for_resync()
    operator.wait_for_resync()
    assert operator.writes() == writes
    assert [_versions(model) for model in (ready, failed, missing)] == versions


def _versions(model: Model) -> dict[str, str]:
    objects = [model.read(), *(item for kind in CHILD_KINDS for item in model.children(kind))]
    return {item["metadata"]["uid"]: item["metadata"]["resourceVersion"] for item in objects}


def _reconciles(operator: OperatorProcess) -> float:
    return sum(operator.samples("edgemodel_operator_reconciles_total").values())


def test_health_and_metrics_are_served(world: World, operator: OperatorProcess) -> None:
    health = operator.page("/healthz")
    assert (health.status_code, health.text) == (200, "ok\n")
    before = _reconciles(operator)
    world.create().wait_for("Ready", "False", "Compressing")
    eventually("a reconcile to be counted", lambda: _reconciles(operator) > before)
    assert operator.samples("edgemodel_operator_queue_depth") == {"": 0}
    assert operator.samples("edgemodel_operator_models")[""] >= 1
    assert operator.samples("edgemodel_operator_reconcile_duration_seconds_count")[""] > 0
    assert operator.calls("patch") > 0
    assert operator.samples("process_resident_memory_bytes")[""] > 0
    page = operator.page("/metrics")
    assert page.headers["Content-Type"].startswith("text/plain")


def test_a_signal_ends_the_operator_in_good_order(operator: OperatorProcess) -> None:
    assert operator.stop() == 0
