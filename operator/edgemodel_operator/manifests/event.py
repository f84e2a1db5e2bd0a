"""The Event about a condition that changed (events.k8s.io/v1)."""

from datetime import datetime

from edgemodel_contract.encoding import digest
from edgemodel_operator.api import API_VERSION, GROUP, KIND, Condition, EdgeModel
from edgemodel_operator.api.labels import MANAGER
from edgemodel_operator.observed import Object

NOTE_BYTES = 1024
"""The API server takes no longer note."""


def build_event(model: EdgeModel, condition: Condition, *, warning: bool, instance: str, now: datetime) -> Object:
    """The Event. Its name says what it says: the same words about the same EdgeModel are one Event, whose series
    counts how often they were said. ``instance`` names the process that reports.
    """
    namespace, name = model.key
    kind = "Warning" if warning else "Normal"
    note = condition.message.encode()[:NOTE_BYTES].decode(errors="ignore")
    mark = digest([model.metadata.uid, kind, condition.type, condition.reason, note])[:16]
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": f"{name[:200]}.{mark}", "namespace": namespace},
        "regarding": {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "name": name,
            "namespace": namespace,
            "uid": model.metadata.uid,
        },
        "type": kind,
        "reason": condition.reason,
        "action": f"Update{condition.type}",
        "note": note,
        "eventTime": micro_time(now),
        "reportingController": f"{GROUP}/{MANAGER}",
        "reportingInstance": instance[:128],
    }


def repetition(present: Object, now: datetime) -> Object:
    """What to merge into an Event whose words were said again."""
    count = (present.get("series") or {}).get("count", 1)
    return {"series": {"count": count + 1, "lastObservedTime": micro_time(now)}}


def micro_time(now: datetime) -> str:
    """A metav1.MicroTime."""
    return now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
