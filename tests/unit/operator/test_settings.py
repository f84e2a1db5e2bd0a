"""Settings from environment variables: every mistake names its variable."""

from typing import Any

import pytest

from edgemodel_contract.settings import PREFIX, SettingsError, describe, read_settings, variables
from edgemodel_operator.settings import Settings

REQUIRED = {
    "EDGEMODEL_INFERENCE_IMAGE": "registry.example/server@sha256:1",
    "EDGEMODEL_COMPRESSION_IMAGE": "registry.example/compressor@sha256:2",
    "EDGEMODEL_REPOSITORY": "registry.example:5000/models",
}


def test_three_variables_are_enough() -> None:
    settings = read_settings(Settings, REQUIRED)
    assert settings.repository == "registry.example:5000/models"
    assert settings == Settings(
        inference_image=REQUIRED["EDGEMODEL_INFERENCE_IMAGE"],
        compression_image=REQUIRED["EDGEMODEL_COMPRESSION_IMAGE"],
        repository=REQUIRED["EDGEMODEL_REPOSITORY"],
    )


def test_an_empty_variable_is_the_default() -> None:
    empty = {variable.name: "" for variable in variables(Settings)}
    assert read_settings(Settings, empty | REQUIRED) == read_settings(Settings, REQUIRED)


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("workers", "4", 4),
        ("scrape_interval", "500ms", 0.5),
        ("metrics_port", "0", 0),
        ("log_format", "plain", "plain"),
        ("platform", "linux/arm64", "linux/arm64"),
        ("namespaces", '["one", "two"]', ("one", "two")),
        ("insecure_registries", '["127.0.0.1:5000"]', ("127.0.0.1:5000",)),
        ("registry_endpoints", '{"a:5000": "http://b:5000"}', {"a:5000": "http://b:5000"}),
        ("registry_secret", "push", "push"),
        ("network_policies", "false", False),
    ],
)
def test_values(name: str, text: str, value: Any) -> None:
    assert getattr(read_settings(Settings, REQUIRED | {PREFIX + name.upper(): text}), name) == value


@pytest.mark.parametrize("name", sorted(REQUIRED))
def test_a_missing_variable_is_named_with_its_meaning(name: str) -> None:
    with pytest.raises(SettingsError, match=rf"^{name} is not set: \w+"):
        read_settings(Settings, {key: value for key, value in REQUIRED.items() if key != name})


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("EDGEMODEL_WORKERS", "many"),
        ("EDGEMODEL_WORKERS", "0"),
        ("EDGEMODEL_METRICS_PORT", "70000"),
        ("EDGEMODEL_METRICS_PORT", "tcp://10.96.0.1:8080"),
        ("EDGEMODEL_RESYNC_INTERVAL", "1s"),
        ("EDGEMODEL_REPOSITORY", "no-path"),
        ("EDGEMODEL_REPOSITORY", "https://registry.example/models"),
        ("EDGEMODEL_PLATFORM", "arm64"),
        ("EDGEMODEL_LOG_FORMAT", "xml"),
        ("EDGEMODEL_NAMESPACES", "default"),
        ("EDGEMODEL_NAMESPACES", '{"a": "b"}'),
        ("EDGEMODEL_REGISTRY_ENDPOINTS", '["a"]'),
    ],
)
def test_a_malformed_variable_is_named_with_what_it_holds(name: str, text: str) -> None:
    with pytest.raises(SettingsError) as refusal:
        read_settings(Settings, REQUIRED | {name: text})
    assert str(refusal.value).startswith(f"{name} is {text!r}: write ")


def test_the_help_lists_every_variable_with_its_default() -> None:
    text = describe(Settings)
    for variable in variables(Settings):
        default = "required" if variable.default is None else f"default {variable.default or 'unset'}"
        assert f"{variable.name} ({default})\n      {variable.description}" in text
        assert len(variable.description.split()) >= 3, f"{variable.name} is not described"
    assert "(default 16)" in text
    assert "EDGEMODEL_REPOSITORY (required)" in text
