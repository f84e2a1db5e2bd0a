"""What holds for every plan: equal states give equal plans, and what was carried out leaves nothing to do."""

from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from edgemodel_contract.progress import Progress
from edgemodel_contract.result import Candidate, FailureReason
from edgemodel_operator.api import Status
from edgemodel_operator.api.reasons import NOT_READY, Stalls
from edgemodel_operator.kube.kinds import CHILD_KINDS
from edgemodel_operator.observed import SiteLatency
from edgemodel_operator.plan.plan import plan
from tests.unit.operator.builders import ORIGINAL, edge_model, failure, success
from tests.unit.operator.world import World, equal

SITES = ("site-a", "site-b", "site-c")
SCALING = {
    "minReplicas": 1,
    "maxReplicas": 5,
    "target": {"latency": "20ms"},
    "behavior": {"scaleDown": {"stabilizationWindowSeconds": 30}},
}


class Life(RuleBasedStateMachine):
    """An EdgeModel, its users, its cluster and its network, in any order; the operator may be killed at any time."""

    world: World

    @initialize(soak=st.sampled_from(["0s", "20s"]), scaled=st.booleans())
    def apply(self, soak: str, scaled: bool) -> None:
        builder = edge_model().set("rollout", {"soak": soak})
        self.world = World(builder.set("scaling", SCALING) if scaled else builder, SITES)
        self.versions = 0
        self.served: set[str] = set()

    @rule()
    def reconcile(self) -> None:
        self.world.step()

    @rule()
    def come_to_rest(self) -> None:
        """A plan that was carried out leaves nothing to do: nothing applied, no status written, no event told twice."""
        self.world.settle()

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.settle()

    @rule(seconds=st.sampled_from([1, 10, 60]))
    def time_passes(self, seconds: int) -> None:
        self.world.wait(seconds)

    @rule(uri=st.sampled_from(["one", "two"]), memory=st.sampled_from(["1Gi", "2Gi"]), suspend=st.booleans())
    def edit(self, uri: str, memory: str, suspend: bool) -> None:
        self.world.edit("model.uri", f"https://models.example/{uri}.onnx")
        self.world.edit("compression.job", {"resources": {"limits": {"memory": memory}}})
        self.world.edit("suspend", suspend)

    @rule(tls=st.booleans(), parallelism=st.sampled_from(["Pod", "Site"]))
    def serve_otherwise(self, tls: bool, parallelism: str) -> None:
        secured = {"tls": {"secretRef": {"name": "certificate"}}} if tls else {}
        self.world.edit("serving", {"parallelism": parallelism, **secured})

    @rule(sites=st.sampled_from([[], ["site-a"], ["site-b", "site-a"], ["site-c", "moon"]]))
    def place(self, sites: list[str]) -> None:
        self.world.edit("placement.sites", sites)

    @rule(mode=st.sampled_from(["Auto", "Manual"]))
    def spoil(self, mode: str) -> None:
        self.world.edit("compression.mode", mode)

    def _job(self) -> str | None:
        try:
            return self.world.job
        except IndexError:
            return None

    @precondition(lambda self: self._job() is not None)
    @rule(
        outcome=st.sampled_from(["success", "InvalidModel", "RegistryUnavailable", "InternalError", "ObjectivesNotMet"])
    )
    def job_ends(self, outcome: Any) -> None:
        if outcome == "success":
            self.versions += 1
            self.world.finish(success(self.world.task.digest, self.versions))
        else:
            self.world.finish(failure(self.world.task.digest, outcome, "Why."))

    @precondition(lambda self: self._job() is not None)
    @rule(how=st.sampled_from(["evicted", "oom", "gone", "deadline"]))
    def job_dies(self, how: str) -> None:
        if how == "evicted":
            self.world.put_pod(self.world.job_pod().evicted())
        elif how == "oom":
            self.world.put_pod(self.world.job_pod().exited(137, reason="OOMKilled", at=self.world.now))
        self.world.fail_job("DeadlineExceeded" if how == "deadline" else "BackoffLimitExceeded")

    @precondition(lambda self: self._job() is not None)
    @rule(fraction=st.floats(0, 1))
    def job_goes_on(self, fraction: float) -> None:
        self.world.put_pod(self.world.job_pod().running())
        self.world.progress = Progress(step="Evaluating", message=f"{fraction:.3f}", fraction=fraction)

    @rule()
    def sites_come_up(self) -> None:
        self.world.roll_out()

    @rule(site=st.sampled_from(SITES), why=st.sampled_from(["pull", "crash", "room", "late"]))
    def site_fails(self, site: str, why: str) -> None:
        if site not in self.world.deployed:
            return
        pod = self.world.server_pod(site)
        kinds = {
            "pull": pod.waiting("ErrImagePull", "no route"),
            "crash": pod.exited(1, "no", again=True),
            "room": pod.unschedulable("no room"),
            "late": pod.running(),
        }
        reason = "ProgressDeadlineExceeded" if why == "late" else "ReplicaSetUpdated"
        self.world.stand_still(site, kinds[why], reason)

    @rule(site=st.sampled_from(SITES), back=st.booleans())
    def link(self, site: str, back: bool) -> None:
        if back:
            self.world.restore(site)
        else:
            self.world.cut(site)

    @rule(site=st.sampled_from(SITES), seconds=st.one_of(st.none(), st.floats(0, 0.2)))
    def traffic(self, site: str, seconds: float | None) -> None:
        rate = 0 if seconds is None else 50
        self.world.latency = self.world.latency | {site: SiteLatency(seconds, rate, 100, self.world.now)}

    @rule(kind=st.sampled_from(CHILD_KINDS), data=st.data())
    def somebody_deletes_a_child(self, kind: str, data: st.DataObject) -> None:
        names = sorted(self.world.objects[kind])
        if names:
            self.world.objects[kind].pop(data.draw(st.sampled_from(names)))

    @rule(site=st.sampled_from(SITES), replicas=st.integers(0, 9))
    def somebody_edits_a_deployment(self, site: str, replicas: int) -> None:
        if site in self.world.deployed:
            present = self.world.deployment(site)
            present["spec"]["replicas"] = replicas
            present["spec"]["template"]["spec"]["containers"][0]["image"] = "debug:latest"
            present["metadata"]["generation"] += 1

    @invariant()
    def every_plan_is_sound(self) -> None:
        world = self.world
        decided = world.plan()
        again = plan(world.model, world.observed(), world.settings, world.now)
        assert decided == again, "the same state gives the same plan"
        stored = msgspec.json.decode(msgspec.json.encode(decided.status))
        assert msgspec.convert(stored, Status) == decided.status, "the status is what a server gives back"
        self._kstatus_is_of_one_mind(decided.status)

        gone = {ref.name for ref in decided.delete if ref.kind == "Deployment"}
        assert gone <= {f"digits-{site}" for site in SITES if site not in self._placed()}, "nobody asked for that"
        assert not gone & {obj["metadata"]["name"] for obj in decided.apply}
        unreachable = {f"digits-{item.name.removeprefix('node-of-')}" for item in world.nodes if not item.ready}
        assert not unreachable & {obj["metadata"]["name"] for obj in decided.apply}, "what is cut off is left alone"

    def _kstatus_is_of_one_mind(self, status: Status) -> None:
        conditions = {item.type: item for item in status.conditions}
        summary = [conditions[kind] for kind in ("Ready", "Stalled", "Reconciling")]
        assert [item.status for item in summary].count("True") <= 1
        assert len({item.reason for item in summary}) == 1
        if conditions["Ready"].status != "True":
            stalls = NOT_READY[conditions["Ready"].reason].stalls
            if stalls in (Stalls.NO, Stalls.YES):
                assert conditions["Stalled"].status == ("True" if stalls is Stalls.YES else "False")
        generation = self.world.model.metadata.generation
        assert {item.observed_generation for item in conditions.values()} == {generation}
        assert all(item.reason.isalnum() and item.message for item in conditions.values())

    def _placed(self) -> list[str]:
        spec = self.world.model.spec
        assert spec is not None
        sites = spec.placement.sites
        return list(sites) if isinstance(sites, list) and sites else list(SITES)


