"""The controller as far as it needs no API server: any attempt to reach one would raise, for it is not started."""

import pytest

from edgemodel_operator.api import KIND
from edgemodel_operator.observed import Object
from edgemodel_operator.runtime.controller import Controller
from tests.unit.operator.builders import SETTINGS, edge_model, server_pod

KEY = ("default", "digits")


def versioned(raw: Object, version: int) -> Object:
    raw["metadata"]["resourceVersion"] = str(version)
    return raw


@pytest.fixture
async def controller() -> Controller:
    return Controller(SETTINGS)


async def test_events_mark_what_they_concern_once(controller: Controller) -> None:
    controller.notice(KIND, None, versioned(edge_model().raw(), 1))
    controller.notice("Pod", "ADDED", versioned(server_pod("site-a").raw(), 2))
    controller.notice("Pod", "MODIFIED", versioned(server_pod("site-a").ready().raw(), 3))
    assert len(controller.queue) == 1
    assert await controller.queue.get() == KEY


async def test_events_that_change_nothing_wake_nobody(controller: Controller) -> None:
    controller.notice(KIND, "MODIFIED", versioned(edge_model().raw(), 5))
    assert await controller.queue.get() == KEY
    controller.queue.done(KEY)
    controller.notice(KIND, "MODIFIED", versioned(edge_model().raw(), 5))
    controller.notice("Pod", "ADDED", versioned(server_pod("site-a", model="other").raw(), 6))
    assert len(controller.queue) == 0


async def test_a_model_that_is_gone_or_going_is_left_to_the_garbage_collector(controller: Controller) -> None:
    await controller.reconcile(KEY)
    going = versioned(edge_model().raw(), 1)
    going["metadata"]["deletionTimestamp"] = "2026-01-05T12:00:00Z"
    controller.notice(KIND, "MODIFIED", going)
    await controller.reconcile(KEY)
    controller.notice(KIND, "DELETED", versioned(edge_model().raw(), 2))
    await controller.reconcile(KEY)
    assert controller.store.models() == ()


async def test_a_model_that_is_there_is_acted_upon(controller: Controller) -> None:
    """The proof that the test before would notice."""
    controller.notice(KIND, "ADDED", versioned(edge_model().raw(), 1))
    with pytest.raises(RuntimeError, match="not started"):
        await controller.reconcile(KEY)


async def test_one_that_was_never_started_can_be_stopped(controller: Controller) -> None:
    await controller.stop()
