"""The local cluster is real: pods by digest on each site, Services, cut links, power cuts, memory limits."""

from __future__ import annotations

import base64
import json
import re
import secrets
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tools import localcluster as cluster
from tools.localcluster.programs import packages
from tools.localcluster.system.progress import Progress
from tools.localcluster.system.shell import run, wait_for

pytestmark = pytest.mark.e2e

# A new one each time: Kubernetes 1.20 can take a minute to be done with a deleted namespace.
NAMESPACE = f"cluster-selftest-{secrets.token_hex(3)}"


@pytest.fixture(scope="module")
def here() -> cluster.Cluster:
    up = cluster.up()
    if up.provider == "existing":
        pytest.fail("These tests cut sites off and kill nodes: they need provider native or kind.")
    return up


@pytest.fixture(scope="module")
def image(here: cluster.Cluster, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A busybox, pushed to the registry; returns the reference by digest."""
    folder = tmp_path_factory.mktemp("busybox")
    name = f"{here.registry.name}/selftest/busybox:1"
    if here.provider == "kind":
        run("docker", "pull", "busybox:stable", timeout=120)
        run("docker", "tag", "busybox:stable", name)
        pushed = run("docker", "push", name).stdout
    else:
        packages.install(["busybox-static"], Progress(), folder / "packages.log")
        (folder / "busybox").write_bytes(Path("/bin/busybox").read_bytes())
        (folder / "Dockerfile").write_text("FROM scratch\nCOPY --chmod=755 busybox /bin/sh\n")
        run("buildah", "bud", "--isolation=chroot", "--timestamp=0", f"--tag={name}", str(folder), timeout=120)
        run("buildah", "push", "--tls-verify=false", f"--digestfile={folder / 'digest'}", name)
        pushed = (folder / "digest").read_text()
    digest = re.search(r"sha256:[0-9a-f]{64}", pushed)
    assert digest is not None
    return f"{name.rpartition(':')[0]}@{digest.group()}"


@pytest.fixture(scope="module")
def web(here: cluster.Cluster, image: str) -> Iterator[list[str]]:
    """A web server and its Service on every site's nodes and on core, each named after its node."""
    here.kubectl.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    names = [node.name for node in here.nodes]
    try:
        for name in names:
            here.kubectl.create(*_web(name, image), namespace=NAMESPACE)
        for name in names:
            here.kubectl("rollout", "status", f"deployment/{name}", "-n", NAMESPACE, "--timeout=120s")
        yield names
    finally:
        here.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def test_every_node_serves_what_the_registry_has_under_that_digest(
    here: cluster.Cluster, web: list[str], image: str
) -> None:
    pods = here.kubectl.json("get", "pods", "-n", NAMESPACE, "-l", "app")["items"]
    assert {pod["spec"]["nodeName"] for pod in pods} == {node.name for node in here.nodes}
    digest = image.rpartition("@")[2]
    assert {pod["status"]["containerStatuses"][0]["imageID"].rpartition("@")[2] for pod in pods} == {digest}
    for name in web:
        assert _get(here.service_url(NAMESPACE, name, 80)) == name


def test_pods_reach_services_and_pods_of_other_nodes(here: cluster.Cluster, web: list[str]) -> None:
    pods = here.kubectl.json("get", "pods", "-n", NAMESPACE, "-l", "app")["items"]
    addresses = {pod["metadata"]["labels"]["app"]: f"http://{pod['status']['podIP']}:8080" for pod in pods}
    for source in web:
        for name in web:
            for url in (_cluster_url(here, name), addresses[name]):
                assert _in_pod(here, source, f"wget -q -O- {url}/").strip() == name


def test_a_pod_reaches_the_registry(here: cluster.Cluster, web: list[str]) -> None:
    assert _in_pod(here, web[-1], f"wget -q -O- {here.registry.pod_endpoint}/v2/").strip() == "{}"


def test_logs_come_from_the_node(here: cluster.Cluster, web: list[str]) -> None:
    for name in web:
        assert here.kubectl("logs", f"deployment/{name}", "-n", NAMESPACE).stdout == f"serving {name}\n"


def test_a_pod_reaches_the_api_server_with_a_token_of_its_own(here: cluster.Cluster, web: list[str]) -> None:
    assert web
    folder = "/var/run/secrets/kubernetes.io/serviceaccount"
    token = _in_pod(here, web[-1], f"cat {folder}/token")
    # Bound to the pod and the audience, as on current servers, and not the everlasting one out of a Secret.
    payload = token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    assert claims["kubernetes.io"]["pod"]["name"] == _pod(here, web[-1])["metadata"]["name"]
    assert "BEGIN CERTIFICATE" in _in_pod(here, web[-1], f"cat {folder}/ca.crt")
    _in_pod(here, web[-1], "nc -w 5 $KUBERNETES_SERVICE_HOST $KUBERNETES_SERVICE_PORT < /dev/null")


def test_a_killed_container_is_started_again(here: cluster.Cluster, web: list[str]) -> None:
    name = web[0]
    before = _restarts(_pod(here, name))
    here.kill_pods(NAMESPACE, f"app={name}")
    wait_for("kubelet to start it again", lambda: _restarts(_pod(here, name)) == before + 1, 60)
    assert _pod(here, name)["status"]["containerStatuses"][0]["lastState"]["terminated"]["exitCode"] == 137
    wait_for("it to serve again", lambda: _reachable(here, name), 60)


def test_killing_what_does_not_run_says_so(here: cluster.Cluster) -> None:
    with pytest.raises(cluster.ClusterError, match="No pod with app=nobody runs in namespace default"):
        here.kill_pods("default", "app=nobody")


def test_a_port_can_be_forwarded(here: cluster.Cluster, web: list[str], tmp_path: Path) -> None:
    from tools.localcluster.forward import Forwards

    forwards = Forwards(here.kubectl, tmp_path)
    try:
        for name in web:
            assert _get(forwards.url(NAMESPACE, name, 80)) == name
    finally:
        forwards.stop()


def test_a_cut_site_is_not_ready_and_keeps_its_pods(here: cluster.Cluster, web: list[str]) -> None:
    site, other = here.site("site-b"), here.site("site-a")
    node, connected = site.nodes[0], other.nodes[0]
    assert {node.name, connected.name} <= set(web)
    before = _pod(here, node.name)
    site.cut()
    try:
        wait_for("the cut site's node to be NotReady", lambda: not node.ready, 90)
        assert not _reachable(here, node.name)
        assert any("site-b is cut off" in problem for problem in here.problems())
        assert connected.ready
        assert _reachable(here, connected.name)
    finally:
        site.restore()
    wait_for("the restored node to be Ready", lambda: node.ready, 90)
    wait_for("the restored site to serve", lambda: _reachable(here, node.name), 60)
    after = _pod(here, node.name)
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert _restarts(after) == _restarts(before)


def test_a_power_cut_ends_every_process_and_the_node_comes_back(here: cluster.Cluster, web: list[str]) -> None:
    node = here.site("site-a").nodes[0]
    assert node.name in web
    before = _restarts(_pod(here, node.name))
    node.kill()
    try:
        assert not _reachable(here, node.name)
        wait_for("the node without power to be NotReady", lambda: not node.ready, 90)
    finally:
        node.start()
    wait_for("the node to be Ready", lambda: node.ready, 90)
    wait_for("its container to be started again", lambda: _restarts(_pod(here, node.name)) > before, 60)
    wait_for("it to serve again", lambda: _reachable(here, node.name), 60)


def test_a_container_over_its_memory_limit_is_oom_killed(here: cluster.Cluster, web: list[str], image: str) -> None:
    assert web
    command = "x=0123456789abcdef; while true; do x=$x$x; done"
    here.kubectl.create(_pod_manifest("hungry", image, command, {"memory": "32Mi"}), namespace=NAMESPACE)
    status = _terminated(here, "hungry")
    assert status["reason"] == "OOMKilled"


def test_a_container_sees_its_cpu_quota(here: cluster.Cluster, web: list[str], image: str) -> None:
    assert web
    command = "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu.max 2>/dev/null; exit 0"
    here.kubectl.create(_pod_manifest("frugal", image, command, {"cpu": "500m"}), namespace=NAMESPACE)
    assert _terminated(here, "frugal")["exitCode"] == 0
    assert here.kubectl("logs", "frugal", "-n", NAMESPACE).stdout.split()[0] == "50000"


def test_too_large_a_pod_stays_pending(here: cluster.Cluster, web: list[str], image: str) -> None:
    assert web
    here.kubectl.create(_pod_manifest("large", image, "exit 0", {"cpu": "64"}), namespace=NAMESPACE)

    def unschedulable() -> bool:
        pod = here.kubectl.json("get", "pod", "large", "-n", NAMESPACE)
        conditions = pod["status"].get("conditions", [])
        return any(each.get("reason") == "Unschedulable" for each in conditions)

    wait_for("the pod to be called unschedulable", unschedulable, 30)


def test_a_stopped_registry_is_a_problem_until_it_is_started(here: cluster.Cluster) -> None:
    here.registry.stop()
    try:
        assert any("registry does not answer" in problem for problem in here.problems())
    finally:
        here.registry.start()
    assert not [problem for problem in here.problems() if "registry" in problem]


def test_an_unknown_site_is_named_with_those_there_are(here: cluster.Cluster) -> None:
    with pytest.raises(cluster.ClusterError, match="No site site-z; there are site-a"):
        here.site("site-z")


def _web(name: str, image: str) -> list[dict[str, Any]]:
    labels = {"app": name}
    command = f"echo serving {name}; mkdir -p /tmp; echo {name} > /tmp/index.html; exec httpd -f -p 8080 -h /tmp"
    container = {
        "name": "web",
        "image": image,
        "command": ["/bin/sh", "-c", command],
        "ports": [{"containerPort": 8080, "protocol": "TCP"}],
        "readinessProbe": {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1},
    }
    forever = [
        {"key": f"node.kubernetes.io/{taint}", "operator": "Exists", "effect": "NoExecute"}
        for taint in ("unreachable", "not-ready")
    ]
    spec = {
        "nodeSelector": {"kubernetes.io/hostname": name},
        "dnsPolicy": "Default",
        "tolerations": forever,
        "terminationGracePeriodSeconds": 1,
        "containers": [container],
    }
    return [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name},
            "spec": {
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": spec},
            },
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": name},
            "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": 8080, "protocol": "TCP"}]},
        },
    ]


