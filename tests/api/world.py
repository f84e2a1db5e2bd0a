"""One test's part of the cluster: a namespace, and the EdgeModels and nodes it makes there."""

from typing import Any

from tests.api.client import Api, Object
from tests.api.edge_model import Model
from tools.localcluster.native.control_plane import ControlPlane

EDGE_LABEL, ZONE_LABEL = "node-role.kubernetes.io/edge", "topology.kubernetes.io/zone"
URI = "oci://registry.test/models/digits:v1"


class World:
    """``namespace`` is this test's own. The nodes of site-a and site-b are everybody's, others the test's own."""

    def __init__(self, plane: ControlPlane, api: Api, namespace: str) -> None:
        self.plane = plane
        self.api = api
        self.namespace = namespace
        self._models: list[Model] = []
        self._nodes: list[str] = []
        self.add_namespace(namespace)

    def add_namespace(self, name: str) -> None:
        """A further namespace."""
        self.api.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})

    def create(self, name: str = "digits", namespace: str | None = None, **spec: Any) -> Model:
        """Create an EdgeModel; ``spec.model`` is filled in where not given."""
        body = {
            "apiVersion": "edge5g.io/v1alpha1",
            "kind": "EdgeModel",
            "metadata": {"name": name, "namespace": namespace or self.namespace},
            "spec": {"model": {"uri": URI}, **spec},
        }
        self.api.create(body)
        return self.handle(name, namespace)

    def handle(self, name: str, namespace: str | None = None) -> Model:
        """An EdgeModel that somebody else creates."""
        model = Model(self.api, namespace or self.namespace, name)
        self._models.append(model)
        return model

    def add_node(self, name: str, labels: dict[str, str], *, ready: bool = True) -> str:
        """A node of this test; its name gets the namespace's in front."""
        full = self.node(name)
        make_node(self.api, full, labels, ready=ready)
        self._nodes.append(full)
        return full

    def own_site(self, *names: str) -> Object:
        """A placement whose sites, one node each, no other test knows."""
        for name in names:
            self.add_node(name, {"test": self.namespace, ZONE_LABEL: name})
        return {"nodeSelector": {"test": self.namespace}}

    def node(self, name: str) -> str:
        """The full name of a node made by this test."""
        return f"{self.namespace}-{name.lower()}"

    def set_ready(self, node: str, ready: bool) -> None:
        """The node reports, or has stopped to."""
        set_node_ready(self.api, node, ready)

    def clear(self) -> None:
        """Delete what would keep the operator busy."""
        for model in self._models:
            model.delete()
        for node in self._nodes:
            self.api.delete("Node", "", node)


def make_node(api: Api, name: str, labels: dict[str, str], *, ready: bool = True) -> None:
    """A node without a machine."""
    api.create({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}})
    set_node_ready(api, name, ready)


def set_node_ready(api: Api, name: str, ready: bool) -> None:
    """Write the node's Ready condition: Unknown is what a node controller says of a silent kubelet."""
    condition = {"type": "Ready", "status": "True" if ready else "Unknown", "reason": "Test"}
    api.merge("Node", "", name, {"status": {"conditions": [condition]}}, "status")
