"""Who else changes what the operator applies: it corrects a slip, and yields to what comes back again and again."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgemodel_operator.manifests.drift import differences
from edgemodel_operator.observed import Replicas
from edgemodel_operator.plan.policy.contest import (
    TIMES,
    WINDOW,
    Correction,
    corrected,
    describe,
    is_contested,
    is_needed,
    is_over,
    seen,
)
from tests.unit.operator.builders import NOW, edge_model
from tests.unit.operator.world import World

SECOND = timedelta(seconds=1)
ADDED = (("spec.env[ADDED]", "{'name': 'ADDED'}"),)


def test_replicas_that_are_as_asked_for_are_nobodys_change() -> None:
    replicas = Replicas(asked=3)
    for second in range(100):
        replicas = seen(replicas, 3, NOW + second * SECOND)
    assert not is_contested(replicas)


def test_a_hand_that_scales_now_and_then_is_no_contest() -> None:
    replicas = Replicas(asked=1)
    for look in range(20):
        replicas = seen(replicas, 5, NOW + look * (WINDOW / (TIMES - 1) + SECOND))
        assert not is_contested(replicas)
        replicas = Replicas(1, replicas.changed)


@given(st.lists(st.sampled_from(["autoscaler", "nothing", "look"]), min_size=1, max_size=60))
def test_an_autoscaler_is_corrected_less_often_than_it_takes_to_be_one(steps: list[str]) -> None:
    replicas, found, corrections = Replicas(asked=1), 1, 0
    for number, step in enumerate(steps):
        if step == "autoscaler":
            found = 3
        if step != "look":
            continue
        replicas = seen(replicas, found, NOW + number * SECOND)
        if not is_contested(replicas) and found != 1:
            found, corrections = 1, corrections + 1
            replicas = Replicas(1, replicas.changed)
    assert corrections < TIMES


def test_a_deployment_that_is_gone_leaves_nothing_to_contest() -> None:
    assert seen(Replicas(3, (NOW, NOW, NOW)), None, NOW) == Replicas()


def test_a_plan_yields_says_so_and_keeps_to_it_until_the_scaling_is_another() -> None:
    world = World(edge_model(), sites=("site-a",))
    world.serve()
    for _ in range(TIMES):
        assert world.deployment("site-a")["spec"]["replicas"] == 1
        world.deployment("site-a")["spec"]["replicas"] = 3
        world.settle()
    assert world.deployment("site-a")["spec"]["replicas"] == 3
    assert ("Warning", "ReplicasContested") in world.events
    world.replicas = {}
    world.settle()
    assert world.deployment("site-a")["spec"]["replicas"] == 3, "a process that knows nothing reads it from the status"
    world.edit("scaling.minReplicas", 2).settle()
    assert world.deployment("site-a")["spec"]["replicas"] == 2


def test_what_the_api_server_itself_answers_is_let_be() -> None:
    once = corrected(None, "desired", ADDED, NOW)
    assert not is_needed(once, "desired", ADDED)
    assert is_needed(once, "another", ADDED), "the spec has changed"
    assert is_needed(once, "desired", (*ADDED, ("spec.image", "'other'"))), "somebody has changed more"


def test_a_manager_that_comes_back_is_yielded_to() -> None:
    last: Correction | None = None
    corrections = 0
    for second in range(50):
        if is_needed(last, "desired", ADDED):
            last = corrected(last, "desired", (), NOW + second * SECOND)
            corrections += 1
    assert corrections == 1 + TIMES
    assert last is not None
    assert last.contested
    assert not is_over(last, NOW + 50 * SECOND)
    assert is_over(last, NOW + 50 * SECOND + WINDOW)


@pytest.mark.parametrize(
    ("desired", "present", "said"),
    [
        ({"spec": {"replicas": 1}}, {"spec": {"replicas": 2}}, "spec.replicas"),
        ({"a": [{"name": "x", "env": [1]}]}, {"a": [{"name": "x", "env": [1, 2]}]}, "a[x].env"),
        ({"a": [{"name": "x"}]}, {"a": [{"name": "x"}, {"name": "y"}]}, "a[y]"),
        ({"a": 1, "b": 1, "c": 1, "d": 1}, {}, "a, b, c …"),
    ],
)
def test_fields_are_named_by_their_paths(desired: object, present: object, said: str) -> None:
    assert describe(differences(desired, present)) == said
