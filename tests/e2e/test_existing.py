"""Provider `existing`: the native cluster as somebody else's, known by its kubeconfig and nothing more."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from tests.e2e.digits import Digits
from tests.e2e.world import SMALL_JOB, World
from tools import localcluster as harness
from tools.localcluster import Cluster, ClusterError
from tools.localcluster.errors import NotSupportedError

pytestmark = [pytest.mark.e2e, pytest.mark.native]

NAMESPACE = "test-existing"


@pytest.fixture(scope="module")
def theirs(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A copy of the kubeconfig, a state folder of its own, and where the registry is; then it is let go of."""
    folder = tmp_path_factory.mktemp("existing")
    kubeconfig = folder / "theirs"
    shutil.copy2(cluster.kubeconfig, kubeconfig)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("KUBECONFIG", str(kubeconfig))
        environment.setenv("XDG_STATE_HOME", str(folder / "state"))
        environment.setenv("EDGEMODEL_REGISTRY", cluster.registry.host_endpoint)
        environment.setenv("EDGEMODEL_REGISTRY_IN_PODS", cluster.registry.pod_endpoint)
        yield harness.up()
        harness.down()
        with pytest.raises(ClusterError, match="No local cluster is up"):
            harness.load()
    assert cluster.problems() == [], "it is as it was"


def test_a_kubeconfig_of_somebody_elses_is_taken_and_its_sites_are_read(theirs: Cluster, cluster: Cluster) -> None:
    assert theirs.provider == "existing"
    assert theirs.problems() == []
    assert {site.name for site in theirs.sites} == {site.name for site in cluster.sites}
    assert theirs.registry.name == cluster.registry.name
    assert harness.load().provider == "existing", "a later command finds it again"


def test_a_model_is_served_there_and_asked_through_forwarded_ports(theirs: Cluster, digits: Digits) -> None:
    theirs.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--timeout=120s", timeout=150)
    theirs.kubectl("create", "namespace", NAMESPACE)
    world = World(theirs, NAMESPACE, digits)
    world.apply(world.edge_model("digits", compression={"mode": "None", "job": {"resources": SMALL_JOB}}))
    world.wait_ready("digits")
    for site in theirs.sites:
        assert world.site_url("digits", site.name).startswith("http://127.0.0.1:")
        assert world.accuracy("digits", site.name) > 0.8
    theirs.kubectl("delete", "namespace", NAMESPACE, "--timeout=120s", timeout=150)


def test_what_is_somebody_elses_is_not_broken(theirs: Cluster) -> None:
    with pytest.raises(NotSupportedError, match="does not cut site"):
        theirs.sites[0].cut()
    with pytest.raises(NotSupportedError, match="does not kill node"):
        theirs.core.kill()