def _pod_manifest(name: str, image: str, command: str, resources: dict[str, str]) -> dict[str, Any]:
    container = {
        "name": name,
        "image": image,
        "command": ["/bin/sh", "-c", command],
        "resources": {"limits": resources},
    }
    spec = {"dnsPolicy": "Default", "restartPolicy": "Never", "containers": [container]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def _pod(here: cluster.Cluster, app: str) -> dict[str, Any]:
    (pod,) = here.kubectl.json("get", "pods", "-n", NAMESPACE, "-l", f"app={app}")["items"]
    assert isinstance(pod, dict)
    return pod


def _restarts(pod: dict[str, Any]) -> int:
    return int(pod["status"]["containerStatuses"][0]["restartCount"])


def _terminated(here: cluster.Cluster, name: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = []

    def ended() -> bool:
        status = here.kubectl.json("get", "pod", name, "-n", NAMESPACE)["status"]
        found[:] = [each["state"].get("terminated") for each in status.get("containerStatuses", [])]
        return bool(found and found[0])

    wait_for(f"pod {name} to end", ended, 60)
    return found[0]


def _in_pod(here: cluster.Cluster, app: str, command: str) -> str:
    return here.kubectl("exec", f"deployment/{app}", "-n", NAMESPACE, "--", "/bin/sh", "-c", command).stdout


def _get(url: str) -> str:
    with urllib.request.urlopen(f"{url}/", timeout=5) as answer:
        return str(answer.read().decode().strip())


def _reachable(here: cluster.Cluster, service: str) -> bool:
    try:
        _get(here.service_url(NAMESPACE, service, 80))
    except (urllib.error.URLError, OSError, cluster.ClusterError):
        return False
    return True


def _cluster_url(here: cluster.Cluster, service: str) -> str:
    return f"http://{here.kubectl.json('get', 'service', service, '-n', NAMESPACE)['spec']['clusterIP']}"
