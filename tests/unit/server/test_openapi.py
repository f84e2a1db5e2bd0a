"""The API's description and the API are one: every path, every shape, and nothing a description allows breaks it."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from markupsafe import escape
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from edgemodel_server.http.app import App
from edgemodel_server.http.routes import rest_routes
from edgemodel_server.http.server import Server, listen
from edgemodel_server.page.openapi import document, operations
from edgemodel_server.service import Service
from tests.unit.server.builders import brighter_side
from tests.unit.server.conftest import Serve

CHECKS: list[Any] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


@pytest.fixture
def service(new_service: Callable[..., Service], load: Callable[[Service], None]) -> Iterator[Service]:
    made = new_service(brighter_side(), labels=["left", "right", "neither"])
    load(made)
    yield made
    made.scheduler.close()


@pytest.fixture
def url(service: Service) -> Iterator[str]:
    """The application behind a real socket, on an event loop of its own."""
    listener = listen(("127.0.0.1", 0))
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def start() -> Server:
        app = App(service)
        server = Server(app, try_inline=app.try_inline)
        await server.start(listener)
        return server

    server = asyncio.run_coroutine_threadsafe(start(), loop).result()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    asyncio.run_coroutine_threadsafe(server.close(0.0), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def test_every_route_is_described_and_every_description_has_its_route(service: Service) -> None:
    described = {
        (operation.path, operation.verb.upper()) for operation in operations(document(service.model().engine.card))
    }
    served = {(route.path, route.method) for route in rest_routes(service)}
    assert served == described


async def test_every_description_is_on_the_page_for_people(serve: Serve) -> None:
    client = await serve(brighter_side())
    described, page = (await client.get("/openapi.json")).json(), (await client.get("/docs")).text
    assert described["openapi"] == "3.1.0"
    for operation in operations(described):
        assert f"{operation.verb.upper()}</span> {operation.path}</h3>" in page
        assert escape(operation.content["summary"]) in page
    for name in described["components"]["schemas"]:
        assert f'<h3 id="{name}">' in page


@pytest.mark.parametrize(
    ("mode", "verbs"), [(GenerationMode.POSITIVE, {"get", "post"}), (GenerationMode.NEGATIVE, {"post"})]
)
def test_whatever_is_sent_the_answer_is_one_that_is_described(url: str, mode: GenerationMode, verbs: set[str]) -> None:
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    found = [result.ok() for result in schema.get_all_operations() if isinstance(result, Ok)]
    described = {operation.path for operation in operations(schema.raw_schema)}
    assert {operation.path for operation in found} == described
    for operation in (operation for operation in found if operation.method in verbs):

        @given(operation.as_strategy(generation_mode=mode))
        @settings(max_examples=20, suppress_health_check=list(HealthCheck))
        def answers_as_described(case: Case[Any]) -> None:
            case.call_and_validate(checks=CHECKS)

        answers_as_described()
