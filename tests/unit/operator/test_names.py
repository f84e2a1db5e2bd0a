"""Names of children: valid for every kind, and two children never share one."""

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from edgemodel_operator.manifests.deployment import deployment_name
from edgemodel_operator.manifests.job import build_job
from edgemodel_operator.manifests.names import (
    child_name,
    label_value,
    model_labels,
    peer_service_name,
    serving_selector,
)
from edgemodel_operator.plan.policy.task import desired_task
from tests.unit.operator.builders import SETTINGS, edge_model

DNS_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?\Z")
LABEL_VALUE = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?\Z")

# As the API server allows them: DNS subdomains, and label values.
model_names = st.from_regex(r"\A[a-z0-9]([-a-z0-9]{0,30}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,30}[a-z0-9])?){0,4}\Z")
site_names = st.from_regex(r"\A[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?\Z")


def deployment(model: str, site: str) -> str:
    return deployment_name(edge_model(model).build(), site)


@given(model_names, site_names)
def test_names_are_valid_for_services_and_pods(model: str, site: str) -> None:
    name = deployment(model, site)
    assert len(name) <= 63
    assert DNS_1035.match(name)


@given(model_names, st.integers(1, 10**6))
def test_job_names_leave_room_for_nothing_to_be_cut(model: str, attempt: int) -> None:
    builder = edge_model(model)
    task = desired_task(builder.build(), builder.spec(), SETTINGS)
    name = build_job(builder.build(), builder.spec(), task, attempt, True, SETTINGS)["metadata"]["name"]
    assert len(name) <= 63
    assert DNS_1035.match(name)


@given(st.tuples(model_names, site_names), st.tuples(model_names, site_names))
def test_two_children_have_two_names_unless_they_read_the_same(one: tuple[str, str], other: tuple[str, str]) -> None:
    assume("-".join(one) != "-".join(other))
    assert deployment(*one) != deployment(*other)


def test_a_plain_name_is_plain() -> None:
    assert deployment("digits", "site-a") == "digits-site-a"
    assert deployment("digits-pruned", "site-a") == "digits-pruned-site-a"
    assert child_name("digits", "task", "0123456789") == "digits-task-0123456789"


@pytest.mark.parametrize(
    ("model", "site", "start"),
    [
        ("digits", "Zone_1", "digits-zone-1-"),
        ("3d-faces", "a", "m-3d-faces-a-"),
        ("x" * 70, "a", "x" * 54 + "-"),
    ],
)
def test_a_changed_name_keeps_what_it_can_and_has_a_hash(model: str, site: str, start: str) -> None:
    assert re.fullmatch(re.escape(start) + "[0-9a-f]{8}", deployment(model, site))


@given(model_names, site_names)
def test_labels_are_valid(model: str, site: str) -> None:
    for value in (*model_labels(model, "inference").values(), *serving_selector(model, site).values()):
        assert len(value) <= 63
        assert LABEL_VALUE.match(value)


@given(model_names, model_names)
def test_two_models_have_two_labels(one: str, other: str) -> None:
    assume(one != other)
    assert label_value(one) != label_value(other)


def test_the_selector_picks_no_pod_of_the_compression_job() -> None:
    chosen = serving_selector("digits").items()
    assert not chosen <= model_labels("digits", "compression").items()
    assert chosen <= model_labels("digits", "inference").items()


def test_the_peers_of_a_site_are_not_what_a_site_of_their_name_is_reached_by() -> None:
    assert peer_service_name("digits", "x") != child_name("digits", "x-peers")
