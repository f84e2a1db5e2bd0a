"""The controller as far as it needs no API server: any attempt to reach one would raise, for it is not started."""

from datetime import datetime

import pytest

from edgemodel_operator.api import KIND, EdgeModel, Status
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


class ReachedError(Exception):
    """The cluster was asked to change something."""


class OneLook:
    """An API server that knows more than the cache: what it says when it is asked for the EdgeModel right now."""

    def __init__(self, alive: bool) -> None:
        self.alive = alive
        self.looks = 0

    async def is_alive(self, _: EdgeModel) -> bool:
        self.looks += 1
        return self.alive

    async def apply(self, _: Object, *, force: bool) -> Object:  # noqa: ARG002
        raise ReachedError

    async def apply_status(self, _: EdgeModel, status: Status) -> Object:
        return versioned(edge_model().status(status).raw(), 100)

    async def record_event(self, event: Object, now: datetime) -> None:
        pass


@pytest.mark.parametrize("alive", [True, False])
async def test_a_child_is_only_made_for_an_owner_that_is_alive_right_now(controller: Controller, alive: bool) -> None:
    """With ``--cascade=orphan`` the owner may be dying while the cache still shows it as it was."""
    api = OneLook(alive)
    controller._cluster = api  # type: ignore[assignment]
    controller.notice(KIND, "ADDED", versioned(edge_model().raw(), 1))
    if alive:
        with pytest.raises(ReachedError):
            await controller.reconcile(KEY)
    else:
        await controller.reconcile(KEY)
    assert api.looks == 1
