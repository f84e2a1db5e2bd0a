"""The operator's ClusterRole, from the registry of kinds: ``python -m edgemodel_operator.kube.cluster_role``."""

import yaml

from edgemodel_operator.api.generated import run
from edgemodel_operator.api.labels import MANAGER
from edgemodel_operator.kube.kinds import rules

HEADER = """\
# Written by `make crds` from operator/edgemodel_operator/kube/kinds.py; do not edit.
# What the operator may do, and nothing else: it reads no Secrets, and writes no EdgeModel but its status.
"""


def render() -> str:
    """The file's text."""
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": MANAGER},
        "rules": [
            {"apiGroups": [group], "resources": [resource], "verbs": list(verbs)} for group, resource, verbs in rules()
        ],
    }
    body: str = yaml.safe_dump(role, sort_keys=False, width=110, default_flow_style=None)
    return HEADER + body


def main() -> int:
    """Write the file, or with ``--check`` say whether it is up to date."""
    return run("edgemodel_operator.kube.cluster_role", str(__doc__), {"cluster-role.yaml": render}, "make crds")


if __name__ == "__main__":
    raise SystemExit(main())
