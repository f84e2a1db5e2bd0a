"""Group, version and names of the resource, and the labels that make edge sites of nodes."""

GROUP = "edge5g.io"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "EdgeModel"
PLURAL = "edgemodels"

EDGE_NODE_LABEL = "node-role.kubernetes.io/edge"
NODE_SITE_LABEL = "topology.kubernetes.io/zone"
DEFAULT_SITE = "default"
"""Of the nodes without the site label, and of those where it is empty."""
