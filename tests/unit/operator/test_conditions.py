"""Conditions: their times, their generations, and which changes are worth an event."""

from typing import Literal

import pytest

from edgemodel_operator.api import Condition
from edgemodel_operator.observed import moment, timestamp
from edgemodel_operator.plan.status.conditions import MESSAGE_LIMIT, TYPES, Finding, merge, transitions
from tests.unit.operator.builders import NOW, after

Truth = Literal["True", "False", "Unknown"]


def found(status: Truth, reason: str, message: str = "A sentence.", kind: str = "Ready") -> Finding:
    return Finding(kind, status, reason, message)


def merged(before: list[Condition], *findings: Finding, generation: int = 1, seconds: float = 0) -> list[Condition]:
    return merge(before, findings, generation, after(seconds))


def test_the_transition_time_moves_with_the_status_and_with_nothing_else() -> None:
    first = merged([], found("False", "Compressing"))
    assert first[0].last_transition_time == "2026-01-05T12:00:00Z"
    other_reason = merged(first, found("False", "RollingOut", "Another sentence."), generation=2, seconds=60)
    (condition,) = other_reason
    assert (condition.reason, condition.message) == ("RollingOut", "Another sentence.")
    assert condition.observed_generation == 2
    assert condition.last_transition_time == "2026-01-05T12:00:00Z"
    (condition,) = merged(other_reason, found("True", "Ready"), seconds=90)
    assert condition.last_transition_time == "2026-01-05T12:01:30Z"


def test_conditions_come_in_one_order_and_those_of_nobody_go() -> None:
    findings = [found("True", "Fine", kind=kind) for kind in reversed(TYPES)]
    stray = Condition(
        type="Stray",
        status="True",
        reason="Old",
        message="From another version.",
        observed_generation=1,
        last_transition_time=timestamp(NOW),
    )
    assert [item.type for item in merged([stray], *findings)] == list(TYPES)


def test_a_long_message_is_cut() -> None:
    (condition,) = merged([], found("False", "Rejected", "x" * 5000))
    assert len(condition.message) == MESSAGE_LIMIT
    assert condition.message.endswith("…")


@pytest.mark.parametrize(
    ("before", "after_", "told"),
    [
        (None, found("False", "Compressing"), []),
        (None, found("False", "InvalidModel"), [("InvalidModel", True)]),
        (found("False", "Compressing"), found("True", "Ready"), [("Ready", False)]),
        (found("False", "Compressing"), found("False", "JobEvicted"), [("JobEvicted", True)]),
        (found("True", "Ready"), found("False", "RollingOut"), [("RollingOut", False)]),
        (found("True", "Ready"), found("False", "Suspended"), [("Suspended", False)]),
        (found("True", "Ready"), found("Unknown", "Disconnected"), [("Disconnected", False)]),
        (found("False", "JobEvicted", "Again at 12:00."), found("False", "JobEvicted", "Again at 12:10."), []),
        (found("True", "Ready"), found("True", "Ready"), []),
        (None, found("True", "OnTarget", kind="ScalingActive"), []),
        (None, found("False", "NotDeployed", kind="Available"), []),
        (
            found("False", "Starting", kind="Available"),
            found("True", "Available", kind="Available"),
            [("Available", False)],
        ),
        (
            found("True", "OnTarget", kind="ScalingActive"),
            found("True", "ScalingUp", kind="ScalingActive"),
            [("ScalingUp", False)],
        ),
        (
            found("True", "Available", kind="Available"),
            found("False", "SitesUnavailable", kind="Available"),
            [("SitesUnavailable", True)],
        ),
        (
            found("False", "SitesUnavailable", kind="Available"),
            found("True", "Available", kind="Available"),
            [("Available", False)],
        ),
        (None, found("True", "RollingOut", kind="Reconciling"), []),
    ],
)
def test_events(before: Finding | None, after_: Finding, told: list[tuple[str, bool]]) -> None:
    old = merged([], before) if before else []
    changes = transitions(old, merged(old, after_))
    assert [(item.condition.reason, item.warning) for item in changes] == told


def test_one_reason_under_several_types_is_told_once() -> None:
    new = merged([], *(found("False", "InvalidModel", kind=kind) for kind in ("Ready", "Compressed", "Stalled")))
    assert [item.condition.type for item in transitions([], new)] == ["Ready"]


def test_times_are_written_and_read_as_kubernetes_does() -> None:
    assert timestamp(NOW) == "2026-01-05T12:00:00Z"
    assert moment("2026-01-05T12:00:00Z") == NOW
    assert moment("2026-01-05T14:00:00.000000+02:00") == NOW
