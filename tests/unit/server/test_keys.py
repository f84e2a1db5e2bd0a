"""Keys and rates: who is let in, how often, and what of it is never seen."""

import base64
import logging
import os
from pathlib import Path

import pytest

from edgemodel_server.access.keys import MAX_CLIENTS, MAX_KEY_BYTES, Bucket, Keys
from edgemodel_server.access.watching import Watched
from edgemodel_server.errors import RateLimitedError, UnauthorizedError
from tests.unit.server.builders import mlp
from tests.unit.server.conftest import Serve
from tests.unit.server.test_infer import INFER, ROW


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """As a mounted Secret: links into a hidden folder that is itself a link."""
    mounted = tmp_path / "keys"
    mounted.mkdir()
    rotate(mounted, {"alice": "alice-key\n", "bob": "bob-key", "empty": "  \n"})
    return mounted


def rotate(mounted: Path, keys: dict[str, str]) -> None:
    """What the kubelet does when a Secret changes."""
    state = mounted / f"..{len(list(mounted.iterdir()))}"
    state.mkdir()
    for name, key in keys.items():
        (state / name).write_text(key)
    new = mounted / "..new"
    new.symlink_to(state.name)
    new.rename(mounted / "..data")
    for file in mounted.iterdir():
        if not file.name.startswith(".."):
            file.unlink()
    for name in keys:
        (mounted / name).symlink_to(Path("..data") / name)


def basic(password: str) -> str:
    return "Basic " + base64.b64encode(f"anyone:{password}".encode()).decode()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"authorization": "Bearer alice-key"}, 200),
        ({"authorization": "bearer  bob-key"}, 200),
        ({"x-api-key": "bob-key"}, 200),
        ({"authorization": basic("alice-key")}, 200),
        ({}, 401),
        ({"authorization": "Bearer"}, 401),
        ({"authorization": "Bearer "}, 401),
        ({"authorization": "Bearer alice-key2"}, 401),
        ({"authorization": "Digest alice-key"}, 401),
        ({"authorization": "Basic ???"}, 401),
        ({"x-api-key": ""}, 401),
        ({"x-api-key": "alice"}, 401),
    ],
)
async def test_who_is_let_in(serve: Serve, folder: Path, headers: dict[str, str], status: int) -> None:
    client = await serve(mlp(), {"EDGEMODEL_AUTH_DIR": str(folder)})
    for response in (
        await client.post(INFER, json={"inputs": [ROW]}, headers=headers),
        await client.get("/v2/models/digits", headers=headers),
        await client.get("/metrics", headers=headers),
    ):
        assert response.status_code == status
        if status == 401:
            challenges = response.headers.get_list("www-authenticate")
            assert [challenge.split()[0] for challenge in challenges] == ["Bearer", "Basic"]
            assert "key" in response.json()["error"]


async def test_health_needs_no_key(serve: Serve, folder: Path) -> None:
    client = await serve(mlp(), {"EDGEMODEL_AUTH_DIR": str(folder)})
    for path in ("/v2/health/live", "/v2/health/ready"):
        assert (await client.get(path)).status_code == 200


async def test_keys_are_never_logged(serve: Serve, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    client = await serve(mlp(), {"EDGEMODEL_AUTH_DIR": str(folder), "EDGEMODEL_ACCESS_LOG": "true"})
    with caplog.at_level(logging.DEBUG):
        for key in ("alice-key", "wrong-key"):
            await client.get("/v2?key=alice-key", headers={"x-api-key": key})
    lines = [vars(record) for record in caplog.records if record.name == "edgemodel_server.observability.access_log"]
    assert [(line["client"], line["status"], line["path"]) for line in lines] == [
        ("alice", 200, "/v2"),
        ("", 401, "/v2"),
    ]
    ours = [str(vars(record)) for record in caplog.records if record.name.startswith("edgemodel_server")]
    assert not [line for line in ours if "-key" in line]


def test_changed_keys_are_read_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgemodel_server.access.watching.INTERVAL", 0)
    keys = Keys(folder, 0)
    assert keys.client({b"x-api-key": b"alice-key"}) == "alice"
    rotate(folder, {"alice": "new-key"})
    assert keys.client({b"x-api-key": b"new-key"}) == "alice"
    for old in (b"alice-key", b"bob-key"):
        with pytest.raises(UnauthorizedError):
            keys.client({b"x-api-key": old})


def test_a_folder_that_cannot_be_read_any_more_leaves_the_keys(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgemodel_server.access.watching.INTERVAL", 0)
    keys = Keys(folder, 0)
    folder.rename(folder.with_name("gone"))
    assert keys.client({b"x-api-key": b"alice-key"}) == "alice"


def test_a_file_that_is_too_large_is_no_key(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(b"k" * (MAX_KEY_BYTES + 1))
    with pytest.raises(UnauthorizedError):
        Keys(tmp_path, 0).client({b"x-api-key": b"k" * (MAX_KEY_BYTES + 1)})


def test_a_bucket_lets_through_its_rate_and_says_when_the_next_is_due() -> None:
    bucket = Bucket(4)
    assert [bucket.take(0.0) for _ in range(4)] == [0.0] * 4
    assert bucket.take(0.0) == pytest.approx(0.25)
    assert bucket.take(0.2) == pytest.approx(0.05)
    assert bucket.take(0.25) == 0.0
    assert [bucket.take(100.0) for _ in range(4)] == [0.0] * 4
    assert bucket.take(100.0) > 0
    slow = Bucket(0.1)
    assert slow.take(0.0) == 0.0
    assert slow.take(1.0) == pytest.approx(9.0)


def test_each_client_has_its_own_rate(folder: Path) -> None:
    keys = Keys(folder, 1)
    assert keys.check({b"x-api-key": b"alice-key"}, "10.0.0.1") == "alice"
    with pytest.raises(RateLimitedError):
        keys.check({b"x-api-key": b"alice-key"}, "10.0.0.2")
    assert keys.check({b"x-api-key": b"bob-key"}, "10.0.0.1") == "bob"


def test_without_keys_a_client_is_an_address_and_not_all_are_remembered() -> None:
    keys = Keys(None, 1)
    assert keys.check({}, "10.0.0.1") == "10.0.0.1"
    with pytest.raises(RateLimitedError):
        keys.check({}, "10.0.0.1")
    for number in range(MAX_CLIENTS):
        keys.check({}, f"192.0.2.{number}")
    assert keys.check({}, "10.0.0.1") == "10.0.0.1"


async def test_more_than_the_rate_is_a_429_that_says_when(serve: Serve) -> None:
    client = await serve(mlp(), {"EDGEMODEL_RATE_LIMIT": "0.01"})
    assert (await client.post(INFER, json={"inputs": [ROW]})).status_code == 200
    refused = await client.post(INFER, json={"inputs": [ROW]})
    assert refused.status_code == 429
    assert 90 <= int(refused.headers["retry-after"]) <= 100
    assert (await client.get("/v2/health/ready")).status_code == 200


def test_a_folder_is_looked_at_no_more_often_than_told(tmp_path: Path) -> None:
    watched = Watched(tmp_path)
    assert not watched.changed(0.0)
    (tmp_path / "a").write_text("1")
    assert not watched.changed(0.5)
    assert watched.changed(1.5)
    assert not watched.changed(3.0)
    os.utime(tmp_path / "a", (1, 1))
    assert watched.changed(5.0)
