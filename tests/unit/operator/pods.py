"""EdgeModels that say all that can be said of pods."""

from edgemodel_operator.observed import Object
from tests.unit.operator.builders import edge_model

SSD = {"key": "disk", "operator": "In", "values": ["ssd"]}
GPU = {"key": "gpu", "operator": "Exists"}
REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
SHARED: Object = {
    "labels": {"team": "vision"},
    "annotations": {"sidecar.istio.io/inject": "false"},
    "tolerations": [{"key": "dedicated", "value": "edge", "effect": "NoSchedule"}],
    "priorityClassName": "edge-critical",
    "nodeAffinity": {
        REQUIRED: {"nodeSelectorTerms": [{"matchExpressions": [SSD]}, {"matchExpressions": [GPU]}]},
        PREFERRED: [{"weight": 10, "preference": {"matchExpressions": [GPU]}}],
    },
    "imagePullSecrets": [{"name": "mirror"}],
    "runtimeClassName": "gvisor",
    "serviceAccountName": "models",
    "extraVolumes": [
        {"name": "ca", "configMap": {"name": "corporate-ca", "optional": True}},
        {"name": "keys", "secret": {"secretName": "telemetry"}},
        {"name": "data", "persistentVolumeClaim": {"claimName": "shared"}},
    ],
}
SPREAD: Object = {"topologyKey": "rack", "maxSkew": 2, "whenUnsatisfiable": "DoNotSchedule"}
VARIABLES: list[Object] = [
    {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "telemetry", "key": "token"}}},
    {"name": "LEVEL", "valueFrom": {"configMapKeyRef": {"name": "logging", "key": "level", "optional": True}}},
    {"name": "NODE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
    {"name": "PLAIN", "value": "text"},
]
SERVERS = edge_model().set("serving.podTemplate", SHARED).set("serving.env", VARIABLES)
JOBS = edge_model().set("compression.job.podTemplate", SHARED).set("compression.job.env", VARIABLES)
