"""What the native cluster writes for its programs, and how it reads the machine."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from tools.localcluster.config import ClusterConfig
from tools.localcluster.errors import ClusterError, CommandFailedError
from tools.localcluster.native import cgroups, pause_image
from tools.localcluster.native.network import overlapping, site_bridge, uplink
from tools.localcluster.native.node_config import PAUSE_IMAGE, cni, files, kubelet, nameservers
from tools.localcluster.programs import packages
from tools.localcluster.programs.assets import version_in
from tools.localcluster.programs.kubernetes_source import source_lists
from tools.localcluster.system.shell import run


def test_a_node_reaches_the_registry_by_the_name_that_images_carry() -> None:
    written = files(ClusterConfig().nodes[1], [], "127.0.0.1:5010", 20)
    assert 'config_path = "/run/node/certs.d"' in written["containerd.toml"]
    assert '[host."http://10.213.0.1:5010"]' in written["certs.d/127.0.0.1:5010/hosts.toml"]


def test_a_nodes_pods_live_in_its_own_network() -> None:
    first, second = (cni(node)["plugins"][0]["ipam"]["ranges"] for node in ClusterConfig().nodes[:2])
    assert first != second


def test_kubelet_never_evicts_for_the_developers_full_disk() -> None:
    settings = kubelet(ClusterConfig().nodes[0], 20)
    assert settings["evictionHard"]["nodefs.available"] == "0%"
    assert settings["evictionHard"]["imagefs.available"] == "0%"
    assert settings["imageGCHighThresholdPercent"] == 100


def test_a_kubelet_that_refuses_the_first_cgroups_is_told_to_take_them() -> None:
    node = ClusterConfig().nodes[0]
    assert kubelet(node, 36)["failCgroupV1"] is False
    assert "failCgroupV1" not in kubelet(node, 30)


def test_each_kubelet_has_control_groups_of_its_own() -> None:
    roots = {kubelet(node, 20)["cgroupRoot"] for node in ClusterConfig(sites=3).nodes}
    assert roots == {"/edgemodel/core", "/edgemodel/site-a", "/edgemodel/site-b", "/edgemodel/site-c"}


def test_name_servers_on_the_hosts_loopback_are_left_out() -> None:
    text = "# comment\nnameserver 127.0.0.53\nsearch lan\nnameserver 192.0.2.7\nnameserver ::1\nnameserver\n"
    assert nameservers(text) == ["192.0.2.7"]


def test_the_longest_link_names_fit_into_linux_15_characters() -> None:
    config = ClusterConfig(sites=26)
    assert all(len(name) <= 15 for name in (site_bridge(config, "site-z"), uplink(config, "site-z")))


def test_a_network_that_is_taken_is_named_and_ours_is_not_counted() -> None:
    routes = [
        {"dst": "default", "dev": "eth0"},
        {"dst": "10.213.0.0/24", "dev": "edgem-br0"},
        {"dst": "192.0.2.0/24", "dev": "eth0"},
        {"dst": "10.0.0.0/8", "dev": "tun0"},
        {"dst": "10.213.7.7", "dev": "tun1"},
        {"dst": "fe80::/64", "dev": "eth0"},
    ]
    assert overlapping(routes) == ["10.0.0.0/8 dev tun0", "10.213.7.7 dev tun1"]


def test_the_pause_image_is_an_archive_whose_digests_hold(tmp_path: Path) -> None:
    (tmp_path / "pause").write_bytes(b"static program")
    archive = pause_image.write(tmp_path / "pause", tmp_path / "pause.tar")
    with tarfile.open(archive) as opened:
        members = {member.name: opened.extractfile(member) for member in opened}
        content = {name: file.read() for name, file in members.items() if file is not None}
    for name, blob in content.items():
        if name.startswith("blobs/sha256/"):
            assert hashlib.sha256(blob).hexdigest() == name.removeprefix("blobs/sha256/")
    (entry,) = json.loads(content["index.json"])["manifests"]
    assert entry["annotations"] == {"io.containerd.image.name": PAUSE_IMAGE}
    manifest = json.loads(content[f"blobs/sha256/{entry['digest'].removeprefix('sha256:')}"])
    (layer,) = manifest["layers"]
    with tarfile.open(fileobj=io.BytesIO(content[f"blobs/sha256/{layer['digest'][7:]}"])) as opened:
        assert [(member.name, member.mode) for member in opened] == [("pause", 0o755)]


def test_source_packages_are_asked_for_in_both_of_apts_formats(tmp_path: Path) -> None:
    stanzas = tmp_path / "debian.sources"
    stanzas.write_text("Types: deb\nURIs: http://mirror.test/debian\nSuites: bookworm\nSigned-By: /k.gpg\n")
    lines = tmp_path / "more.list"
    lines.write_text("# a comment\ndeb [signed-by=/k.gpg] http://mirror.test/debian bookworm main\n")
    found = source_lists([stanzas, lines])
    assert found["debian.sources"].splitlines()[0] == "Types: deb-src"
    assert "Signed-By: /k.gpg" in found["debian.sources"]
    assert found["more.list"] == "deb-src [signed-by=/k.gpg] http://mirror.test/debian bookworm main\n"


@pytest.mark.parametrize(
    ("text", "version"), [("Kubernetes v1.20.2\n", "1.20.2"), ("Kubernetes v1.36.0-rc.1", "1.36.0")]
)
def test_the_servers_version_is_read(text: str, version: str) -> None:
    assert version_in(text) == version


def test_a_program_that_tells_no_version_is_refused() -> None:
    with pytest.raises(ClusterError, match="names no version"):
        version_in("hello")


def test_split_control_groups_are_each_a_hierarchy(tmp_path: Path) -> None:
    for name in ("memory", "cpu,cpuacct", "unified"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "cgroup.procs").touch()
    (tmp_path / "cpu").symlink_to("cpu,cpuacct")
    (tmp_path / "not-a-hierarchy").mkdir()
    assert [path.name for path in cgroups.hierarchies(tmp_path)] == ["cpu,cpuacct", "memory"]


def test_unified_control_groups_are_one_hierarchy(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").touch()
    (tmp_path / "system.slice").mkdir()
    assert cgroups.hierarchies(tmp_path) == [tmp_path]


def test_who_is_not_root_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr("sys.platform", "linux")
    with pytest.raises(ClusterError, match="with sudo, or start Docker"):
        packages.require_debian_root()


def test_who_is_not_on_linux_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "darwin")
    with pytest.raises(ClusterError, match="needs Linux"):
        packages.require_debian_root()


def test_who_is_not_on_debian_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr("shutil.which", lambda _name: None)
    with pytest.raises(ClusterError, match="finds no apt-get"):
        packages.require_debian_root()


def test_a_program_that_is_not_there_ends_as_in_a_shell() -> None:
    assert run("no-such-program-here", check=False).returncode == 127
    with pytest.raises(CommandFailedError, match="no-such-program-here: not found"):
        run("no-such-program-here")


def test_a_program_over_its_time_is_stopped() -> None:
    with pytest.raises(ClusterError, match="took longer than"):
        run("sleep", "60", timeout=0.05)
