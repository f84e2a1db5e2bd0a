"""EdgeModel, v1alpha1 of group edge5g.io, as typed structs.

The one source of the resource's schema: ``crd.py`` writes the CustomResourceDefinition from these types, their
bounds, defaults, docstrings and CEL rules.
"""

from edgemodel_contract.fields import Resources
from edgemodel_operator.api.names import API_VERSION, EDGE_NODE_LABEL, GROUP, KIND, NODE_SITE_LABEL, PLURAL, VERSION
from edgemodel_operator.api.pods import EnvVar
from edgemodel_operator.api.resource import EdgeModel, parse
from edgemodel_operator.api.spec import Placement, Rollout, Scaling, Serving, Spec
from edgemodel_operator.api.status import (
    CandidateStatus,
    CompressionStatus,
    Condition,
    ConditionStatus,
    MeasurementStatus,
    ModelStatus,
    OutputStatus,
    ProgressStatus,
    RolloutState,
    RolloutStatus,
    SiteState,
    SiteStatus,
    Status,
    Summary,
    TimingsStatus,
    TimingStatus,
)

__all__ = [
    "API_VERSION",
    "EDGE_NODE_LABEL",
    "GROUP",
    "KIND",
    "NODE_SITE_LABEL",
    "PLURAL",
    "VERSION",
    "CandidateStatus",
    "CompressionStatus",
    "Condition",
    "ConditionStatus",
    "EdgeModel",
    "EnvVar",
    "MeasurementStatus",
    "ModelStatus",
    "OutputStatus",
    "Placement",
    "ProgressStatus",
    "Resources",
    "Rollout",
    "RolloutState",
    "RolloutStatus",
    "Scaling",
    "Serving",
    "SiteState",
    "SiteStatus",
    "Spec",
    "Status",
    "Summary",
    "TimingStatus",
    "TimingsStatus",
    "parse",
]
