"""Events about conditions: what they say, and that the same words are one Event."""

import msgspec

from edgemodel_operator.api import Condition
from edgemodel_operator.manifests.event import NOTE_BYTES, build_event, repetition
from edgemodel_operator.observed import Object
from tests.unit.operator.builders import NOW, after, edge_model

CONDITION = Condition(
    type="Ready",
    status="False",
    reason="Rejected",
    message="The API server refuses Job/digits-compress.",
    observed_generation=1,
    last_transition_time="2026-01-05T12:00:00Z",
)


def event(condition: Condition = CONDITION, seconds: float = 0) -> Object:
    return build_event(edge_model().build(), condition, warning=True, instance="pod-1", now=after(seconds))


def test_an_event_says_what_the_condition_says() -> None:
    built = event()
    assert (built["type"], built["reason"], built["note"]) == ("Warning", "Rejected", CONDITION.message)
    assert built["regarding"]["uid"] == edge_model().build().metadata.uid
    assert built["eventTime"] == "2026-01-05T12:00:00.000000Z"


def test_the_same_words_are_one_event_and_others_are_another() -> None:
    other = msgspec.structs.replace(CONDITION, message="The API server refuses Deployment/digits-site-a.")
    assert event(seconds=60)["metadata"] == event()["metadata"]
    assert event(other)["metadata"] != event()["metadata"]


def test_a_note_fits_in_bytes_and_stays_text() -> None:
    long = msgspec.structs.replace(CONDITION, message="ü" * NOTE_BYTES)
    assert event(long)["note"] == "ü" * (NOTE_BYTES // 2)


def test_repetitions_are_counted() -> None:
    first = repetition({}, NOW)
    assert first["series"]["count"] == 2
    assert repetition(first, after(5))["series"] == {"count": 3, "lastObservedTime": "2026-01-05T12:00:05.000000Z"}
