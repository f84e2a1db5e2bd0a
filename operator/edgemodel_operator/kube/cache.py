"""The watch cache: what the API server said last about every object of interest, indexed by EdgeModel.

Objects are kept as compact JSON without the parts that no decision reads, so that thousands fit into little memory.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from edgemodel_operator.api import KIND
from edgemodel_operator.api.labels import MODEL_LABEL
from edgemodel_operator.kube.kinds import CHILD_KINDS, KINDS
from edgemodel_operator.kube.projection import node_from, pod_from
from edgemodel_operator.manifests.names import label_value
from edgemodel_operator.observed import Node, Object, Pod

Key = tuple[str, str]
"""(namespace, name) of an EdgeModel."""

_DROPPED_ANNOTATIONS = (
    "kubectl.kubernetes.io/last-applied-configuration",
    "deployment.kubernetes.io/revision",
)


@dataclass(frozen=True, slots=True)
class _Entry:
    version: int
    data: bytes


class Store:
    """Fed by watch events, lists and the answers to own writes; an older version never replaces a newer one."""

    def __init__(self) -> None:
        self._models: dict[Key, _Entry] = {}
        self._labels: dict[Key, str] = {}
        """(namespace, label value) → name: long names are shortened in labels."""
        self._children: dict[str, dict[Key, dict[str, _Entry]]] = {kind: {} for kind in CHILD_KINDS}
        self._holders: dict[str, dict[Key, str]] = {kind: {} for kind in CHILD_KINDS}
        """(namespace, name) of every child → label value of its EdgeModel."""
        self._pods: dict[Key, dict[str, tuple[int, Pod]]] = {}
        self._nodes: dict[str, tuple[int, Node]] = {}

    def put(self, kind: str, raw: Mapping[str, Any]) -> tuple[Key, ...]:
        """Take in ``raw``; answers the EdgeModels it concerns, none if nothing that matters changed."""
        meta = raw["metadata"]
        version = _version(meta)
        if kind == "Node":
            return self._put_node(node_from(raw), version)
        if kind == KIND:
            key = (meta["namespace"], meta["name"])
            self._labels[meta["namespace"], label_value(meta["name"])] = meta["name"]
            return (key,) if _put(self._models, key, version, raw) else ()
        owner = self._owner(meta)
        if owner is None:
            return ()
        if kind == "Pod":
            pods = self._pods.setdefault(owner, {})
            known = pods.get(meta["name"])
            pod = pod_from(raw)
            if known is not None and known[0] >= version:
                return ()
            pods[meta["name"]] = (version, pod)
            return self._concerned(owner) if known is None or known[1] != pod else ()
        # Whichever version the API server has it in, decisions see the one that they write.
        raw = {**raw, "apiVersion": KINDS[kind].api_version}
        changed = _put(self._children[kind].setdefault(owner, {}), meta["name"], version, raw)
        if changed:
            self._holders[kind][meta["namespace"], meta["name"]] = owner[1]
        return self._concerned(owner) if changed else ()

    def remove(self, kind: str, raw: Mapping[str, Any]) -> tuple[Key, ...]:
        """``raw`` was deleted; answers the EdgeModels it concerns, none if one of the same name was made since."""
        meta = raw["metadata"]
        name, version = meta["name"], _version(meta)
        if kind == "Node":
            return tuple(self._models) if _drop(self._nodes, name, version) else ()
        if kind == KIND:
            key = (meta["namespace"], name)
            if not _drop(self._models, key, version):
                return ()
            self._labels.pop((meta["namespace"], label_value(name)), None)
            return (key,)
        owner = self._owner(meta)
        if owner is None:
            return ()
        group: dict[Key, dict[str, Any]] = self._pods if kind == "Pod" else self._children[kind]
        members = group.get(owner, {})
        if not _drop(members, name, version):
            return ()
        if not members:
            group.pop(owner, None)
        if kind != "Pod" and self._holders[kind].get((owner[0], name)) == owner[1]:
            del self._holders[kind][owner[0], name]
        return self._concerned(owner)

    def replace(self, kind: str, items: Iterable[Mapping[str, Any]], version: int) -> None:
        """Take in a complete list as of ``version``: what it lacks, and was not seen since, is gone."""
        listed = set()
        for raw in items:
            listed.add((raw["metadata"].get("namespace", ""), raw["metadata"]["name"]))
            self.put(kind, raw)
        for namespace, name, seen, labels in list(self._all(kind)):
            if (namespace, name) not in listed and seen <= version:
                meta = {"namespace": namespace, "name": name, "labels": labels, "resourceVersion": str(version)}
                self.remove(kind, {"metadata": meta})

    def models(self) -> tuple[Key, ...]:
        """All EdgeModels."""
        return tuple(self._models)

    def model(self, key: Key) -> Object | None:
        """The EdgeModel as last seen."""
        entry = self._models.get(key)
        return None if entry is None else _decode(entry)

    def children(self, kind: str, key: Key) -> dict[str, Object]:
        """Objects of ``kind`` with the label of the EdgeModel, by name."""
        entries = self._children[kind].get(self._index(key), {})
        return {name: _decode(entry) for name, entry in entries.items()}

    def holder(self, kind: str, namespace: str, name: str) -> str | None:
        """Label value of the EdgeModel that has a child of this kind and name."""
        return self._holders[kind].get((namespace, name))

    def pods(self, key: Key) -> tuple[Pod, ...]:
        """Pods of its Job and of its servers."""
        return tuple(pod for _, pod in self._pods.get(self._index(key), {}).values())

    def nodes(self) -> tuple[Node, ...]:
        """All nodes."""
        return tuple(node for _, node in self._nodes.values())

    def _put_node(self, node: Node, version: int) -> tuple[Key, ...]:
        known = self._nodes.get(node.name)
        if known is not None and known[0] >= version:
            return ()
        self._nodes[node.name] = (version, node)
        # Kubelets report every few minutes; only labels and readiness move sites.
        return tuple(self._models) if known is None or known[1] != node else ()

    def _owner(self, meta: Mapping[str, Any]) -> Key | None:
        label = (meta.get("labels") or {}).get(MODEL_LABEL)
        return None if label is None else (meta["namespace"], label)

    def _index(self, key: Key) -> Key:
        return key[0], label_value(key[1])

    def _concerned(self, owner: Key) -> tuple[Key, ...]:
        name = self._labels.get(owner)
        return () if name is None else ((owner[0], name),)

    def _all(self, kind: str) -> Iterable[tuple[str, str, int, dict[str, str]]]:
        if kind == "Node":
            for name, (version, _) in self._nodes.items():
                yield "", name, version, {}
        elif kind == KIND:
            for (namespace, name), entry in self._models.items():
                yield namespace, name, entry.version, {}
        elif kind == "Pod":
            for (namespace, label), pods in self._pods.items():
                for name, (version, _) in pods.items():
                    yield namespace, name, version, {MODEL_LABEL: label}
        else:
            for (namespace, label), members in self._children[kind].items():
                for name, entry in members.items():
                    yield namespace, name, entry.version, {MODEL_LABEL: label}


def _put(entries: dict[Any, _Entry], name: Any, version: int, raw: Mapping[str, Any]) -> bool:
    known = entries.get(name)
    if known is not None and known.version >= version:
        return False
    entries[name] = _Entry(version, msgspec.json.encode(_slim(raw)))
    return True


def _drop(entries: dict[Any, Any], name: Any, version: int) -> bool:
    """Forget ``name`` unless what is known of it is newer than its deletion; answers whether it is gone now."""
    known = entries.get(name)
    seen = known[0] if isinstance(known, tuple) else known.version if known is not None else 0
    if seen > version:
        return False
    entries.pop(name, None)
    return True


def _slim(raw: Mapping[str, Any]) -> dict[str, Any]:
    meta = {key: value for key, value in raw["metadata"].items() if key != "managedFields"}
    if annotations := meta.get("annotations"):
        meta["annotations"] = {key: annotations[key] for key in annotations if key not in _DROPPED_ANNOTATIONS}
    return {**raw, "metadata": meta}


def _decode(entry: _Entry) -> Object:
    obj: Object = msgspec.json.decode(entry.data)
    return obj


def _version(meta: Mapping[str, Any]) -> int:
    """Resource versions are opaque by contract and increasing numbers in every released API server."""
    text = meta.get("resourceVersion", "0")
    return int(text) if text.isdigit() else 0
