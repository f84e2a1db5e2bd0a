"""What the demo prints and what it refuses to call a success."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import yaml

from edgemodel_operator.api import EdgeModel, parse
from tests.demo import report
from tests.demo.__main__ import check_accuracy
from tests.demo.install import write_overlay
from tests.demo.sample import MANIFESTS, HeldOutImage
from tests.demo.scaling import Moment, Scaled
from tests.demo.served import Endpoint, Served, infer_request, serve_all
from tools.localcluster import ClusterError

DIGEST = "sha256:" + "4f" * 32


def edge_model(**objectives: str) -> EdgeModel:
    measured: dict[str, Any] = {
        "sizeBytes": 44_694_429,
        "latencyP50": "1.8ms",
        "latencyP95": "2.1ms",
        "accuracy": "99.7%",
    }
    return parse(
        {
            "metadata": {"name": "digits", "namespace": "demo", "uid": "1"},
            "spec": {"model": {"uri": "oci://r/m:1"}, "compression": {"objectives": objectives}},
            "status": {
                "compression": {
                    "task": "t",
                    "original": measured,
                    "chosen": {
                        "method": "static-int8",
                        "measured": measured | {"sizeBytes": 11_282_607, "layerSizeBytes": 10_121_509, "samples": 300},
                    },
                },
                "sites": [
                    {"name": "site-a", "state": "Ready", "replicas": 1, "readyReplicas": 1, "image": f"r/m@{DIGEST}"}
                ],
            },
        }
    )


def answers(right: int, of: int = 600) -> list[Served]:
    return [Served("digits", "site-a", path, right, of, 0.0034) for path in ("/predict", "v2 infer")]


class TestReport:
    def test_columns_line_up(self) -> None:
        lines = report.table(("A", "LONGER"), [("cell", "x"), ("y", "z")]).splitlines()
        assert [line.index(word) for line, word in zip(lines, ("LONGER", "x", "z"), strict=True)] == [8, 8, 8]

    def test_before_and_after(self) -> None:
        text = report.compression([edge_model()])
        assert "44.7 → 11.3" in text
        assert "10.1" in text
        assert "99.7% → 99.7% (300)" in text

    def test_a_model_without_figures_is_not_reported_as_one_with(self) -> None:
        bare = parse({"metadata": {"name": "digits", "namespace": "demo", "uid": "1"}, "spec": {}})
        with pytest.raises(ValueError, match="has no figures"):
            report.compression([bare])

    def test_each_site_with_its_digest_and_both_paths(self) -> None:
        text = report.rollout([edge_model()], answers(599))
        assert "V2 INFER" in text
        assert f"site-a  {DIGEST[:19]}" in text
        assert text.count("99.8% · 3.4ms") == 2

    def test_replicas_over_time(self) -> None:
        moments = (Moment(0, 1, ""), Moment(9.4, 2, "84ms"), Moment(41, 1, "2ms"))
        lines = report.replicas(Scaled(moments, 20.0, 900)).splitlines()[1:]
        assert [line.split() for line in lines] == [
            ["0", "s", "█", "1", "–"],
            ["9", "s", "██", "2", "84ms"],
            ["41", "s", "█", "1", "2ms"],
        ]


class TestCheckAccuracy:
    def test_within_the_objective(self) -> None:
        check_accuracy([edge_model(maxAccuracyDrop="1%")], answers(594), 1.0)

    def test_a_few_images_below_it_may_be_chance(self) -> None:
        check_accuracy([edge_model(maxAccuracyDrop="1%")], answers(591), 1.0)

    def test_more_than_a_few_are_not(self) -> None:
        with pytest.raises(ClusterError, match=r"digits at site-a answers 97\.50% .* the objective is 99\.00%"):
            check_accuracy([edge_model(maxAccuracyDrop="1%")], answers(585), 1.0)

    def test_without_an_objective_nothing_is_promised(self) -> None:
        check_accuracy([edge_model()], answers(1), 1.0)


class TestOverlay:
    def overlay(self, folder: Path, **settings: str) -> dict[str, Any]:
        images = {"operator": f"127.0.0.1:5000/edgemodel/operator@{DIGEST}"}
        write_overlay(folder, images, settings)
        return {path.name: json.loads(path.read_text()) for path in folder.iterdir()}

    def test_names_the_base_by_a_relative_path_and_the_image_by_digest(self, tmp_path: Path) -> None:
        kustomization = self.overlay(tmp_path / "demo")["kustomization.yaml"]
        base = (tmp_path / "demo" / kustomization["resources"][0]).resolve()
        assert (base / "kustomization.yaml").is_file()
        assert kustomization["images"] == [
            {"name": "edgemodel-operator", "newName": "127.0.0.1:5000/edgemodel/operator", "digest": DIGEST}
        ]

    def test_for_an_old_kubectl_it_holds_all_the_files_itself(self, tmp_path: Path) -> None:
        images = {"operator": f"127.0.0.1:5000/edgemodel/operator@{DIGEST}"}
        write_overlay(tmp_path / "demo", images, {"EDGEMODEL_WORKERS": "1"}, old_kustomize=True)
        kustomization = json.loads((tmp_path / "demo/kustomization.yaml").read_text())
        files = [tmp_path / "demo" / name for name in kustomization["resources"]]
        kinds = {document["kind"] for file in files for document in yaml.safe_load_all(file.read_text())}
        assert {"CustomResourceDefinition", "Namespace", "Deployment", "ConfigMap", "ClusterRole"} <= kinds
        assert all((tmp_path / "demo" / name).is_file() for name in kustomization["patchesStrategicMerge"])

    def test_other_settings_restart_the_operator(self, tmp_path: Path) -> None:
        def annotations(value: str) -> dict[str, str]:
            patch = self.overlay(tmp_path, EDGEMODEL_WORKERS=value)["deployment.json"]
            found: dict[str, str] = patch["spec"]["template"]["metadata"]["annotations"]
            return found

        assert annotations("1") == annotations("1")
        assert annotations("1") != annotations("2")


class TestRequests:
    def test_a_batch_carries_every_pixel_in_order(self) -> None:
        images = [HeldOutImage(Path(), "0", np.full((1, 32, 32), value, np.float32)) for value in (0.25, 0.5)]
        (tensor,) = infer_request(images)["inputs"]
        assert tensor["shape"] == [2, 1, 32, 32]
        assert tensor["data"] == [0.25] * 1024 + [0.5] * 1024


@pytest.mark.parametrize("name", ["digits", "digits-pruned"])
def test_samples_are_valid(name: str) -> None:
    raw = yaml.safe_load((MANIFESTS / f"{name}.yaml").read_text())
    raw["metadata"] |= {"namespace": "demo", "uid": "1"}
    model = parse(raw)
    assert model.spec_error is None
    assert raw["metadata"]["name"] == name


class Server:
    """Answers both paths as the inference server does; reads every image as the digit `label`."""

    def __init__(self, label: int) -> None:
        self.label = label

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/predict":
            assert b"image/png" in request.content
            return httpx.Response(200, json={"label": str(self.label), "probability": 0.9})
        assert request.url.path == "/v2/models/digits/infer"
        values = [float(number == self.label) for number in range(10)]
        return httpx.Response(200, json={"outputs": [{"name": "logits", "data": values}]})


class TestServed:
    @pytest.fixture
    def images(self, tmp_path: Path) -> list[HeldOutImage]:
        (tmp_path / "image.png").write_bytes(b"\x89PNG")
        pixels = np.zeros((1, 32, 32), np.float32)
        return [HeldOutImage(tmp_path / "image.png", label, pixels) for label in "3335"]

    def install(self, monkeypatch: pytest.MonkeyPatch, answer: Callable[[httpx.Request], httpx.Response]) -> None:
        monkeypatch.setattr(httpx, "AsyncHTTPTransport", lambda **_: httpx.MockTransport(answer))

    async def test_counts_right_answers_per_site_and_path(
        self, images: list[HeldOutImage], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.install(monkeypatch, Server(3))
        endpoints = [Endpoint("digits", site, f"http://{site}") for site in ("site-a", "site-b")]
        results = await serve_all(endpoints, images)
        assert [(each.site, each.path, each.right, each.images) for each in results] == [
            ("site-a", "/predict", 3, 4),
            ("site-a", "v2 infer", 3, 4),
            ("site-b", "/predict", 3, 4),
            ("site-b", "v2 infer", 3, 4),
        ]

    async def test_an_error_answer_stops_it_with_a_sentence(
        self, images: list[HeldOutImage], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.install(monkeypatch, lambda _: httpx.Response(503))
        with pytest.raises(ClusterError, match=r"digits at site-a .* did not answer /predict with a prediction"):
            await serve_all([Endpoint("digits", "site-a", "http://site-a")], images)
