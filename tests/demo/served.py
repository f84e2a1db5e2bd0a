"""Sends every held-out image through a site's Service, in both ways a client can, and counts the right answers."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from edgemodel_contract.serving import infer_path
from tools.localcluster import ClusterError

from .sample import HeldOutImage

# Per site: as many as keep it busy without making it ask for replicas.
CONCURRENCY = 2
_TIMEOUT = 30.0
_ATTEMPTS = 3

Ask = Callable[[httpx.AsyncClient, HeldOutImage], Awaitable[str]]


@dataclass(frozen=True)
class Served:
    """What a site answered on one path."""

    model: str
    site: str
    path: str
    right: int
    images: int
    median: float
    """Seconds a client waited for one answer, the median."""

    @property
    def accuracy(self) -> float:
        """Share of right answers."""
        return self.right / self.images


@dataclass(frozen=True)
class Endpoint:
    """One model at one site."""

    model: str
    site: str
    url: str


async def serve_all(endpoints: Sequence[Endpoint], images: Sequence[HeldOutImage]) -> list[Served]:
    """Every image to every endpoint by both paths: the sites at the same time, the models of a site in turn.

    Raises:
        ClusterError: an endpoint does not answer, or not with a prediction.
    """

    async def serve_site(site: str) -> list[Served]:
        own = [each for each in endpoints if each.site == site]
        return [result for endpoint in own for result in await _serve(endpoint, images)]

    sites = dict.fromkeys(each.site for each in endpoints)
    return [result for results in await asyncio.gather(*map(serve_site, sites)) for result in results]


async def _serve(endpoint: Endpoint, images: Sequence[HeldOutImage]) -> list[Served]:
    # A connection that kube-proxy could not complete is tried again; an answer, whatever it says, never is.
    transport = httpx.AsyncHTTPTransport(retries=_ATTEMPTS)
    async with httpx.AsyncClient(base_url=endpoint.url, timeout=_TIMEOUT, transport=transport) as client:
        return [
            await _run(endpoint, "/predict", predict, client, images),
            await _run(endpoint, "v2 infer", infer(endpoint.model), client, images),
        ]


async def predict(client: httpx.AsyncClient, image: HeldOutImage) -> str:
    """The classic call: a multipart image, answered with a label."""
    files = {"image": (image.path.name, image.path.read_bytes(), "image/png")}
    answer = await client.post("/predict", files=files)
    answer.raise_for_status()
    return str(answer.json()["label"])


def infer(model: str) -> Ask:
    """The Open Inference Protocol: a tensor, answered with a tensor, whose highest value names the label."""

    async def ask(client: httpx.AsyncClient, image: HeldOutImage) -> str:
        answer = await client.post(infer_path(model), json=infer_request([image]))
        answer.raise_for_status()
        values = answer.json()["outputs"][0]["data"]
        return str(max(range(len(values)), key=values.__getitem__))

    return ask


def infer_request(images: Sequence[HeldOutImage]) -> dict[str, Any]:
    """A v2 request for a batch of images; the input's name and layout are those of the sample model."""
    shape = [len(images), *images[0].pixels.shape]
    data = [value for image in images for value in image.pixels.ravel().tolist()]
    return {"inputs": [{"name": "image", "shape": shape, "datatype": "FP32", "data": data}]}


async def _run(
    endpoint: Endpoint, path: str, ask: Ask, client: httpx.AsyncClient, images: Sequence[HeldOutImage]
) -> Served:
    waiting = list(images)
    times: list[float] = []
    right = 0

    async def worker() -> None:
        nonlocal right
        while waiting:
            image = waiting.pop()
            start = time.perf_counter()
            label = await ask(client, image)
            times.append(time.perf_counter() - start)
            right += label == image.label

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(CONCURRENCY):
                group.create_task(worker())
    except* (httpx.HTTPError, KeyError, IndexError, ValueError) as errors:
        first = errors.exceptions[0]
        raise ClusterError(
            f"{endpoint.model} at {endpoint.site} ({endpoint.url}) did not answer {path} with a prediction: {first!r}."
        ) from None
    return Served(endpoint.model, endpoint.site, path, right, len(images), statistics.median(times))