Life.TestCase.settings = settings(
    max_examples=settings().max_examples // 4,
    stateful_step_count=20,
    suppress_health_check=[HealthCheck.too_slow],
)
TestLife = Life.TestCase


@pytest.mark.parametrize("steps", range(8))
def test_an_operator_killed_after_any_step_is_made_up_for(steps: int) -> None:
    """Half a plan carried out, the rest lost: the next process ends at the same place."""
    killed, spared = World(), World()
    spared.serve()
    for _ in range(steps):
        if killed.condition("Ready").status == "True" if killed.model.status.conditions else False:
            break
        decided = killed.plan()
        for obj in decided.apply[:1]:
            killed._take(obj)
        if not decided.apply:
            killed.step()
    killed.serve()
    assert killed.images() == spared.images()
    assert equal(killed.model.status.model, spared.model.status.model)
    assert sorted(killed.objects["Service"]) == sorted(spared.objects["Service"])


reasons: st.SearchStrategy[FailureReason] = st.sampled_from(["ObjectivesNotMet", "SourceUnavailable", "InvalidModel"])


@given(reasons, st.text(max_size=2000), st.floats(0, 1), st.integers(0, 10**12))
def test_any_result_of_a_job_makes_a_status_that_is_written_once(
    reason: FailureReason, message: str, accuracy: float, size: int
) -> None:
    measured = msgspec.structs.replace(ORIGINAL, accuracy=accuracy, size=size)
    world = World()
    world.settle()
    world.finish(failure(world.task.digest, reason, message, Candidate(method="prune-0.5", measured=measured)))
    world.settle()
    world.edit("model.uri", "https://models.example/other.onnx").settle()
    answer = success(world.task.digest)
    chosen = Candidate(method="prune-0.5", measured=measured)
    world.finish(msgspec.structs.replace(answer, chosen=chosen))
    world.settle()
    assert all(len(item.message) <= 1024 for item in world.model.status.conditions)
