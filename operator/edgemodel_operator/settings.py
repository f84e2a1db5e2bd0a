"""What the installation decides, from environment variables. ``edgemodel-operator --help`` prints this table."""

from collections.abc import Mapping
from typing import Annotated

import msgspec
from msgspec import Meta

PREFIX = "EDGEMODEL_"


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """One field per variable: ``EDGEMODEL_`` and the field's name in capitals. Mappings and lists are JSON."""

    inference_image: Annotated[str, Meta(min_length=1, description="base image of every model image; by digest")]
    compression_image: Annotated[str, Meta(min_length=1, description="image of the compression Jobs; by digest")]
    repository: Annotated[
        str,
        Meta(
            pattern=r"^[a-zA-Z0-9.:-]+(/[a-z0-9._-]+)+$",
            description="where model images are pushed, registry/path; /<namespace>/<name> is appended",
        ),
    ]
    registry_endpoints: Annotated[
        dict[str, str],
        Meta(description="registry host as in image references → URL that Jobs use instead"),
    ] = {}
    insecure_registries: Annotated[list[str], Meta(description="registry hosts that Jobs speak plain HTTP with")] = []
    registry_secret: Annotated[
        str,
        Meta(
            description="name of the kubernetes.io/dockerconfigjson Secret, in each EdgeModel's namespace, that "
            "Jobs push and kubelets pull with"
        ),
    ] = ""
    registry_ca_config_map: Annotated[
        str, Meta(description="name of the ConfigMap, in each EdgeModel's namespace, whose ca.crt Jobs trust")
    ] = ""
    platform: Annotated[str, Meta(pattern=r"^[a-z0-9]+/[a-z0-9]+$", description="os/architecture of the nodes")] = (
        "linux/amd64"
    )
    namespaces: Annotated[list[str], Meta(description="namespaces to watch; empty: all")] = []
    namespace: Annotated[
        str, Meta(description="namespace of the Lease by which operators take turns; in a pod, the pod's by default")
    ] = ""
    identity: Annotated[
        str,
        Meta(description="holder of the Lease, another one for each process; in a pod, the pod's name by default"),
    ] = ""
    workers: Annotated[int, Meta(ge=1, le=256, description="EdgeModels reconciled at the same time")] = 16
    resync_seconds: Annotated[
        float, Meta(ge=10, description="every EdgeModel is looked at again after this time, changed or not")
    ] = 300.0
    scrape_seconds: Annotated[float, Meta(ge=0.5, description="time between two reads of the servers' metrics")] = 5.0
    latency_window_seconds: Annotated[
        float, Meta(ge=2, description="the latency percentile is taken over this time")
    ] = 30.0
    network_policies: Annotated[
        bool, Meta(description="whether each EdgeModel's pods get NetworkPolicies: true or false")
    ] = True
    metrics_port: Annotated[int, Meta(ge=0, le=65535, description="port of /metrics and /healthz; 0: any")] = 8080
    log_format: Annotated[str, Meta(pattern="^(json|plain)$", description="json or plain")] = "json"


def load(environment: Mapping[str, str]) -> Settings:
    """Read the variables.

    Raises:
        ValueError: one is missing or malformed; the message names the variable.
    """
    values: dict[str, object] = {}
    for field in msgspec.structs.fields(Settings):
        variable = PREFIX + field.name.upper()
        text = environment.get(variable, "")
        if not text:
            if field.required:
                raise ValueError(f"{variable} is not set: {_description(field)}")
            continue
        structured = isinstance(field.default_factory, type) and field.default_factory in (dict, list)
        try:
            raw = msgspec.json.decode(text) if structured else text
            values[field.name] = msgspec.convert(raw, field.type, strict=False)
        except msgspec.MsgspecError as error:
            raise ValueError(f"{variable}={text!r}: {error} ({_description(field)})") from error
    return Settings(**values)  # type: ignore[arg-type]


def describe() -> str:
    """The table of variables for ``--help``."""
    rows = []
    for field in msgspec.structs.fields(Settings):
        if field.required:
            default = "required"
        else:
            default = f"default {field.default_factory() if callable(field.default_factory) else field.default!r}"
        rows.append(f"  {PREFIX + field.name.upper():34} {_description(field)} ({default})")
    return "\n".join(rows)


def _description(field: msgspec.structs.FieldInfo) -> str:
    for part in getattr(field.type, "__metadata__", ()):
        if isinstance(part, Meta) and part.description:
            return part.description
    return ""
