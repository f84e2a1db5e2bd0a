"""What the e2e tests say and ask: EdgeModels in a namespace of their own, on the whole local cluster."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx

from edgemodel_contract.serving import infer_path
from edgemodel_operator.api import Condition, EdgeModel, parse
from edgemodel_operator.manifests.deployment import deployment_name
from edgemodel_operator.manifests.names import serving_selector
from edgemodel_operator.manifests.service import SERVICE_PORT
from tests.e2e.digits import Digits
from tools.localcluster import Cluster

SMALL = {"requests": {"cpu": "20m", "memory": "64Mi"}, "limits": {"cpu": "1", "memory": "384Mi"}}
SMALL_JOB = {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"cpu": "2", "memory": "1Gi"}}


@dataclass(frozen=True)
class World:
    """A namespace on the cluster, and the artifacts in its registry."""

    cluster: Cluster
    namespace: str
    digits: Digits

    def uri(self, artifact: str) -> str:
        """Of an artifact that the fixtures pushed."""
        return f"oci://{self.cluster.registry.name}/{artifact}"

    def edge_model(self, name: str, **changes: Any) -> dict[str, Any]:
        """A good EdgeModel; ``changes`` replace whole parts of its spec."""
        spec: dict[str, Any] = {
            "model": {"uri": self.uri("e2e/digits:good")},
            "compression": {
                "dataset": {"uri": self.uri("e2e/digits-data:good")},
                "job": {"resources": SMALL_JOB},
            },
            "serving": {"resources": SMALL, "classNames": [str(digit) for digit in range(10)]},
        }
        return {
            "apiVersion": "edge5g.io/v1alpha1",
            "kind": "EdgeModel",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": spec | changes,
        }

    def apply(self, *models: dict[str, Any]) -> None:
        """As a user does."""
        self.cluster.kubectl(
            "apply", "-f", "-", input=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(models)})
        )

    def fetch(self, name: str) -> EdgeModel:
        """The EdgeModel as it is now."""
        return parse(self.cluster.kubectl.json("get", "edgemodel", name, "-n", self.namespace))

    def condition(self, name: str, kind: str) -> Condition | None:
        """The condition, if it speaks of the present generation."""
        model = self.fetch(name)
        for condition in model.status.conditions:
            if condition.type == kind and condition.observed_generation == model.metadata.generation:
                return condition
        return None

    def wait_ready(self, *names: str, seconds: float = 300) -> None:
        """``kubectl wait``, and if that is in vain, what the conditions say."""
        resources = [f"edgemodel/{name}" for name in names]
        for name in names:
            self.wait(
                f"{name} Ready",
                lambda name=name: self._is(name, "Ready"),  # type: ignore[misc]
                seconds,
                lambda name=name: self.condition(name, "Ready"),  # type: ignore[misc]
            )
        self.cluster.kubectl("wait", "--for=condition=Ready", "-n", self.namespace, "--timeout=60s", *resources)

    def wait_reason(self, name: str, reason: str, seconds: float = 240) -> Condition:
        """Until Ready is False for that reason."""
        found: list[Condition] = []

        def there() -> bool:
            condition = self.condition(name, "Ready")
            if condition is not None and condition.reason == reason:
                found.append(condition)
            return bool(found)

        self.wait(f"{name} to say {reason}", there, seconds, lambda: self.condition(name, "Ready"))
        return found[0]

    def wait(
        self, what: str, true: Callable[[], bool], seconds: float, last: Callable[[], object] = lambda: ""
    ) -> None:
        """Poll until ``true()``; an AssertionError names ``what`` and what was seen last."""
        deadline = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < deadline, f"waited {seconds:.0f} s for {what}; last: {last()}"
            time.sleep(0.5)

    def site_url(self, model: str, site: str) -> str:
        """Where this machine reaches the model's Service of that site."""
        name = deployment_name(self.fetch(model), site)
        return self.cluster.service_url(self.namespace, name, SERVICE_PORT)

    def served_image(self, model: str) -> str:
        """The image in the status."""
        status = self.fetch(model).status
        assert status.model is not None
        return status.model.image

    def running_images(self, model: str) -> dict[str, str]:
        """Pod name → digest that its container really runs, from the kubelet."""
        labels = ",".join(f"{key}={value}" for key, value in serving_selector(model).items())
        pods = self.cluster.kubectl.json("get", "pods", "-n", self.namespace, "-l", labels)["items"]
        return {
            pod["metadata"]["name"]: pod["status"]["containerStatuses"][0]["imageID"].rpartition("@")[2]
            for pod in pods
            if "deletionTimestamp" not in pod["metadata"]
            and any("running" in status["state"] for status in pod["status"].get("containerStatuses", []))
        }

    def accuracy(self, model: str, site: str, samples: int = 60) -> float:
        """Share of right answers over real requests, half as images, half as tensors."""
        url = self.site_url(model, site)
        with httpx.Client(base_url=url, timeout=30) as client, ThreadPoolExecutor(4) as pool:
            answers = list(pool.map(lambda index: self._ask(client, model, index), range(samples)))
        right = [answer == str(self.digits.labels[index]) for index, answer in enumerate(answers)]
        return sum(right) / samples

    def _ask(self, client: httpx.Client, model: str, index: int) -> str:
        if index % 2:
            answer = client.post("/predict", files={"image": ("scan.png", self.digits.png(index), "image/png")})
            answer.raise_for_status()
            return str(answer.json()["label"])
        scan = self.digits.scans[index]
        answer = client.post(
            infer_path(model),
            json={
                "inputs": [
                    {
                        "name": "image",
                        "shape": [1, *scan.shape],
                        "datatype": "FP32",
                        "data": scan.ravel().tolist(),
                    }
                ]
            },
        )
        answer.raise_for_status()
        scores = answer.json()["outputs"][0]["data"]
        return str(scores.index(max(scores)))

    def _is(self, name: str, kind: str) -> bool:
        condition = self.condition(name, kind)
        return condition is not None and condition.status == "True"
