"""Names of everything the operator makes, and the labels that pick it out."""

import hashlib
import re

from edgemodel_operator.api.labels import COMPONENT_LABEL, MANAGED_BY_LABEL, MANAGER, MODEL_LABEL, SITE_LABEL

NAME_LIMIT = 63
"""Of a label value, a Service and a pod's host name."""


def child_name(*parts: str, marked: bool = False) -> str:
    """A DNS-1035 label of at most ``NAME_LIMIT`` characters from the parts, joined by dashes.

    Where a part had to be changed or cut, or with ``marked``, a hash of the original parts keeps two children apart.
    """
    plain = "-".join(parts)
    slug = re.sub(r"[^a-z0-9-]+", "-", plain.lower()).strip("-")
    if not slug[:1].isalpha():
        slug = f"m-{slug}"
    if slug == plain and len(slug) <= NAME_LIMIT and not marked:
        return slug
    mark = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:8]
    return f"{slug[: NAME_LIMIT - len(mark) - 1].rstrip('-')}-{mark}"


def label_value(name: str) -> str:
    """``name`` as a label value: itself, or shortened with a hash."""
    return name if len(name) <= NAME_LIMIT else child_name(name)


def model_labels(model: str, component: str) -> dict[str, str]:
    """On every child of an EdgeModel."""
    return {
        "app.kubernetes.io/name": "edgemodel",
        "app.kubernetes.io/instance": label_value(model),
        MANAGED_BY_LABEL: MANAGER,
        COMPONENT_LABEL: component,
        MODEL_LABEL: label_value(model),
    }


def peer_service_name(model: str, site: str) -> str:
    """Of the headless Service over a site's replicas; marked, for another site may be called ``<site>-peers``."""
    return child_name(model, site, "peers", marked=True)


def compression_selector(model: str) -> dict[str, str]:
    """Picks the pods of a model's compression Jobs."""
    return {MODEL_LABEL: label_value(model), COMPONENT_LABEL: "compression"}


def serving_selector(model: str, site: str | None = None) -> dict[str, str]:
    """Picks the inference pods of a model, on one site or on all."""
    labels = {MODEL_LABEL: label_value(model), COMPONENT_LABEL: "inference"}
    return labels | {SITE_LABEL: site} if site is not None else labels
