"""The watch cache: an older version never wins, and what concerns an EdgeModel marks it."""

import pytest

from edgemodel_operator.api import KIND
from edgemodel_operator.kube.cache import Store
from edgemodel_operator.kube.kinds import CHILD_KINDS
from edgemodel_operator.manifests.names import label_value, model_labels
from edgemodel_operator.observed import Object
from tests.unit.operator.builders import edge_model, job_pod, server_pod

KEY = ("default", "digits")


def model(version: int, name: str = "digits", **spec: object) -> Object:
    raw = edge_model(name).raw()
    raw["metadata"]["resourceVersion"] = str(version)
    raw["spec"] |= spec
    return raw


def child(version: int, name: str = "child", of: str = "digits", **fields: object) -> Object:
    metadata = {
        "name": name,
        "namespace": "default",
        "resourceVersion": str(version),
        "labels": model_labels(of, "inference"),
    }
    return {"metadata": metadata, **fields}


def node(version: int, name: str = "n1", ready: str = "True", **labels: str) -> Object:
    status = {"conditions": [{"type": "Ready", "status": ready}]}
    return {"metadata": {"name": name, "resourceVersion": str(version), "labels": labels}, "status": status}


def with_version(raw: Object, version: int) -> Object:
    raw["metadata"]["resourceVersion"] = str(version)
    return raw


@pytest.fixture
def store() -> Store:
    filled = Store()
    filled.put(KIND, model(1))
    return filled


def test_a_model_is_marked_when_it_changes(store: Store) -> None:
    assert store.put(KIND, model(2)) == (KEY,)
    assert store.put(KIND, model(2)) == (), "the same version again, from a list, say"
    assert store.models() == (KEY,)


def test_an_older_model_never_wins(store: Store) -> None:
    store.put(KIND, model(10, suspend=True))
    assert store.put(KIND, model(9, suspend=False)) == ()
    found = store.model(KEY)
    assert found is not None
    assert found["spec"]["suspend"] is True


@pytest.mark.parametrize("kind", CHILD_KINDS)
def test_children_are_found_by_their_model(store: Store, kind: str) -> None:
    assert store.put(kind, child(5, data="new")) == (KEY,)
    assert store.put(kind, child(4, data="old")) == ()
    assert store.children(kind, KEY)["child"]["data"] == "new"
    assert store.remove(kind, child(6)) == (KEY,)
    assert store.children(kind, KEY) == {}


def test_whose_child_has_a_name_is_known_until_it_is_gone(store: Store) -> None:
    store.put("Service", child(5, of="other"))
    assert store.holder("Service", "default", "child") == "other"
    assert store.holder("Service", "elsewhere", "child") is None
    assert store.holder("Deployment", "default", "child") is None
    store.remove("Service", child(6, of="other"))
    assert store.holder("Service", "default", "child") is None
    store.remove("Service", child(7, of="nobody-knows"))


def test_versions_are_compared_as_numbers(store: Store) -> None:
    store.put("Service", child(10, data="new"))
    assert store.put("Service", child(9, data="old")) == ()


def test_children_of_nobody_and_of_others_are_passed_over(store: Store) -> None:
    stranger = child(5)
    del stranger["metadata"]["labels"]
    assert store.put("Service", stranger) == ()
    assert store.put("Service", child(5, of="somebody")) == ()
    assert store.children("Service", KEY) == {}
    assert store.remove("Service", stranger) == ()


def test_children_seen_before_their_model_are_there_when_it_comes() -> None:
    """Watches of different kinds start in any order."""
    store = Store()
    assert store.put("Service", child(5)) == ()
    assert store.put(KIND, model(6)) == (KEY,)
    assert list(store.children("Service", KEY)) == ["child"]


def test_namesakes_in_two_namespaces_do_not_meet(store: Store) -> None:
    other = child(5)
    other["metadata"]["namespace"] = "other"
    assert store.put("Service", other) == ()
    assert store.children("Service", KEY) == {}


def test_a_name_too_long_for_a_label_is_found_all_the_same() -> None:
    name = "digits." * 30 + "v1"
    store = Store()
    store.put(KIND, model(1, name))
    assert label_value(name) != name
    assert store.put("Deployment", child(2, of=name)) == (("default", name),)
    assert list(store.children("Deployment", ("default", name))) == ["child"]
    assert store.remove("Deployment", child(3, of=name)) == (("default", name),)


