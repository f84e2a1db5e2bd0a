"""What all children have in common: owner, labels, and the hash of what was applied."""

from typing import Any

from edgemodel_contract.encoding import digest
from edgemodel_operator.api import API_VERSION, KIND, EdgeModel
from edgemodel_operator.api.labels import HASH_ANNOTATION
from edgemodel_operator.observed import Object


def metadata(
    model: EdgeModel, name: str, labels: dict[str, str], annotations: dict[str, str] | None = None
) -> dict[str, Any]:
    """Metadata of a child. The owner reference makes the garbage collector delete it with the EdgeModel."""
    result: dict[str, Any] = {
        "name": name,
        "namespace": model.metadata.namespace,
        "labels": labels,
        "ownerReferences": [
            {
                "apiVersion": API_VERSION,
                "kind": KIND,
                "name": model.metadata.name,
                "uid": model.metadata.uid,
                "controller": True,
                "blockOwnerDeletion": False,
            }
        ],
    }
    if annotations:
        result["annotations"] = annotations
    return result


def sealed(obj: Object) -> Object:
    """``obj`` with the digest of itself as an annotation."""
    meta = obj["metadata"]
    annotations = (meta.get("annotations") or {}) | {HASH_ANNOTATION: digest(obj)[:16]}
    return obj | {"metadata": meta | {"annotations": annotations}}


def applied_hash(obj: Object) -> str | None:
    """The digest that ``sealed`` left."""
    value: str | None = (obj["metadata"].get("annotations") or {}).get(HASH_ANNOTATION)
    return value


def is_owned(obj: Object, model: EdgeModel) -> bool:
    """Whether this very EdgeModel, not a namesake from before, controls ``obj``."""
    owners = obj["metadata"].get("ownerReferences") or []
    return any(owner["uid"] == model.metadata.uid for owner in owners)
