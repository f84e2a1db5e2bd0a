"""The throwaway control plane: a real API with its controllers, several at once, restartable, nobody's admin."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tools.localcluster.errors import ClusterError, CommandFailedError
from tools.localcluster.kubectl import Kubectl
from tools.localcluster.native.control_plane import ControlPlane
from tools.localcluster.system.processes import stray_processes
from tools.localcluster.system.shell import wait_for

pytestmark = pytest.mark.api


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    with ControlPlane(tmp_path_factory.mktemp("plane")) as started:
        yield started


def test_its_controllers_work(plane: ControlPlane) -> None:
    plane.kubectl.create(_deployment("web", replicas=2))
    wait_for("the pods to be made", lambda: len(_pods(plane)) == 2, 30)
    plane.kubectl("delete", "deployment", "web")
    wait_for("the garbage collector to remove them", lambda: _pods(plane) == [], 30)


def test_a_service_account_may_do_what_its_role_says_and_no_more(plane: ControlPlane) -> None:
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "reader"}}
    subject = {"kind": "ServiceAccount", "name": "reader", "namespace": "default"}
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "reader", "namespace": "default"},
        "roleRef": role,
        "subjects": [subject],
    }
    plane.kubectl.create(account, binding)
    reader = Kubectl(plane.assets.kubectl, plane.service_account_kubeconfig("default", "reader"))
    wait_for("the role to be in force", lambda: reader("get", "pods", check=False).returncode == 0, 20)
    with pytest.raises(CommandFailedError, match=r"system:serviceaccount:default:reader.*cannot create"):
        reader("create", "configmap", "mine")


def test_a_token_for_an_unknown_service_account_is_refused(plane: ControlPlane) -> None:
    with pytest.raises(CommandFailedError, match="not found"):
        plane.service_account_kubeconfig("default", "nobody")


def test_custom_resources_are_served(plane: ControlPlane) -> None:
    plane.kubectl.create(_crd())
    wait_for(
        "the new kind to be served",
        lambda: plane.kubectl("get", "things.selftest.edge5g.io", check=False).returncode == 0,
        30,
    )
    thing = {"apiVersion": "selftest.edge5g.io/v1", "kind": "Thing", "metadata": {"name": "one"}, "spec": {"a": ""}}
    plane.kubectl.create(thing)
    assert plane.kubectl.json("get", "thing", "one")["spec"] == {"a": ""}


def test_a_node_is_as_ready_as_the_test_says(plane: ControlPlane) -> None:
    plane.kubectl.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "fake"}})
    assert plane.kubectl.json("get", "node", "fake")["spec"].get("taints", []) == []


def test_the_api_server_comes_back_with_its_data(plane: ControlPlane) -> None:
    plane.kubectl("create", "configmap", "kept")
    url = plane.url
    plane.stop_apiserver(grace=0)
    assert plane.kubectl("get", "configmap", "kept", check=False, timeout=30).returncode != 0
    plane.start_apiserver()
    assert plane.url == url
    plane.kubectl("get", "configmap", "kept")
    plane.restart_apiserver()
    plane.kubectl("delete", "configmap", "kept")


def test_another_runs_beside_it(plane: ControlPlane, tmp_path: Path) -> None:
    with ControlPlane(tmp_path) as other:
        assert other.url != plane.url
        other.kubectl("create", "namespace", "only-here")
        assert plane.kubectl("get", "namespace", "only-here", check=False).returncode != 0
    assert stray_processes(tmp_path) == []


def test_it_is_swept_away_when_its_test_run_was_killed(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path\n"
        "from tools.localcluster.native.control_plane import ControlPlane\n"
        "ControlPlane(Path(sys.argv[1])).start()\n"
        "os.kill(os.getpid(), 9)\n"
    )
    first, second = tmp_path / "first", tmp_path / "second"
    subprocess.run([sys.executable, "-c", code, str(first)], cwd=Path(__file__).parents[2], check=False)
    assert len(stray_processes(first)) == 3
    with ControlPlane(second):
        assert stray_processes(first) == []


def test_binaries_that_are_not_there_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "assets").mkdir()
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path / "assets"))
    with pytest.raises(ClusterError, match="lacks etcd, kube-apiserver, kube-controller-manager"):
        ControlPlane(tmp_path / "plane").start()


def test_binaries_of_another_folder_are_used(
    plane: ControlPlane, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "assets"
    folder.mkdir()
    for name in ("kube-apiserver", "kube-controller-manager"):
        (folder / name).symlink_to(plane.assets.path(name))
    (folder / "etcd").symlink_to(plane.assets.etcd)
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(folder))
    with ControlPlane(tmp_path / "plane") as other:
        assert other.assets.folder == folder
        shown = json.loads(other.kubectl("get", "--raw", "/version").stdout)
        assert shown["minor"].rstrip("+") == str(other.assets.minor)


def _pods(plane: ControlPlane) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = plane.kubectl.json("get", "pods", "-l", "app=web")["items"]
    return items


def _deployment(name: str, replicas: int) -> dict[str, Any]:
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": name, "image": "registry.test/none"}]},
            },
        },
    }


def _crd() -> dict[str, Any]:
    text = {"type": "object", "properties": {"a": {"type": "string"}}}
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": text}}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "things.selftest.edge5g.io"},
        "spec": {
            "group": "selftest.edge5g.io",
            "scope": "Namespaced",
            "names": {"kind": "Thing", "plural": "things", "singular": "thing"},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": schema}],
        },
    }
