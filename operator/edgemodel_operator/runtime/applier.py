"""Carries a plan out: server-side apply of what differs, deletions, and what is remembered of the answers."""

from collections.abc import Callable, Mapping
from datetime import datetime

from edgemodel_contract.encoding import digest
from edgemodel_operator.api import EdgeModel
from edgemodel_operator.kube.cache import Key, Store
from edgemodel_operator.kube.client import ApiError, Cluster
from edgemodel_operator.manifests.deployment import gives_up_replicas
from edgemodel_operator.manifests.drift import differences, differs
from edgemodel_operator.manifests.owned import is_owned
from edgemodel_operator.observed import Object, Refusal
from edgemodel_operator.plan.plan import Plan
from edgemodel_operator.plan.policy.contest import Correction, corrected, describe, is_needed, is_over
from edgemodel_operator.plan.policy.refusal import refusal_reason


class Applier:
    """One per process. What it remembers of corrections is a cache: without it, each is made once more."""

    def __init__(self, store: Store, now: Callable[[], datetime]) -> None:
        self._store = store
        self._now = now
        self._corrections: dict[Key, dict[str, Correction]] = {}
        """EdgeModel → ``Kind/name`` → what was applied last, and what became of it."""

    def forget(self, key: Key | None = None) -> None:
        """An EdgeModel is gone, or with None: others may have been at work meanwhile."""
        if key is None:
            self._corrections.clear()
        else:
            self._corrections.pop(key, None)

    async def carry_out(self, cluster: Cluster, model: EdgeModel, decided: Plan) -> dict[str, Refusal]:
        """Apply, scale, delete. What the API server refuses for good reason is returned, by ``Kind/name``."""
        refusals: dict[str, Refusal] = {}
        children = {kind: self._store.children(kind, model.key) for kind in {obj["kind"] for obj in decided.apply}}
        adopts = any(not _is_present(obj, children, model) for obj in decided.apply)
        if adopts and not await cluster.is_alive(model):
            # The cache lags behind. A child that a deletion has just orphaned would be adopted by the dying owner, and
            # the garbage collector would take it along.
            return refusals
        before = self._corrections.get(model.key, {})
        corrections = {name: item for name, item in before.items() if not is_over(item, self._now())}
        self._corrections[model.key] = corrections
        for obj in decided.apply:
            kind, name = obj["kind"], obj["metadata"]["name"]
            full, intent = f"{kind}/{name}", digest(obj)
            present = children[kind].get(name)
            if present is not None and present["metadata"].get("ownerReferences") and not is_owned(present, model):
                raise ApiError(409, f"{kind}/{name} of an EdgeModel of the same name is still being deleted")
            # Both would apply as the same manager, so the API server would hand the object from one to the other.
            holder = self._store.holder(kind, model.metadata.namespace, name) if present is None else None
            if holder is not None:
                refusals[full] = Refusal("NameConflict", f"it is a child of EdgeModel {holder}.")
                continue
            last, found = corrections.get(full), differences(obj, present)
            if present is not None and last is not None and not is_needed(last, intent, found):
                if found != last.answer:
                    refusals[full] = Refusal("ChildContested", describe(found))
                continue
            try:
                # A first apply does not take fields from anybody: an object of this name may be somebody else's.
                answer = await (cluster.apply(obj, force=False) if present is None else _reapply(cluster, obj, present))
            except ApiError as error:
                reason = refusal_reason(error.status, error.message)
                if reason is None:
                    raise
                refusals[full] = Refusal(reason, error.message)
                continue
            self._store.put(kind, answer)
            corrections[full] = corrected(last, intent, differences(obj, answer), self._now())
        namespace = model.metadata.namespace
        for change in decided.scale:
            self._store.put("Deployment", await cluster.scale(namespace, change.name, change.replicas))
        for ref in decided.delete:
            await cluster.delete(ref.kind, namespace, ref.name)
        return refusals


async def _reapply(cluster: Cluster, obj: Object, present: Object) -> Object:
    """Apply to a child that exists. Entries that were added to its lists by hand, which apply would leave and
    which may even stand in its way (two ports of one name), are taken out.
    """
    if gives_up_replicas(obj, present):
        await cluster.give_up_replicas(obj["metadata"]["namespace"], obj["metadata"]["name"])
    try:
        answer = await cluster.apply(obj, force=True)
    except ApiError as error:
        if error.status != 422:
            raise
    else:
        if not differs(obj, answer):
            return answer
    return await cluster.overwrite(obj)


def _is_present(obj: Object, children: Mapping[str, Mapping[str, Object]], model: EdgeModel) -> bool:
    """Whether a child that is to be applied is there and belongs to ``model`` already."""
    present = children[obj["kind"]].get(obj["metadata"]["name"])
    return present is not None and is_owned(present, model)
