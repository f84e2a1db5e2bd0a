"""Traces of whole processes: what they send before they end, and across peers."""

import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests.unit.server.builders import mlp, write_folder
from tests.unit.server.collector import BODY, PARENT, TRACEPARENT, Collector
from tests.unit.server.test_infer import INFER
from tests.unit.server.test_process import running

pytestmark = pytest.mark.usefixtures("environ")


def test_a_process_sends_what_it_has_before_it_ends(tmp_path: Path, collector: Collector) -> None:
    folder = write_folder(tmp_path, mlp())
    # So that only the end of the process can be why they are sent.
    env = {"EDGEMODEL_DRAIN": "0s", "OTEL_BSP_SCHEDULE_DELAY": "3600000"}
    with running(folder, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=f"{collector.url}/own/path", **env) as server:
        for _ in range(3):
            assert httpx.post(f"{server.url}{INFER}", json=BODY).status_code == 200
        assert collector.spans == []
        assert server.end() == 0
    assert collector.paths == {"/own/path"}
    assert len(collector.requests) == 3
    assert len(collector.spans) == 12


def test_a_collector_that_hangs_does_not_hold_the_process(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, mlp())
    env = {"EDGEMODEL_DRAIN": "0s", "OTEL_EXPORTER_OTLP_TIMEOUT": "3600"}
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with running(folder, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, **env) as server:
            assert httpx.post(f"{server.url}{INFER}", json=BODY).status_code == 200
            assert server.end() == 0


def test_a_part_computed_by_a_peer_belongs_to_the_requests_trace(tmp_path: Path, collector: Collector) -> None:
    # Slow enough that its batches are shared.
    folder = write_folder(tmp_path, mlp(features=64, hidden=16384))
    array = np.random.default_rng(1).standard_normal((2048, 64)).astype(np.float32)
    tensor = {"name": "x", "shape": array.shape, "datatype": "FP32", "data": array.ravel().tolist()}
    env = {"EDGEMODEL_DRAIN": "0s", "EDGEMODEL_THREADS": "1", "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
    with running(folder, EDGEMODEL_LISTEN="127.0.0.2:0", **env) as peer:
        listens = f"127.0.0.1:{peer.ready['port']}"
        with running(folder, EDGEMODEL_LISTEN=listens, EDGEMODEL_PEERS="127.0.0.2", **env) as front:
            headers = {"traceparent": TRACEPARENT}
            answer = httpx.post(f"{front.url}{INFER}", json={"inputs": [tensor]}, headers=headers, timeout=60)
            assert answer.status_code == 200
            assert front.end() == 0
        assert peer.end() == 0
    [whole] = [span for span in collector.requests if span.parent_span_id.hex() == PARENT]
    [part] = [span for span in collector.requests if span.parent_span_id == whole.span_id]
    assert part.trace_id == whole.trace_id


def test_where_traces_are_off_nothing_of_them_is_imported() -> None:
    program = (
        "import sys, edgemodel_server.process, edgemodel_server.grpc.server;"
        "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], env={}, timeout=60, check=False)
    assert done.returncode == 0
