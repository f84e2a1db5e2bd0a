"""The operator's own /metrics and /healthz, over a real socket."""

from collections.abc import AsyncIterator

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from edgemodel_operator.runtime.metrics import STUCK_SECONDS, Metrics


class Running:
    def __init__(self) -> None:
        self.depth = 0
        self.metrics = Metrics(lambda: self.depth)
        self.base = ""

    async def get(self, path: str) -> tuple[int, str]:
        async with aiohttp.ClientSession() as session, session.get(f"{self.base}{path}") as response:
            return response.status, await response.text()

    async def samples(self) -> dict[tuple[str, ...], float]:
        _, page = await self.get("/metrics")
        return {
            (sample.name, *(value for _, value in sorted(sample.labels.items(), reverse=True))): sample.value
            for family in text_string_to_metric_families(page)
            for sample in family.samples
        }


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    built = Running()
    runner = await built.metrics.serve(0)
    # "Any port" is another one for each address family.
    port = next(address[1] for address in runner.addresses if ":" not in address[0])
    built.base = f"http://127.0.0.1:{port}"
    yield built
    await runner.cleanup()


async def test_reconciles_calls_and_the_queue_are_counted(running: Running) -> None:
    running.metrics.reconciled(0.02, error=False, models=3)
    running.metrics.reconciled(0.02, error=True, models=4)
    running.metrics.api_call("patch", 200, 0.01)
    running.metrics.api_call("patch", 409, 0.01)
    running.metrics.api_call("get", 0, 30)
    running.depth = 7
    samples = await running.samples()
    assert samples["edgemodel_operator_reconciles_total", "success"] == 1
    assert samples["edgemodel_operator_reconciles_total", "error"] == 1
    assert samples["edgemodel_operator_reconcile_duration_seconds_count",] == 2
    assert samples["edgemodel_operator_api_requests_total", "patch", "200"] == 1
    assert samples["edgemodel_operator_api_requests_total", "patch", "409"] == 1
    assert samples["edgemodel_operator_api_requests_total", "get", "0"] == 1
    assert samples["edgemodel_operator_queue_depth",] == 7
    assert samples["edgemodel_operator_models",] == 4
    assert samples["process_resident_memory_bytes",] > 0


async def test_two_operators_in_one_process_do_not_share_figures(running: Running) -> None:
    Metrics(lambda: 0).reconciled(0.1, error=False, models=1)
    assert ("edgemodel_operator_reconciles_total", "success") not in await running.samples()


async def test_health_is_fine_while_work_is_done_or_there_is_none(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1000.0]
    monkeypatch.setattr("edgemodel_operator.runtime.metrics.time.monotonic", lambda: clock[0])
    running.metrics.reconciled(0.1, error=False, models=1)
    assert await running.get("/healthz") == (200, "ok\n")
    clock[0] += 10 * STUCK_SECONDS
    assert (await running.get("/healthz"))[0] == 200, "nothing waits"
    running.depth = 1
    assert (await running.get("/healthz"))[0] == 200, "it has only begun to wait"
    clock[0] += STUCK_SECONDS + 1
    status, text = await running.get("/healthz")
    assert status == 503
    assert "no reconcile finished" in text
    running.metrics.reconciled(0.1, error=True, models=1)
    assert (await running.get("/healthz"))[0] == 200, "a worker that fails is alive"


async def test_other_paths_are_not_found(running: Running) -> None:
    assert (await running.get("/"))[0] == 404
