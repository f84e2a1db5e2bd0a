"""Settings from the environment."""

from pathlib import Path

import pytest

from edgemodel_contract import serving
from edgemodel_contract.card import MODEL_DIR
from edgemodel_contract.settings import SettingsError, describe, read_settings, variables
from edgemodel_server.settings import Settings

VARIABLES = variables(Settings)


def test_an_empty_environment_gives_the_documented_defaults() -> None:
    assert read_settings(Settings, {}) == read_settings(Settings, {variable.name: "" for variable in VARIABLES})
    assert read_settings(Settings, {}) == Settings(
        model_dir=Path(MODEL_DIR),
        listen=("", 8080),
        grpc_listen=("", 8081),
        admin_listen=("", 8082),
        threads=0,
        max_batch_size=32,
        max_batch_delay=0.002,
        queue_limit=96,
        request_timeout=60,
        max_body=32 * 2**20,
        max_buffered=128 * 2**20,
        max_connections=8192,
        body_timeout=30,
        max_pixels=40_000_000,
        drain=5,
        shutdown=20,
        tls_dir=None,
        auth_dir=None,
        rate_limit=0,
        cors_origins=(),
        peers="",
        timings="",
        access_log=False,
    )
    for variable in VARIABLES:
        assert f"{variable.name} (default {variable.default or 'unset'})" in describe(Settings)


@pytest.mark.parametrize(
    ("text", "address"), [(":0", ("", 0)), ("127.0.0.1:80", ("127.0.0.1", 80)), ("[::1]:80", ("::1", 80))]
)
def test_addresses(text: str, address: tuple[str, int]) -> None:
    assert read_settings(Settings, {"EDGEMODEL_LISTEN": text}).listen == address


def test_further_ports_can_be_off() -> None:
    settings = read_settings(Settings, {"EDGEMODEL_GRPC_LISTEN": "off", "EDGEMODEL_ADMIN_LISTEN": "OFF"})
    assert settings.grpc_listen is None
    assert settings.admin_listen is None


@pytest.mark.parametrize(
    ("name", "value", "hint"),
    [
        ("EDGEMODEL_LISTEN", "8080", "write host:port"),
        ("EDGEMODEL_LISTEN", "x:99999", "write host:port"),
        ("EDGEMODEL_THREADS", "two", "write a whole number from 0"),
        ("EDGEMODEL_QUEUE_LIMIT", "0", "write a whole number from 1"),
        ("EDGEMODEL_MAX_BODY", "lots", "write it like 8Mi"),
        ("EDGEMODEL_DRAIN", "-1s", "write a duration from 0s to 3600s"),
        ("EDGEMODEL_DRAIN", "5", "write a duration from 0s to 3600s, like 500ms, 5s or 2m"),
        ("EDGEMODEL_DRAIN", "2h", "write a duration from 0s to 3600s"),
        ("EDGEMODEL_ACCESS_LOG", "maybe", "write true or false"),
        ("EDGEMODEL_GRPC_LISTEN", "none", "write host:port"),
        ("EDGEMODEL_RATE_LIMIT", "-1", "write a number from 0 to 1000000"),
        ("EDGEMODEL_RATE_LIMIT", "nan", "write a number from 0 to 1000000"),
        ("EDGEMODEL_CORS_ORIGINS", "https://a.example/", "'https://a.example/' is no origin"),
    ],
)
def test_a_bad_value_is_named_with_an_example(name: str, value: str, hint: str) -> None:
    with pytest.raises(SettingsError, match=name) as refusal:
        read_settings(Settings, {name: value})
    assert hint in str(refusal.value)
    assert repr(value) in str(refusal.value)


def test_no_variable_can_be_overwritten_by_a_service_of_the_same_name() -> None:
    assert not [variable.name for variable in VARIABLES if variable.name.endswith(("_HOST", "_PORT"))]


def test_what_the_operator_sets_is_a_variable_of_the_server() -> None:
    shared = {value for name, value in vars(serving).items() if name.endswith("_VARIABLE")}
    assert shared <= {variable.name for variable in VARIABLES}
