"""Pages of other origins: none may call unless it is named, and then with whatever key it has."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgemodel_server.service import Service
from tests.unit.server.builders import mlp
from tests.unit.server.conftest import Serve, client_of
from tests.unit.server.test_infer import INFER, ROW

ORIGIN = "https://app.example"
PREFLIGHT = {
    "origin": ORIGIN,
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,content-type,inference-header-content-length",
}


async def test_unless_it_is_asked_for_no_other_origin_may_read(serve: Serve) -> None:
    client = await serve(mlp())
    response = await client.post(INFER, json={"inputs": [ROW]}, headers={"origin": ORIGIN})
    assert response.status_code == 200
    assert not [name for name in response.headers if name.startswith("access-control")]
    assert (await client.options(INFER, headers=PREFLIGHT)).status_code == 405


@pytest.mark.parametrize("origins", ["https://app.example", "http://localhost:5173, https://app.example", "*"])
async def test_a_page_of_a_named_origin_may_call(serve: Serve, origins: str) -> None:
    client = await serve(mlp(), {"EDGEMODEL_CORS_ORIGINS": origins})
    preflight = await client.options(INFER, headers=PREFLIGHT)
    assert preflight.status_code == 200
    allowed = preflight.headers["access-control-allow-headers"].lower()
    assert all(name in allowed for name in PREFLIGHT["access-control-request-headers"].split(","))
    for response in (
        preflight,
        await client.post(INFER, json={"inputs": [ROW]}, headers={"origin": ORIGIN}),
        await client.post(INFER, json={}, headers={"origin": ORIGIN}),
        await client.get("/v2", headers={"origin": ORIGIN}),
    ):
        assert response.headers["access-control-allow-origin"] in (ORIGIN, "*")
        assert "access-control-allow-credentials" not in response.headers
    other = await client.post(INFER, json={"inputs": [ROW]}, headers={"origin": "https://other.example"})
    assert other.headers.get("access-control-allow-origin") == ("*" if origins == "*" else None)


async def test_keys_are_asked_for_as_ever_and_the_refusal_can_be_read(
    new_service: Callable[..., Service], load: Callable[[Service], None], tmp_path: Path
) -> None:
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "camera").write_text("secret")
    env: dict[str, Any] = {"EDGEMODEL_CORS_ORIGINS": ORIGIN, "EDGEMODEL_AUTH_DIR": str(tmp_path / "keys")}
    service = new_service(mlp(), env)
    load(service)
    async with client_of(service) as client:
        # A browser asks before it shows the key.
        assert (await client.options(INFER, headers=PREFLIGHT)).status_code == 200
        refused = await client.post(INFER, json={"inputs": [ROW]}, headers={"origin": ORIGIN})
        assert refused.status_code == 401
        assert refused.headers["access-control-allow-origin"] == ORIGIN
        headers = {"origin": ORIGIN, "authorization": "Bearer secret"}
        assert (await client.post(INFER, json={"inputs": [ROW]}, headers=headers)).status_code == 200
