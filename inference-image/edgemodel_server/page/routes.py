"""The page's routes, for ``app``."""

import asyncio
import hashlib
import hmac
from collections.abc import Callable, Mapping
from pathlib import Path

import orjson

from edgemodel_contract.card import REPORT_FILE, REPORT_PAGE, ModelCard
from edgemodel_server.endpoints.routes import Route
from edgemodel_server.errors import NotFoundError
from edgemodel_server.page.openapi import document, operations
from edgemodel_server.page.render import COMMON_HEADERS, FOREIGN_POLICY, Document, render
from edgemodel_server.page.report import Report, read_report, read_timings, timed
from edgemodel_server.page.view import model_view
from edgemodel_server.protocol.calls import JSON, Answer, Call
from edgemodel_server.scheduling.sharing import Sharing
from edgemodel_server.service import Model, Service, State

MAX_FILE = 16 * 2**20
"""Bytes of the largest file beside the model that is read for a page."""


def page_routes(service: Service) -> list[Route]:
    """``/``, ``/docs``, ``/openapi.json`` and ``/report.html``, all GET."""
    page = Page(service)
    return [
        Route("GET", "/", page.model),
        Route("GET", "/docs", page.docs),
        Route("GET", "/openapi.json", page.openapi),
        Route("GET", f"/{REPORT_PAGE}", page.report),
    ]


class Page:
    """One method per route. The pages of a model are made for the first who asks, and again only when they change."""

    def __init__(self, service: Service) -> None:
        """Bind the routes to ``service``."""
        self._service = service
        self._made: dict[str, tuple[tuple[Model, str], Document]] = {}

    async def model(self, _: Call) -> Answer:
        """The model's page; before there is a model, one that loads again by itself."""
        if self._service.state is State.STARTING:
            waiting = await asyncio.to_thread(render, "starting.html", state=State.STARTING.value)
            return _html(waiting, 503, {"retry-after": "1"})
        return _html(await self._page("model", self._render))

    async def docs(self, _: Call) -> Answer:
        """The API's description for people."""
        return _html(await self._page("docs", _render_docs))

    async def openapi(self, _: Call) -> Answer:
        """The API's description for programs."""
        content = orjson.dumps(document(self._service.model().engine.card))
        return _answer(Document(content, COMMON_HEADERS), JSON)

    async def report(self, _: Call) -> Answer:
        """The compression's own report, where the model came with one."""
        model = self._service.model()
        content = await asyncio.to_thread(listed_file, self._folder, model.engine.card, REPORT_PAGE)
        if content is None:
            raise NotFoundError(f"model {model.engine.card.name!r} came without a {REPORT_PAGE}")
        return _html(Document(content, {**COMMON_HEADERS, "content-security-policy": FOREIGN_POLICY}))

    async def _page(self, name: str, made: Callable[[Model, str], Document]) -> Document:
        shown = self._service.model(), _batching(self._service.scheduler.sharing)
        found = self._made.get(name)
        if found is None or found[0] != shown:
            found = self._made[name] = shown, await asyncio.to_thread(made, *shown)
        return found[1]

    @property
    def _folder(self) -> Path:
        return self._service.settings.model_dir

    def _render(self, model: Model, batching: str) -> Document:
        card = model.engine.card
        view = model_view(
            card,
            model.digest,
            self._report(card),
            batching,
            predicts=model.classifier is not None,
            has_report_page=REPORT_PAGE in card.files,
        )
        return render("model.html", script="model.js", view=view)

    def _report(self, card: ModelCard) -> Report | None:
        content = listed_file(self._folder, card, REPORT_FILE)
        report = None if content is None else read_report(content)
        timings = read_timings(self._service.settings.timings)
        return report if report is None or timings is None else timed(report, timings, card.provenance.method)


def _render_docs(model: Model, _: str) -> Document:
    described = document(model.engine.card)
    return render("docs.html", document=described, operations=list(operations(described)))


def listed_file(folder: Path, card: ModelCard, name: str) -> bytes | None:
    """The file ``name`` of the model folder; None unless the card lists it and its bytes are those the card names."""
    expected = card.files.get(name)
    if expected is None:
        return None
    try:
        with (folder / name).open("rb") as stream:
            content = stream.read(MAX_FILE + 1)
    except OSError:
        return None
    actual = "sha256:" + hashlib.sha256(content).hexdigest()
    return content if hmac.compare_digest(actual.encode(), expected.encode()) else None


def _batching(sharing: Sharing) -> str:
    """Whether requests share runs of the model, as a sentence."""
    if sharing.off_because is None:
        return f"Up to {sharing.batch_size} rows of requests that wait are computed together."
    return f"Every request is computed by itself: {sharing.off_because}."


def _html(document: Document, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    return _answer(document, b"text/html; charset=utf-8", status, headers)


def _answer(document: Document, kind: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    lines = {**document.headers, **(headers or {})}
    encoded = [(name.encode(), value.encode()) for name, value in lines.items()]
    return Answer(status, [document.content], [(b"content-type", kind), *encoded])
