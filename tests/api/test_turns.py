"""Two operators take turns by a Lease: one works, the other one waits, and no write is ever made by both."""

import json
import signal
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.api.client import Api
from tests.api.cutting_proxy import CuttingProxy
from tests.api.operator_process import OperatorProcess
from tests.api.waiting import eventually, steady
from tests.api.world import World
from tools.localcluster.native.control_plane import ControlPlane
from tools.localcluster.native.pki import write_kubeconfig

pytestmark = [pytest.mark.api]

SECONDS = 90
"""A takeover takes 20 at most; this machine may have other things to do."""


class Pair:
    """Two operators as two pods. What the first one writes goes through a proxy, which may stop it right then."""

    def __init__(self, plane: ControlPlane, stack: ExitStack) -> None:
        ours = plane.service_account_kubeconfig("edgemodel-system", "edgemodel-operator")
        token = json.loads(ours.read_text())["users"][0]["user"]["token"]
        self.stops_at_next_write = False
        self.proxy = CuttingProxy(plane, self._cut, answers=True)
        url = stack.enter_context(self.proxy.listening())
        through = write_kubeconfig(plane.folder / "first.kubeconfig", url, plane.authority.cert, token)
        self.first = OperatorProcess(through, plane.folder / "first.log", EDGEMODEL_IDENTITY="first")
        self.second = OperatorProcess(ours, plane.folder / "second.log", EDGEMODEL_IDENTITY="second")
        for process in (self.first, self.second):
            stack.callback(process.kill)

    def _cut(self) -> None:
        if self.stops_at_next_write:
            self.stops_at_next_write = False
            self.first.signal(signal.SIGSTOP)


@pytest.fixture
def pair(plane: ControlPlane, api: Api, shared_operator: OperatorProcess) -> Iterator[Pair]:
    """The first one works, the second one waits."""
    if shared_operator.alive:
        shared_operator.stop()
    # What a killed process left is waited for in another test.
    api.delete("Lease", "edgemodel-system", "edgemodel-operator")
    for log in ("first.log", "second.log"):
        (plane.folder / log).unlink(missing_ok=True)
    with ExitStack() as stack:
        pair = Pair(plane, stack)
        pair.first.start()
        pair.second.launch()
        pair.second.wait_until_it_waits()
        yield pair
    api.delete("Lease", "edgemodel-system", "edgemodel-operator")


def test_while_both_are_there_one_writes_and_each_event_is_told_once(world: World, pair: Pair) -> None:
    digits = world.create()
    digits.bring_to_ready("site-a", "site-b")
    assert pair.second.writes() == 0
    assert pair.second.page("/healthz").status_code == 200, "waiting is no failure"
    told = [event["reason"] for event in digits.events()]
    assert len(told) == len(set(told)), told


def test_one_that_ends_gives_the_lease_back(world: World, api: Api, pair: Pair) -> None:
    digits = world.create()
    digits.job_pod()
    assert pair.first.stop() == 0
    lease = api.get("Lease", "edgemodel-system", "edgemodel-operator")
    assert lease is not None
    assert lease["spec"]["holderIdentity"] in ("", "second"), "nobody has to wait for it to expire"
    eventually("the second one to work", lambda: pair.second.leads, seconds=SECONDS)
    digits.bring_to_ready("site-a", "site-b")


def test_one_that_is_killed_is_replaced(world: World, api: Api, pair: Pair) -> None:
    digits = world.create()
    digits.job_pod()
    pair.first.kill()
    digits.patience = SECONDS
    digits.bring_to_ready("site-a", "site-b")
    lease = api.get("Lease", "edgemodel-system", "edgemodel-operator")
    assert lease is not None
    assert lease["spec"]["holderIdentity"] == "second"
    pair.first.launch()
    eventually("the first one to wait", lambda: "second holds the Lease; first waits" in pair.first.log.read_text())
    assert pair.second.leads


def test_one_that_was_stopped_in_the_middle_of_its_writes_does_not_go_on_with_them(world: World, pair: Pair) -> None:
    pair.stops_at_next_write = True
    digits = world.create()
    eventually("the first one to be stopped", lambda: not pair.stops_at_next_write)
    written = list(pair.proxy.writes)
    digits.patience = SECONDS
    digits.bring_to_ready("site-a", "site-b")
    assert pair.second.leads
    pair.first.signal(signal.SIGCONT)
    eventually("the first one to wait", lambda: "second holds the Lease; first waits" in pair.first.log.read_text())
    digits.edit({"serving": {"env": [{"name": "A", "value": "1"}]}})
    digits.serve("site-a")
    digits.serve("site-b")
    steady("what the first one has written", lambda: list(pair.proxy.writes), seconds=1)
    assert pair.proxy.writes == written
    assert not pair.first.leads
    pair.second.kill()
    eventually("the first one to work again", lambda: pair.first.leads, seconds=SECONDS)
    digits.wait_for("Ready", "True")
