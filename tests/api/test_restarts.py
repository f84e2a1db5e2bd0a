"""Whatever dies and whenever: the next process finds its way from what it sees."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.api.client import Api
from tests.api.cutting_proxy import CuttingProxy
from tests.api.operator_process import OperatorProcess
from tests.api.waiting import eventually
from tests.api.world import World
from tools.localcluster.native.control_plane import ControlPlane
from tools.localcluster.native.pki import write_kubeconfig

pytestmark = [pytest.mark.api]


@contextmanager
def kept_alive(operator: OperatorProcess) -> Iterator[None]:
    """Starts the process again whenever it is dead, as its Deployment would."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            operator.launch()

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        operator.kill()


def test_progress_is_made_although_no_process_survives_its_first_write(
    world: World, plane: ControlPlane, operator: OperatorProcess
) -> None:
    operator.kill()
    token = json.loads(plane.service_account_kubeconfig("edgemodel-system", "edgemodel-operator").read_text())
    frail: list[OperatorProcess] = []
    proxy = CuttingProxy(plane, lambda: frail[0].kill())
    with proxy.listening() as url:
        kubeconfig = write_kubeconfig(
            plane.folder / "frail.kubeconfig", url, plane.authority.cert, token["users"][0]["user"]["token"]
        )
        settings = {"EDGEMODEL_NAMESPACES": json.dumps([world.namespace])}
        frail.append(OperatorProcess(kubeconfig, plane.folder / "frail.log", **settings))
        digits = world.create()
        digits.patience = 120
        with kept_alive(frail[0]):
            image = digits.bring_to_ready("site-a", "site-b")
    assert digits.image("site-a") == digits.image("site-b") == image
    kinds = {path.split("/")[-2] for path in proxy.writes} | {path.split("/")[-1] for path in proxy.writes}
    assert kinds >= {"configmaps", "jobs", "deployments", "services", "status"}, proxy.writes
    assert len(digits.children("Job")) == 1
    children = [write for write in proxy.writes if not write.endswith("/status")]
    assert len(children) == len(set(children)), f"a process wrote what the one before it had written: {children}"


def test_what_happens_while_the_operator_is_down_is_caught_up(
    world: World, operator: OperatorProcess, api: Api
) -> None:
    digits = world.create()
    digits.job_pod()
    operator.kill()
    image = digits.finish_job()
    operator.start()
    digits.wait_for_image("site-a", image)

    operator.kill()
    digits.serve("site-a")
    operator.start()
    digits.serve("site-b", image)
    digits.wait_for("Ready", "True")

    operator.kill()
    api.delete("Service", world.namespace, "digits-site-b")
    digits.edit({"serving": {"env": [{"name": "A", "value": "1"}]}})
    operator.start()
    for site in ("site-a", "site-b"):
        digits.serve(site, image)
    digits.wait_for("Ready", "True")
    digits.wait_for_children(2)
    assert len(digits.children("Job")) == 1, "a restart compressed anew"


def test_a_failed_version_is_not_tried_anew_by_a_restart(world: World, operator: OperatorProcess) -> None:
    digits = world.create()
    digits.fail_job("InvalidModel", "Not a model.")
    digits.wait_for("Ready", "False", "InvalidModel")
    before = digits.read()["metadata"]["resourceVersion"]
    operator.kill()
    operator.start()
    operator.settle()
    assert [job["metadata"]["labels"]["edge5g.io/attempt"] for job in digits.children("Job")] == ["1"]
    assert digits.read()["metadata"]["resourceVersion"] == before


def test_the_same_process_goes_on_after_the_api_server_restarted(
    world: World, plane: ControlPlane, api: Api, operator: OperatorProcess
) -> None:
    digits = world.create()
    image = digits.bring_to_ready("site-a", "site-b")
    pid = operator.pid
    plane.restart_apiserver()
    api.delete("Service", world.namespace, "digits-site-a")
    digits.wait_for_children(2)
    digits.edit({"serving": {"env": [{"name": "A", "value": "1"}]}})
    for site in ("site-a", "site-b"):
        digits.serve(site, image)
    digits.wait_for("Ready", "True")
    assert operator.alive
    assert operator.pid == pid


def test_an_operator_that_starts_before_the_api_server_waits_for_it(
    world: World, plane: ControlPlane, operator: OperatorProcess
) -> None:
    digits = world.create()
    digits.job_pod()
    operator.kill()
    plane.stop_apiserver()
    try:
        operator.launch()
        eventually("a word about it", lambda: "cannot read the cluster yet" in operator.log_tail(5), seconds=60)
    finally:
        plane.start_apiserver()
    digits.bring_to_ready("site-a", "site-b")
    assert operator.alive
