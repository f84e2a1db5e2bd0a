"""The reasons: each is explained once, for people in docs/reference and for programs by its constant."""

from typing import get_args

import pytest

from edgemodel_contract.result import RETRYABLE, FailureReason
from edgemodel_operator.api import reasons
from edgemodel_operator.api.crd import custom_resource_definition
from edgemodel_operator.api.reasons import NOT_READY, Stalls, is_warning
from edgemodel_operator.api.reference import fields_page, reasons_page


def test_every_way_in_which_a_job_may_end_is_explained() -> None:
    assert set(get_args(FailureReason)) <= NOT_READY.keys()


@pytest.mark.parametrize("reason", get_args(FailureReason))
def test_what_is_tried_again_by_itself_is_not_stalled(reason: str) -> None:
    assert (NOT_READY[reason].stalls is Stalls.YES) == (reason not in RETRYABLE)


def test_the_page_has_every_reason_once() -> None:
    page = reasons_page()
    assert all(page.count(f"`{reason}`") == 1 for reason in NOT_READY)


def test_the_page_has_every_field_with_its_meaning() -> None:
    rows = [line for line in fields_page().splitlines() if line.startswith("| `")]
    assert len(rows) > 150
    assert [row for row in rows if row.endswith("|  |")] == []


def test_the_definition_that_kubectl_explains_has_a_description_for_every_field() -> None:
    def fields(path: str, schema: dict[str, object]) -> list[str]:
        found = []
        properties = schema.get("properties", {})
        assert isinstance(properties, dict)
        for name, child in properties.items():
            if not child.get("description"):
                found.append(f"{path}.{name}")
            found += fields(f"{path}.{name}", child) + fields(f"{path}.{name}[]", child.get("items", {}))
        return found

    (version,) = custom_resource_definition()["spec"]["versions"]
    properties = version["schema"]["openAPIV3Schema"]["properties"]
    assert fields("spec", properties["spec"]) + fields("status", properties["status"]) == []


@pytest.mark.parametrize(
    ("status", "reason", "warning"),
    [
        ("False", reasons.COMPRESSING, False),
        ("False", reasons.ROLLOUT_PAUSED, False),
        ("False", reasons.REJECTED, True),
        ("False", reasons.SITES_UNAVAILABLE, True),
        ("False", reasons.NOT_DEPLOYED, False),
        ("True", reasons.READY, False),
        ("True", reasons.CAPACITY_LIMITED, False),
    ],
)
def test_only_what_needs_a_person_is_a_warning(status: str, reason: str, warning: bool) -> None:
    assert is_warning(status, reason) == warning