def test_pods_are_kept_as_the_facts_that_decide(store: Store) -> None:
    pending = server_pod("site-a")
    assert store.put("Pod", with_version(pending.raw(), 1)) == (KEY,)
    assert store.put("Pod", with_version(pending.raw(), 2)) == (), "nothing that matters changed"
    assert store.put("Pod", with_version(pending.ready().raw(), 3)) == (KEY,)
    (found,) = store.pods(KEY)
    assert found.ready
    assert store.put("Pod", with_version(pending.raw(), 2)) == ()
    assert store.pods(KEY) == (found,)
    assert store.remove("Pod", with_version(pending.raw(), 4)) == (KEY,)
    assert store.pods(KEY) == ()


def test_an_older_pod_never_wins_over_one_that_looks_the_same(store: Store) -> None:
    running, ready = server_pod("site-a").running(), server_pod("site-a").ready()
    store.put("Pod", with_version(running.raw(), 1))
    store.put("Pod", with_version(running.raw(), 5))
    assert store.put("Pod", with_version(ready.raw(), 4)) == ()
    assert not store.pods(KEY)[0].ready


def test_a_pod_without_the_models_label_is_not_kept(store: Store) -> None:
    assert store.put("Pod", with_version(job_pod("a-job").raw(), 1)) == ()


def test_nodes_mark_every_model_when_labels_or_readiness_move(store: Store) -> None:
    store.put(KIND, model(2, "other"))
    everybody = {KEY, ("default", "other")}
    assert set(store.put("Node", node(1))) == everybody
    assert store.put("Node", node(2)) == (), "a heartbeat"
    assert set(store.put("Node", node(3, ready="Unknown"))) == everybody
    assert set(store.put("Node", node(4, ready="Unknown", zone="a"))) == everybody
    assert store.put("Node", node(2)) == ()
    assert [found.ready for found in store.nodes()] == [False]
    assert set(store.remove("Node", node(5))) == everybody
    assert store.nodes() == ()


def test_a_list_replaces_what_vanished_unnoticed(store: Store) -> None:
    store.put("Service", child(5, "kept"))
    store.put("Service", child(6, "vanished"))
    store.put("Service", child(12, "newer-than-the-list"))
    store.put("Pod", with_version(server_pod("site-a").raw(), 3))
    store.put("Node", node(4))
    store.replace("Service", [child(5, "kept"), child(9, "missed")], version=10)
    assert sorted(store.children("Service", KEY)) == ["kept", "missed", "newer-than-the-list"]
    store.replace("Pod", [], version=10)
    store.replace("Node", [], version=10)
    assert store.pods(KEY) == ()
    assert store.nodes() == ()
    store.replace(KIND, [], version=10)
    assert store.models() == ()


def test_a_list_that_is_older_than_what_is_known_changes_nothing(store: Store) -> None:
    store.put("Service", child(5, data="new"))
    store.replace("Service", [child(3, data="old")], version=4)
    assert store.children("Service", KEY)["child"]["data"] == "new"
    store.replace("Service", [], version=4)
    assert "child" in store.children("Service", KEY)


def test_a_model_that_is_deleted_is_gone_and_its_children_wait_for_their_own_events(store: Store) -> None:
    store.put("Service", child(5))
    assert store.remove(KIND, model(9)) == (KEY,)
    assert store.model(KEY) is None
    assert store.remove("Service", child(10)) == ()


def test_what_nobody_reads_is_not_kept(store: Store) -> None:
    raw = child(5)
    raw["metadata"]["managedFields"] = [{"manager": "x" * 1000}]
    raw["metadata"]["annotations"] = {"kubectl.kubernetes.io/last-applied-configuration": "{}", "mine": "1"}
    store.put("Deployment", raw)
    metadata = store.children("Deployment", KEY)["child"]["metadata"]
    assert "managedFields" not in metadata
    assert metadata["annotations"] == {"mine": "1"}


def test_what_is_handed_out_is_a_copy(store: Store) -> None:
    found = store.model(KEY)
    assert found is not None
    found["spec"].clear()
    again = store.model(KEY)
    assert again is not None
    assert again["spec"]
