"""The program's gRPC port over its life: what is in flight when it ends is answered."""

import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import httpx
from grpc_health.v1 import health_pb2, health_pb2_grpc

from edgemodel_server.grpc import open_inference_pb2 as pb
from edgemodel_server.grpc.methods import SERVICE
from tests.unit.server.builders import countdown, mlp, write_folder
from tests.unit.server.test_process import DEADLINE, Running, failure, running, wait_until


def channel_of(server: Running) -> grpc.Channel:
    return grpc.insecure_channel(f"127.0.0.1:{server.ready['grpc_port']}")


def count(channel: grpc.Channel, turns: int) -> list[float]:
    infer = channel.unary_unary(
        f"/{SERVICE}/ModelInfer",
        request_serializer=pb.ModelInferRequest.SerializeToString,
        response_deserializer=pb.ModelInferResponse.FromString,
    )
    tensor = pb.ModelInferRequest.InferInputTensor(
        name="count", datatype="INT64", shape=[1], contents=pb.InferTensorContents(int64_contents=[turns])
    )
    response = infer(pb.ModelInferRequest(model_name="digits", inputs=[tensor]), timeout=DEADLINE)
    return list(response.outputs[0].contents.fp32_contents)


def status(channel: grpc.Channel) -> int:
    health: Any = health_pb2_grpc.HealthStub(channel)
    found: int = health.Check(health_pb2.HealthCheckRequest(service=SERVICE), timeout=DEADLINE).status
    return found


def test_while_draining_it_is_not_serving_but_answers(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, countdown())
    with running(folder, EDGEMODEL_DRAIN="1h") as server, channel_of(server) as channel:
        assert status(channel) == health_pb2.HealthCheckResponse.SERVING
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: status(channel) == health_pb2.HealthCheckResponse.NOT_SERVING)
        assert count(channel, 5) == [5]
        assert server.end() == 0


def test_calls_in_flight_at_the_end_are_answered(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, countdown())
    turns = 400_000
    with (
        running(folder, EDGEMODEL_DRAIN="0s") as server,
        channel_of(server) as channel,
        ThreadPoolExecutor(3) as pool,
    ):
        answers = [pool.submit(count, channel, turns) for _ in range(3)]
        wait_until(lambda: "edgemodel_requests_in_flight 3.0" in httpx.get(f"{server.url}/metrics").text)
        assert server.end() == 0
        assert [answer.result() for answer in answers] == [[turns]] * 3


def test_ports_can_be_off_and_a_taken_one_is_said(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, mlp())
    options = {"EDGEMODEL_GRPC_LISTEN": "off", "EDGEMODEL_ADMIN_LISTEN": "off", "EDGEMODEL_DRAIN": "0s"}
    with running(folder, **options) as server:
        assert server.ready["grpc_port"] is server.ready["admin_port"] is None
        taken = f"127.0.0.1:{server.ready['port']}"
        for name in ("EDGEMODEL_GRPC_LISTEN", "EDGEMODEL_ADMIN_LISTEN"):
            code, message = failure(folder, **{name: taken})
            assert code == 1
            assert f"cannot listen on {taken}" in message.splitlines()[-1]
        assert server.end() == 0


def test_a_folder_of_keys_that_is_not_there_is_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "model", mlp())
    code, message = failure(folder, EDGEMODEL_AUTH_DIR=str(tmp_path / "nothing"))
    assert code == 1
    assert "nothing" in message.splitlines()[-1]
