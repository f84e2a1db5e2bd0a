"""Provider kind: the configuration and the command lines that it gives to kind and Docker."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tools.localcluster import kind
from tools.localcluster.config import ClusterConfig

FAKE = """#!/usr/bin/env python3
import json, os, sys
from pathlib import Path
here = Path(__file__).parent
call = [Path(sys.argv[0]).name, *sys.argv[1:]]
stdin = sys.stdin.read()
with (here / "calls").open("a") as log:
    log.write(json.dumps({"call": call, "stdin": stdin}) + "\\n")
off = (here / "off").read_text().split() if (here / "off").exists() else []
if call[:2] == ["docker", "inspect"]:
    name = call[-1]
    print(json.dumps({} if name in off else {"kind": {"IPAddress": "172.18.0.9"}}))
elif call[:3] == ["docker", "network", "disconnect"]:
    (here / "off").write_text(" ".join([*off, call[-1]]))
elif call[:3] == ["docker", "network", "connect"]:
    (here / "off").write_text(" ".join(name for name in off if name != call[-1]))
elif call[:2] == ["docker", "exec"] and "crictl" in call:
    print(4711)
elif call == ["kind", "version", "--quiet"]:
    print("0.33.0")
elif call[0] == "kubectl" and "/version" in call:
    print(json.dumps({"major": "1", "minor": "36"}))
elif call[0] == "kubectl" and "nodes" in call:
    print((here / "nodes.json").read_text())
