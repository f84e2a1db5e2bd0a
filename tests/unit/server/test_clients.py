"""Clients that nobody here wrote, unchanged, against the real program."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.server.builders import brighter_side, identity, write_folder
from tests.unit.server.test_predict import picture
from tests.unit.server.test_process import running


@pytest.mark.parametrize("clients", ["triton_clients", "kserve_client"])
def test_a_client_of_others(tmp_path: Path, clients: str) -> None:
    model = identity(["INT64", "FP32", "BYTES"], ["N"])
    folder = write_folder(tmp_path, model, labels=["zero", "one", "two"])
    with running(folder, EDGEMODEL_DRAIN="0s") as server:
        ports = [str(server.ready[port]) for port in ("port", "grpc_port")]
        done = subprocess.run(
            [sys.executable, "-m", f"tests.unit.server.{clients}", *ports],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert server.end() == 0


def curl(*arguments: str) -> str:
    return subprocess.run(["curl", "-sS", *arguments], capture_output=True, text=True, timeout=30, check=True).stdout


def test_curl(tmp_path: Path) -> None:
    (tmp_path / "seven.png").write_bytes(picture(bright="left"))
    folder = write_folder(tmp_path / "model", brighter_side(), labels=["left", "right", "neither"])
    body = {"inputs": [{"name": "image", "shape": [1, 1, 8, 8], "datatype": "FP32", "data": [1] * 64}]}
    with running(folder, EDGEMODEL_DRAIN="0s") as server:
        predict = f"{server.url}/predict"
        file = tmp_path / "seven.png"
        for arguments in (("-F", f"image=@{file}"), ("-H", "Content-Type: image/png", "--data-binary", f"@{file}")):
            assert json.loads(curl(*arguments, predict))["label"] == "left"
        infer = f"{server.url}/v2/models/digits/infer"
        json_type = ["-H", "Content-Type: application/json"]
        for options in ([], ["--compressed"], ["-H", "Expect: 100-continue"], ["--http1.0"], ["--http2"], json_type):
            answer = curl(*options, "-d", json.dumps(body), infer)
            assert json.loads(answer)["outputs"][0]["shape"] == [1, 3]
        admin = f"http://127.0.0.1:{server.ready['admin_port']}"
        assert json.loads(curl(f"{admin}/v2/health/ready")) == {"ready": True}
        assert "edgemodel_model_info" in curl(f"{admin}/metrics")
        assert "error" in json.loads(curl("-X", "POST", f"{admin}/predict"))
        assert server.end() == 0
