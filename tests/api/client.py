"""A small synchronous client of the API server, as an administrator: JSON objects in and out."""

import json
import ssl
from typing import Any

import httpx

from tools.localcluster.native.control_plane import ControlPlane

Object = dict[str, Any]

_ADMISSION = "/apis/admissionregistration.k8s.io/v1"

_PATHS = {
    "EdgeModel": ("/apis/edge5g.io/v1alpha1", "edgemodels"),
    "Deployment": ("/apis/apps/v1", "deployments"),
    "Job": ("/apis/batch/v1", "jobs"),
    "ConfigMap": ("/api/v1", "configmaps"),
    "Service": ("/api/v1", "services"),
    "Secret": ("/api/v1", "secrets"),
    "Pod": ("/api/v1", "pods"),
    "Binding": ("/api/v1", "bindings"),
    "Event": ("/api/v1", "events"),
    "NetworkPolicy": ("/apis/networking.k8s.io/v1", "networkpolicies"),
    "PodDisruptionBudget": ("/apis/policy/v1", "poddisruptionbudgets"),
    "Node": ("/api/v1", "nodes"),
    "Namespace": ("/api/v1", "namespaces"),
    "Lease": ("/apis/coordination.k8s.io/v1", "leases"),
    "LimitRange": ("/api/v1", "limitranges"),
    "ServiceAccount": ("/api/v1", "serviceaccounts"),
    "PriorityClass": ("/apis/scheduling.k8s.io/v1", "priorityclasses"),
    "RuntimeClass": ("/apis/node.k8s.io/v1", "runtimeclasses"),
    "HorizontalPodAutoscaler": ("/apis/autoscaling/v1", "horizontalpodautoscalers"),
    "MutatingWebhookConfiguration": (_ADMISSION, "mutatingwebhookconfigurations"),
    "MutatingAdmissionPolicy": (_ADMISSION, "mutatingadmissionpolicies"),
    "MutatingAdmissionPolicyBinding": (_ADMISSION, "mutatingadmissionpolicybindings"),
}
CLUSTER_WIDE = frozenset(
    {
        "Node",
        "Namespace",
        "PriorityClass",
        "RuntimeClass",
        "MutatingWebhookConfiguration",
        "MutatingAdmissionPolicy",
        "MutatingAdmissionPolicyBinding",
    }
)


class RefusedError(Exception):
    """The API server answered with an error."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message


class Api:
    """One connection pool. ``namespace`` is empty for kinds that have none."""

    def __init__(self, plane: ControlPlane) -> None:
        pair = plane.authority.issue("api-tests", "edgemodel-api-tests", "system:masters")
        context = ssl.create_default_context(cafile=str(plane.authority.cert))
        context.load_cert_chain(pair.cert, pair.key)
        self._http = httpx.Client(base_url=plane.url, verify=context, timeout=30)
        served = {item["version"] for item in self._call("GET", "/apis/policy")["versions"]}
        self._policy = "v1" if "v1" in served else "v1beta1"

    def close(self) -> None:
        """Close all connections."""
        self._http.close()

    def get(self, kind: str, namespace: str, name: str) -> Object | None:
        """The object, or None."""
        try:
            return self._call("GET", self._path(kind, namespace, name))
        except RefusedError as error:
            if error.status != 404:
                raise
            return None

    def list(self, kind: str, namespace: str, selector: str = "") -> list[Object]:
        """All objects that have the labels, by name."""
        answer = self._call("GET", self._path(kind, namespace), query={"labelSelector": selector})
        return sorted(answer["items"], key=lambda item: str(item["metadata"]["name"]))

    def create(self, obj: Object) -> Object:
        """Create; RefusedError with the server's words otherwise."""
        return self._call("POST", self._path(obj["kind"], obj["metadata"].get("namespace", "")), body=obj)

    def merge(self, kind: str, namespace: str, name: str, patch: Object, subresource: str = "") -> Object:
        """Merge patch (RFC 7386); ``subresource`` such as ``status``."""
        path = self._path(kind, namespace, name) + (f"/{subresource}" if subresource else "")
        return self._call("PATCH", path, body=patch, content="application/merge-patch+json")

    def apply(self, obj: Object, manager: str) -> Object:
        """Server-side apply as another field manager, which takes what it names from whoever has it."""
        meta = obj["metadata"]
        path = self._path(obj["kind"], meta.get("namespace", ""), meta["name"])
        query = {"fieldManager": manager, "force": "true"}
        return self._call("PATCH", path, body=obj, content="application/apply-patch+yaml", query=query)

    def evict(self, namespace: str, pod: str) -> None:
        """As ``kubectl drain`` does; RefusedError (429) where a disruption budget does not allow it."""
        eviction = {"apiVersion": f"policy/{self._policy}", "kind": "Eviction", "metadata": {"name": pod}}
        self._call("POST", f"{self._path('Pod', namespace, pod)}/eviction", body=eviction)

    def serves(self, kind: str) -> bool:
        """Whether this version of Kubernetes has the kind."""
        root, plural = _PATHS[kind]
        return any(item["name"] == plural for item in self._call("GET", root)["resources"])

    def delete(self, kind: str, namespace: str, name: str, propagation: str = "Background") -> None:
        """Delete at once (no grace period); one that is gone is fine."""
        body = {"propagationPolicy": propagation, "gracePeriodSeconds": 0}
        try:
            self._call("DELETE", self._path(kind, namespace, name), body=body)
        except RefusedError as error:
            if error.status != 404:
                raise

    def delete_all(self, kind: str, namespace: str) -> None:
        """Delete every object of ``kind`` in ``namespace``."""
        self._call("DELETE", self._path(kind, namespace), body={"propagationPolicy": "Background"})

    def _path(self, kind: str, namespace: str, name: str = "") -> str:
        root, plural = _PATHS[kind]
        if root.startswith("/apis/policy/"):
            root = f"/apis/policy/{self._policy}"
        place = "" if kind in CLUSTER_WIDE else f"/namespaces/{namespace}"
        return f"{root}{place}/{plural}" + (f"/{name}" if name else "")

    def _call(
        self,
        verb: str,
        path: str,
        *,
        body: Object | None = None,
        content: str = "application/json",
        query: dict[str, str] | None = None,
    ) -> Object:
        response = self._http.request(
            verb,
            path,
            content=None if body is None else json.dumps(body),
            headers={"Content-Type": content},
            params=query,
        )
        answer: Object = response.json()
        if response.is_error:
            raise RefusedError(response.status_code, str(answer.get("message", response.text)))
        return answer
