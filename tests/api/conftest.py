import itertools
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from tests.api.client import Api
from tests.api.operator_process import RESYNC_SECONDS, OperatorProcess
from tests.api.versions import Label, NoVersionError, Versions, binaries, here
from tests.api.world import EDGE_LABEL, ZONE_LABEL, World, make_node
from tools.localcluster.native.control_plane import ControlPlane

BASE = Path(__file__).parents[2] / "manifests" / "base"
SITES = ("site-a", "site-b")

_numbers = itertools.count(1)


_VERSIONS = pytest.StashKey[Versions]()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every test of a control plane runs on each version that is here."""
    if "plane" in metafunc.fixturenames:
        metafunc.parametrize("plane", _versions(metafunc.config).chosen, indirect=True, scope="session")


def pytest_sessionstart(session: pytest.Session) -> None:
    """A version that is asked for and not here is one error, not one for each file."""
    if session.config.getoption("--kubernetes") != "all":
        _versions(session.config)


def _versions(config: pytest.Config) -> Versions:
    if _VERSIONS not in config.stash:
        try:
            config.stash[_VERSIONS] = here(config.getoption("--kubernetes"))
        except NoVersionError as error:
            raise pytest.UsageError(str(error)) from None
    return config.stash[_VERSIONS]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """What ran on which version; a version that did not is not overlooked."""
    if _VERSIONS in config.stash:
        terminalreporter.section("tests/api by version", sep="-")
        for line, missing in config.stash[_VERSIONS].summary():
            terminalreporter.write_line(line, yellow=missing, bold=missing)


@pytest.fixture(scope="session")
def plane(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane with what an administrator installs, and two edge sites of one node each."""
    label: Label = request.param
    folder = tmp_path_factory.mktemp("control-plane")
    with ControlPlane(folder, assets=binaries(label)) as plane:
        request.config.stash[_VERSIONS].names[label] = plane.assets.version
        plane.kubectl.apply("-k", BASE)
        plane.kubectl("wait", "--for=condition=Established", "crd/edgemodels.edge5g.io", "--timeout=30s")
        yield plane


@pytest.fixture(scope="session")
def api(plane: ControlPlane) -> Iterator[Api]:
    """The administrator's client."""
    api = Api(plane)
    make_node(api, "core", {})
    for site in SITES:
        make_node(api, f"{site}-1", {EDGE_LABEL: "", ZONE_LABEL: site})
    yield api
    api.close()


@pytest.fixture(scope="session")
def shared_operator(plane: ControlPlane, api: Api) -> Iterator[OperatorProcess]:  # noqa: ARG001
    """One process for all tests, under the ServiceAccount of manifests/base and nobody else."""
    operator = OperatorProcess(
        plane.service_account_kubeconfig("edgemodel-system", "edgemodel-operator"),
        plane.folder / "operator.log",
        EDGEMODEL_RESYNC_INTERVAL=f"{RESYNC_SECONDS}s",
        EDGEMODEL_SCRAPE_INTERVAL="500ms",
        EDGEMODEL_LATENCY_WINDOW="2s",
    )
    yield operator
    operator.kill()


@pytest.fixture
def operator(shared_operator: OperatorProcess) -> OperatorProcess:
    """The operator, running: a test may kill it, the next one gets a new process."""
    if not shared_operator.alive:
        shared_operator.start()
    return shared_operator


@pytest.fixture
def world(plane: ControlPlane, api: Api) -> Iterator[World]:
    """A namespace of this test's own."""
    world = World(plane, api, f"test-{next(_numbers)}")
    yield world
    world.clear()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed test shows what the operator said last; each counts for its version."""
    report = yield
    label: Label | None = item.callspec.params.get("plane") if hasattr(item, "callspec") else None
    if label is not None and (report.when == "call" or report.outcome != "passed"):
        item.config.stash[_VERSIONS].outcomes[label][report.outcome] += 1
    operator = getattr(item, "funcargs", {}).get("shared_operator")
    if report.failed and isinstance(operator, OperatorProcess):
        report.sections.append(("operator log", operator.log_tail()))
    return report
