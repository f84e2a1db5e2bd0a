"""What holds for every provider: the choice among them, what is refused, what is shown."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from tools.localcluster import existing, providers
from tools.localcluster.config import ClusterConfig
from tools.localcluster.errors import ClusterError, NotSupportedError
from tools.localcluster.handle import Cluster, labelled_nodes
from tools.localcluster.status import text
from tools.localcluster.system.paths import cache_dir, locked, state_dir
from tools.localcluster.system.progress import Progress, clock


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.delenv("EDGEMODEL_REGISTRY", raising=False)


def test_the_users_own_kubeconfig_comes_first() -> None:
    assert providers.choose({"KUBECONFIG": "/home/me/.kube/config"}, docker_and_kind=True) == "existing"


def test_the_kubeconfig_that_up_told_to_export_is_not_somebody_elses() -> None:
    own = {"KUBECONFIG": str(state_dir() / "kubeconfig")}
    assert providers.choose(own, docker_and_kind=False) == "native"


@pytest.mark.parametrize(("answers", "provider"), [(True, "kind"), (False, "native")])
def test_kind_is_taken_where_it_can_run(answers: bool, provider: str) -> None:
    assert providers.choose({}, docker_and_kind=answers) == provider


def test_without_a_cluster_load_says_how_to_get_one() -> None:
    with pytest.raises(ClusterError, match=r"python -m tools\.localcluster up"):
        providers.load()


def test_an_existing_cluster_is_not_harmed() -> None:
    cluster = Cluster(existing.ExistingCluster(ClusterConfig(provider="existing"), state_dir()))
    for deed in (cluster.registry.stop, cluster.registry.start):
        with pytest.raises(NotSupportedError, match="use provider native or kind"):
            deed()
    with pytest.raises(NotSupportedError, match="set EDGEMODEL_REGISTRY"):
        _ = cluster.registry.name
    driver = existing.ExistingCluster(ClusterConfig(provider="existing"), state_dir())
    for refused in (driver.cut, driver.restore, driver.kill_node, driver.start_node):
        with pytest.raises(NotSupportedError, match="on an existing cluster"):
            refused("site-a")


def test_an_existing_clusters_registry_may_lack_tls_and_have_another_address_in_pods(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    driver = existing.ExistingCluster(ClusterConfig(provider="existing"), state_dir())
    monkeypatch.setenv("EDGEMODEL_REGISTRY", "registry.example.com/team")
    assert driver.registry_name == "registry.example.com/team"
    assert driver.registry_pod_endpoint == driver.registry_host_endpoint == "https://registry.example.com/team"
    monkeypatch.setenv("EDGEMODEL_REGISTRY", "http://127.0.0.1:5000")
    monkeypatch.setenv("EDGEMODEL_REGISTRY_IN_PODS", "http://10.0.0.1:5000")
    assert driver.registry_name == "127.0.0.1:5000"
    assert driver.registry_host_endpoint == "http://127.0.0.1:5000"
    assert driver.registry_pod_endpoint == "http://10.0.0.1:5000"


def test_a_kubeconfig_may_be_a_list_of_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "bin" / "kubectl"
    program.parent.mkdir()
    node = '{"metadata": {"name": "n", "labels": {"node-role.kubernetes.io/edge": ""}}, "spec": {}}'
    program.write_text(
        f'#!/bin/sh\ncase "$*" in *nodes*) echo \'{{"items": [{node}]}}\';; *) echo "of $KUBECONFIG";; esac\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    monkeypatch.setenv("KUBECONFIG", "/a:/b")
    providers.up(ClusterConfig(provider="existing"), Progress(io.StringIO()))
    assert (state_dir() / "kubeconfig").read_text() == "of /a:/b\n"
    assert (state_dir() / "kubeconfig").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("port", [0, 65536, -1])
def test_a_registrys_port_is_one(port: int) -> None:
    with pytest.raises(ClusterError, match=f"--registry-port is {port}"):
        ClusterConfig(registry_port=port)


def test_an_existing_cluster_needs_a_kubeconfig() -> None:
    with pytest.raises(ClusterError, match="needs KUBECONFIG"):
        providers.up(ClusterConfig(provider="existing"), Progress(io.StringIO()))
    assert providers.recorded() is None


def test_an_edge_node_without_a_zone_is_of_the_site_default() -> None:
    node = {"metadata": {"name": "n", "labels": {"node-role.kubernetes.io/edge": ""}}, "spec": {}}
    (spec,) = labelled_nodes([node], "topology.kubernetes.io/zone")
    assert spec.site == "default"


def test_folders_follow_xdg_and_ignore_relative_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_dir() == tmp_path / "cache" / "edgemodel"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_dir() == Path.home() / ".cache" / "edgemodel"


def test_a_lock_that_is_held_is_named_when_waiting_ends() -> None:
    with locked("test"), pytest.raises(ClusterError, match=r"test\.lock"), locked("test", timeout=0):
        pass


@pytest.mark.parametrize(("seconds", "shown"), [(0.44, "0.4 s"), (12.3, "12 s"), (423.0, "7:03")])
def test_times_read_well(seconds: float, shown: str) -> None:
    assert clock(seconds) == shown


def test_each_step_ends_in_one_line_with_its_time() -> None:
    out = io.StringIO()
    progress = Progress(out)
    with progress.step("good") as step:
        step.note = "3 of 3"
    with pytest.raises(ValueError, match="oops"), progress.step("bad"):
        raise ValueError("oops")
    good, bad = out.getvalue().splitlines()
    assert good.startswith("  ✓ good (3 of 3) · ")
    assert bad.startswith("  ✗ bad · ")


def test_the_status_names_what_is_wrong() -> None:
    shown = text(
        {
            "provider": "native",
            "healthy": False,
            "problems": ["Site site-b is cut off."],
            "kubeconfig": "/state/kubeconfig",
            "registry": {"name": "127.0.0.1:5000", "hostEndpoint": "h", "podEndpoint": "p"},
            "nodes": [{"name": "site-b", "site": "site-b", "ready": False}],
            "processes": [{"name": "etcd", "alive": False, "pid": 7, "log": "/state/etcd.log"}],
        }
    )
    assert "native cluster: NOT healthy" in shown
    assert "! Site site-b is cut off." in shown
    assert "NotReady" in shown
    assert "dead" in shown
