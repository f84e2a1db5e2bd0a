"""What the installation decides, from environment variables. ``edgemodel-operator --help`` prints them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgemodel_contract.settings import (
    boolean,
    duration,
    json_list,
    json_mapping,
    matching,
    setting,
    whole,
)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One field per variable. Mappings and lists are JSON, durations like ``30s``, in seconds once read."""

    inference_image: str = setting(str, None, "base image of every model image; by digest")
    compression_image: str = setting(str, None, "image of the compression Jobs; by digest")
    repository: str = setting(
        matching(r"[a-zA-Z0-9.:-]+(/[a-z0-9._-]+)+", "registry.example.com/edgemodel/models"),
        None,
        "where model images are pushed, registry/path; /<namespace>/<name> is appended",
    )
    registry_endpoints: Mapping[str, str] = setting(
        json_mapping, "{}", "registry host as in image references → URL that Jobs use instead"
    )
    insecure_registries: Sequence[str] = setting(json_list, "[]", "registry hosts that Jobs speak plain HTTP with")
    registry_secret: str = setting(
        str,
        "",
        "name of the kubernetes.io/dockerconfigjson Secret, in each EdgeModel's namespace, that Jobs push and kubelets "
        "pull with",
    )
    registry_ca_config_map: str = setting(
        str, "", "name of the ConfigMap, in each EdgeModel's namespace, whose ca.crt Jobs trust"
    )
    platform: str = setting(
        matching("[a-z0-9]+/[a-z0-9]+", "linux/amd64"), "linux/amd64", "os/architecture of the nodes"
    )
    namespaces: Sequence[str] = setting(json_list, "[]", "namespaces to watch; empty: all")
    namespace: str = setting(
        str, "", "namespace of the Lease by which operators take turns; in a pod, the pod's by default"
    )
    identity: str = setting(
        str, "", "holder of the Lease, another one for each process; in a pod, the pod's name by default"
    )
    workers: int = setting(whole(1, 256), "16", "EdgeModels reconciled at the same time")
    resync_interval: float = setting(
        duration(10), "5m", "every EdgeModel is looked at again after this time, changed or not"
    )
    scrape_interval: float = setting(duration(0.5), "5s", "time between two reads of the servers' metrics")
    latency_window: float = setting(duration(2), "30s", "the latency percentile is taken over this time")
    network_policies: bool = setting(boolean, "true", "whether each EdgeModel's pods get NetworkPolicies")
    metrics_port: int = setting(whole(0, 65535), "8080", "port of /metrics and /healthz; 0: any")
    log_format: str = setting(matching("json|plain", "json or plain"), "json", "how log lines look")
