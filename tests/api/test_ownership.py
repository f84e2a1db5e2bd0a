"""Children: healed when touched, taken along on deletion, and never those of somebody else."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.api.client import Api, Object
from tests.api.edge_model import server_container
from tests.api.operator_process import OperatorProcess
from tests.api.waiting import eventually, steady
from tests.api.world import World

pytestmark = [pytest.mark.api, pytest.mark.usefixtures("operator")]


@pytest.mark.parametrize("kind", ["Deployment", "Service"])
def test_a_deleted_child_comes_back(world: World, api: Api, kind: str) -> None:
    digits = world.create()
    digits.bring_to_ready("site-a", "site-b")
    before = next(item for item in digits.children(kind) if item["metadata"]["name"] == "digits-site-a")
    api.delete(kind, world.namespace, "digits-site-a")

    def again() -> Object | None:
        now = api.get(kind, world.namespace, "digits-site-a")
        return now if now and now["metadata"]["uid"] != before["metadata"]["uid"] else None

    eventually(f"the {kind} to come back", again, explain=digits.explain)
    if kind == "Deployment":
        digits.serve("site-a")
    digits.wait_for("Ready", "True")


def server(deployment: Object, **changes: Any) -> Object:
    """A patch that gives a Deployment another server container."""
    container = server_container(deployment) | changes
    return {"spec": {"template": {"spec": {"containers": [container]}}}}


Edit = Callable[[Object], Object]
ADDED = {"name": "ADDED", "value": "by hand"}

EDITS: list[tuple[str, str, Edit]] = [
    ("another image", "Deployment", lambda old: server(old, image="example.com/other:1")),
    ("one more variable", "Deployment", lambda old: server(old, env=[*server_container(old)["env"], ADDED])),
    ("no probe", "Deployment", lambda old: server(old, readinessProbe=None)),
    ("replicas", "Deployment", lambda _: {"spec": {"replicas": 5}}),
    ("a label", "Deployment", lambda _: {"metadata": {"labels": {"edge5g.io/site": "elsewhere"}}}),
    ("no owner", "Deployment", lambda _: {"metadata": {"ownerReferences": None}}),
    ("another selector", "Service", lambda _: {"spec": {"selector": {"edge5g.io/site": "elsewhere"}}}),
    ("another port", "Service", lambda _: {"spec": {"ports": [{"name": "http", "port": 81, "targetPort": 1}]}}),
    ("one more port", "Service", lambda old: {"spec": {"ports": [*old["spec"]["ports"], {"name": "x", "port": 81}]}}),
]


@pytest.mark.parametrize(("kind", "edit"), [row[1:] for row in EDITS], ids=[f"{row[1]}, {row[0]}" for row in EDITS])
def test_an_edited_child_is_put_back(world: World, api: Api, kind: str, edit: Edit) -> None:
    digits = world.create()
    image = digits.bring_to_ready("site-a", "site-b")
    before = api.get(kind, world.namespace, "digits-site-a")
    assert before is not None
    edited = api.merge(kind, world.namespace, "digits-site-a", edit(before))
    assert intent(edited) != intent(before)

    def restored() -> bool:
        now = api.get(kind, world.namespace, "digits-site-a")
        return now is not None and intent(now) == intent(before)

    eventually(f"{kind} to be put back", restored, explain=digits.explain)
    digits.wait_for_site("site-a", "Ready")
    assert digits.image("site-a") == image


def intent(obj: Object) -> Object:
    """What somebody decided about an object."""
    return {"spec": obj["spec"], **{key: obj["metadata"].get(key) for key in ("labels", "ownerReferences")}}


def test_what_others_add_to_a_child_is_left(world: World, api: Api, operator: OperatorProcess) -> None:
    digits = world.create()
    digits.bring_to_ready("site-a", "site-b")
    api.merge("Deployment", world.namespace, "digits-site-a", {"metadata": {"annotations": {"team": "radio"}}})
    operator.settle()
    digits.nudge("look")
    steady("the operator's writes", operator.writes, seconds=1)
    assert digits.wait_for_deployment("site-a")["metadata"]["annotations"]["team"] == "radio"


def test_a_deployment_of_the_same_name_that_is_not_ours_is_not_taken_over(world: World, api: Api) -> None:
    labels = {"app": "somebody-elses"}
    container = {"name": "web", "image": "example.com/web:1"}
    foreign = api.create(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "digits-site-a", "namespace": world.namespace},
            "spec": {
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
            },
        }
    )
    digits = world.create()
    image = digits.finish_job()
    ready = digits.wait_for("Ready", "False", "NameConflict")
    assert "Deployment/digits-site-a belongs to somebody else" in ready["message"]
    assert digits.condition("Stalled")["status"] == "True"
    now = digits.wait_for_deployment("site-a")
    assert now["metadata"]["uid"] == foreign["metadata"]["uid"]
    assert now["spec"] == foreign["spec"]
    assert "ownerReferences" not in now["metadata"]
    api.delete("Deployment", world.namespace, "digits-site-a")
    digits.nudge("look")
    digits.serve("site-a", image)
    digits.serve("site-b", image)
    digits.wait_for("Ready", "True")


def test_a_service_of_the_same_name_that_is_not_ours_is_not_taken_over(world: World, api: Api) -> None:
    api.create(
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "digits-site-a", "namespace": world.namespace},
            "spec": {"selector": {"app": "somebody-elses"}, "ports": [{"name": "web", "port": 80, "targetPort": 9}]},
        }
    )
    digits = world.create()
    digits.finish_job()
    digits.wait_for("Ready", "False", "NameConflict")
    service = api.get("Service", world.namespace, "digits-site-a")
    assert service is not None
    assert service["spec"]["selector"] == {"app": "somebody-elses"}
    assert service["spec"]["ports"][0]["targetPort"] == 9


def test_a_child_whose_name_another_model_reads_too_stays_with_the_first(world: World) -> None:
    """``digits`` on site ``edge-a`` and ``digits-edge`` on site ``a`` both come to ``digits-edge-a``."""
    placement = world.own_site("edge-a", "a")
    first = world.create("digits", placement=placement | {"sites": ["edge-a"]})
    image = first.bring_to_ready("edge-a")
    second = world.create("digits-edge", placement=placement | {"sites": ["a"]})
    second.finish_job()
    ready = second.wait_for("Ready", "False", "NameConflict")
    assert "child of EdgeModel digits" in ready["message"]
    assert first.image("edge-a") == image
    assert first.condition("Ready")["status"] == "True"


def test_deleting_the_model_takes_the_children_along(world: World) -> None:
    digits = world.create()
    digits.bring_to_ready("site-a", "site-b")
    assert "finalizers" not in digits.read()["metadata"]
    digits.delete()
    digits.wait_until_collected()


def test_a_model_deleted_while_the_operator_is_down_goes_with_its_children(
    world: World, operator: OperatorProcess
) -> None:
    digits = world.create()
    digits.bring_to_ready("site-a", "site-b")
    operator.kill()
    digits.delete()
    digits.wait_until_collected()
    operator.start()
    operator.settle()
    steady("the operator's writes", operator.writes, seconds=1)
    digits.wait_until_collected()


def test_a_model_recreated_at_once_starts_anew_with_children_of_its_own(world: World) -> None:
    digits = world.create()
    first = digits.bring_to_ready("site-a", "site-b", image_digest="1" * 64)
    old = digits.read()["metadata"]["uid"]
    digits.delete()
    digits = world.create()
    second = digits.bring_to_ready("site-a", "site-b", image_digest="2" * 64)
    uid = digits.read()["metadata"]["uid"]
    assert (first, uid) != (second, old)
    for kind in ("ConfigMap", "Job", "Deployment", "Service"):
        owners = {owner["uid"] for item in digits.children(kind) for owner in item["metadata"]["ownerReferences"]}
        assert owners == {uid}, kind
    assert "previousImage" not in digits.status["model"]


def test_two_models_of_the_same_name_in_two_namespaces_do_not_meet(world: World) -> None:
    other = f"{world.namespace}-other"
    world.add_namespace(other)
    one, two = world.create(), world.create(namespace=other)
    first = one.bring_to_ready("site-a", "site-b", image_digest="1" * 64)
    two.fail_job("InvalidModel", "Not a model.")
    two.wait_for("Ready", "False", "InvalidModel")
    assert one.condition("Ready")["status"] == "True"
    two.edit({"model": {"uri": "oci://registry.test/models/digits:v2"}})
    second = two.bring_to_ready("site-a", "site-b", image_digest="2" * 64)
    assert first.partition("@")[0] != second.partition("@")[0]
    two.delete()
    two.wait_until_collected()
    assert one.condition("Ready")["status"] == "True"
    assert one.image("site-a") == first


def test_a_long_name_and_an_upper_case_site_make_valid_children(world: World) -> None:
    name = "a-very-long-name-for-a-model-" + "x" * 60
    digits = world.create(name, placement=world.own_site("Zuerich-7"))
    task, job = digits.task()
    assert len(job["metadata"]["name"]) <= 63
    digits.finish_job()
    digits.wait_for("Compressed", "True")
    deployment = eventually(
        "a Deployment", lambda: next(iter(world.api.list("Deployment", world.namespace)), None), explain=digits.explain
    )
    assert deployment["metadata"]["labels"]["edge5g.io/site"] == "Zuerich-7"
    assert server_container(deployment)["image"].startswith(task.repository)