"""


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """docker, kind and kubectl that write down how they are called."""
    for name in ("docker", "kind", "kubectl"):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(FAKE)
        program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    (tmp_path / "bin" / "nodes.json").write_text(json.dumps({"items": []}))
    monkeypatch.setattr(kind, "answers", lambda _url: True)
    return tmp_path / "bin"


def calls(tools: Path) -> list[list[str]]:
    return [json.loads(line)["call"] for line in (tools / "calls").read_text().splitlines()]


def ready(name: str, **labels: str) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "labels": labels},
        "spec": {},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    }


def test_kind_gets_a_worker_for_core_and_one_for_each_edge_node() -> None:
    template = Path(kind.__file__).with_name("kind.yaml").read_text()
    document = kind.cluster_document(template, ClusterConfig(sites=3, nodes_per_site=2), "0.33.0-alpha")
    assert document["apiVersion"] == "kind.x-k8s.io/v1alpha4"
    assert document["name"] == kind.NAME
    assert [node["role"] for node in document["nodes"]] == ["control-plane"] + ["worker"] * 7
    assert "containerdConfigPatches" not in document, "node images look into certs.d by themselves"
    older = kind.cluster_document(template, ClusterConfig(), "0.26.0")
    assert 'config_path = "/etc/containerd/certs.d"' in older["containerdConfigPatches"][0]


def test_kubeadms_arguments_have_the_form_of_each_of_its_versions() -> None:
    document = yaml.safe_load(Path(kind.__file__).with_name("kind.yaml").read_text())
    patches = {patch["apiVersion"]: patch for patch in map(yaml.safe_load, document["kubeadmConfigPatches"])}
    by_name = patches["kubeadm.k8s.io/v1beta3"]["controllerManager"]["extraArgs"]
    listed = patches["kubeadm.k8s.io/v1beta4"]["controllerManager"]["extraArgs"]
    assert {each["name"]: each["value"] for each in listed} == by_name
    assert patches["kubelet.config.k8s.io/v1beta1"]["nodeLeaseDurationSeconds"] == 16


def test_workers_are_named_in_the_order_in_which_kind_numbers_them() -> None:
    names = {name: spec.name for name, spec in kind.container_names(ClusterConfig()).items()}
    assert names == {"edgemodel-worker": "core", "edgemodel-worker2": "site-a", "edgemodel-worker3": "site-b"}


def test_the_registry_listens_on_loopback_alone_and_not_at_the_port_that_macos_holds() -> None:
    name = ClusterConfig(provider="kind").registry_name
    assert "--publish=127.0.0.1:5001:5000" in kind.run_registry_command(name)
    other = ClusterConfig(provider="kind", registry_port=5010).registry_name
    assert "--publish=127.0.0.1:5010:5000" in kind.run_registry_command(other)
    assert kind.registry_hosts() == '[host."http://edgemodel-registry:5000"]\n'


def test_up_creates_the_cluster_and_labels_its_nodes_afterwards(tools: Path, tmp_path: Path) -> None:
    from tools.localcluster.system.progress import Progress

    nodes = [ready(f"edgemodel-worker{number}") for number in ("", 2, 3)]
    (tools / "nodes.json").write_text(json.dumps({"items": nodes}))
    kind.KindCluster(ClusterConfig(provider="kind"), tmp_path).up(Progress())
    made = calls(tools)
    create = next(json.loads(line) for line in (tools / "calls").read_text().splitlines() if '"create"' in line)
    assert create["call"][:4] == ["kind", "create", "cluster", "--config=-"]
    assert yaml.safe_load(create["stdin"])["name"] == "edgemodel"
    labelled = [call for call in made if call[0] == "kubectl" and "label" in call]
    assert [call[4:] for call in labelled] == [
        ["edgemodel-worker2", "--overwrite", "node-role.kubernetes.io/edge=", "topology.kubernetes.io/zone=site-a"],
        ["edgemodel-worker3", "--overwrite", "node-role.kubernetes.io/edge=", "topology.kubernetes.io/zone=site-b"],
    ]
    hosts = [call for call in made if call[:2] == ["docker", "exec"] and "cp" in call]
    assert {call[-1] for call in hosts} == {"/etc/containerd/certs.d/127.0.0.1:5001/hosts.toml"}
    (told,) = (line for line in (tools / "calls").read_text().splitlines() if "local-registry-hosting" in line)
    assert "127.0.0.1:5001" in told


def test_a_node_image_of_another_kubernetes_can_be_named() -> None:
    path = Path("/state/kubeconfig")
    assert not any("--image" in part for part in kind.create_command(path, {}))
    assert "--image=kindest/node:v1.35.2" in kind.create_command(path, {"EDGEMODEL_KIND_IMAGE": "kindest/node:v1.35.2"})


def test_a_cut_site_gets_its_address_back(tools: Path, tmp_path: Path) -> None:
    cluster = kind.KindCluster(ClusterConfig(provider="kind"), tmp_path)
    cluster.cut("site-b")
    assert cluster.is_cut("site-b")
    assert not cluster.is_cut("site-a")
    cluster.restore("site-b")
    assert not cluster.is_cut("site-b")
    network = [call[2:] for call in calls(tools) if call[:2] == ["docker", "network"]]
    assert network == [
        ["disconnect", "kind", "edgemodel-worker3"],
        ["connect", "--ip", "172.18.0.9", "kind", "edgemodel-worker3"],
    ]


def test_nodes_and_containers_are_killed_from_outside(tools: Path, tmp_path: Path) -> None:
    cluster = kind.KindCluster(ClusterConfig(provider="kind"), tmp_path)
    cluster.kill_node("edgemodel-worker2")
    cluster.start_node("edgemodel-worker2")
    cluster.kill_container({"spec": {"nodeName": "edgemodel-worker"}}, "abc")
    made = calls(tools)
    assert made[:2] == [["docker", "kill", "edgemodel-worker2"], ["docker", "start", "edgemodel-worker2"]]
    assert made[-1] == ["docker", "exec", "edgemodel-worker", "kill", "-9", "4711"]


def test_down_deletes_the_cluster_and_the_registry(tools: Path, tmp_path: Path) -> None:
    from tools.localcluster.system.progress import Progress

    kind.KindCluster(ClusterConfig(provider="kind"), tmp_path).down(Progress())
    assert [call[:3] for call in calls(tools)] == [["kind", "delete", "cluster"], ["docker", "rm", "--force"]]


def test_sites_and_nodes_are_told_by_their_labels(tools: Path, tmp_path: Path) -> None:
    edge = {"node-role.kubernetes.io/edge": "", "topology.kubernetes.io/zone": "site-a"}
    control = ready("edgemodel-control-plane")
    control["spec"] = {"taints": [{"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}]}
    nodes = [control, ready("edgemodel-worker2", **edge), ready("edgemodel-worker")]
    (tools / "nodes.json").write_text(json.dumps({"items": nodes}))
    found = kind.KindCluster(ClusterConfig(provider="kind"), tmp_path).nodes()
    assert [(node.name, node.site) for node in found] == [("edgemodel-worker", ""), ("edgemodel-worker2", "site-a")]
