"""The plan while a model is compressed: bad input ends in a reason and a sentence, and what serves keeps serving."""

import copy

import msgspec
import pytest

from edgemodel_contract.encoding import decode
from edgemodel_contract.progress import Progress
from edgemodel_contract.result import Candidate, FailureReason
from edgemodel_contract.serving import TIMINGS_VARIABLE, Timing, Timings
from edgemodel_operator.api import CompressionStatus
from edgemodel_operator.manifests.deployment import deployment_name
from edgemodel_operator.observed import Refusal
from tests.unit.operator.builders import SMALL, after, edge_model, failure, image, success
from tests.unit.operator.world import World, nothing_to_do

BAD_URI = "https://models.example/bad.onnx"


def serving() -> World:
    return World().serve()


def compression(world: World) -> CompressionStatus:
    status = world.model.status.compression
    assert isinstance(status, CompressionStatus)
    return status


def test_a_new_model_gets_its_task_and_its_job_and_nothing_else() -> None:
    decided = World().plan()
    assert [obj["kind"] for obj in decided.apply] == ["NetworkPolicy", "ConfigMap", "Job"]
    assert not decided.delete
    world = World()
    world.settle()
    assert (world.condition("Ready").reason, world.condition("Reconciling").status) == ("Compressing", "True")
    assert world.condition("Stalled").status == "False"
    assert world.condition("Compressed").reason == "Compressing"


def test_while_a_job_runs_its_progress_is_looked_at_again() -> None:
    world = World()
    world.settle()
    world.put_pod(world.job_pod().running())
    world.progress = Progress(step="Measuring", message="dynamic-int8", fraction=0.42)
    decided = world.settle()
    assert decided.requeue_after is not None
    progress = compression(world).progress
    assert (progress.step, progress.percent) == ("Measuring", 42)  # type: ignore[union-attr]
    assert world.condition("Ready").message == "Measuring: dynamic-int8"


def test_a_little_progress_is_not_worth_a_write() -> None:
    world = World()
    world.settle()
    world.put_pod(world.job_pod().running())
    world.progress = Progress(step="Evaluating", message="half of the candidates", fraction=0.40)
    before = world.settle().status
    world.progress = Progress(step="Evaluating", message="a few more", fraction=0.45)
    assert world.plan().status == before
    world.progress = Progress(step="Evaluating", message="most of them", fraction=0.51)
    assert world.plan().status.compression.progress.percent == 51  # type: ignore[union-attr]


def test_a_success_rolls_out_and_says_what_was_measured() -> None:
    world = serving()
    assert world.images() == {"site-a": image(1), "site-b": image(1)}
    assert (world.condition("Ready").status, world.condition("Available").status) == ("True", "True")
    assert world.condition("Compressed").message == (
        "static-int8: size 46.8→11.8 MB, p95 34.2ms→11.4ms with 1 thread, Top1 99.10→98.90% on 360 samples."
    )
    summary = world.model.status.summary
    assert summary is not None
    assert (summary.size, summary.accuracy, summary.sites) == ("46.8→11.8 MB", "99.10→98.90%", "2/2")
    assert ("Normal", "Ready") in world.events


@pytest.mark.parametrize(
    "reason",
    ["SourceUnavailable", "ChecksumMismatch", "InvalidModel", "InvalidDataset", "ObjectivesNotMet", "InternalError"],
)
def test_a_bad_model_while_a_good_one_serves(reason: FailureReason) -> None:
    world = serving().edit("model.uri", BAD_URI)
    world.settle()
    untouched = world.objects["Deployment"]
    world.events.clear()
    world.finish(failure(world.task.digest, reason, "What is wrong, and what to do."))
    decided = world.settle()

    assert world.objects["Deployment"] == untouched
    assert world.images() == {"site-a": image(1), "site-b": image(1)}
    ready = world.condition("Ready")
    assert (ready.status, ready.reason) == ("False", reason)
    assert ready.message.startswith("What is wrong, and what to do.")
    assert "The version before keeps serving." in ready.message
    assert world.condition("Available").status == "True"
    assert world.condition("Compressed").reason == reason
    retried = reason in ("SourceUnavailable", "InternalError")
    assert world.condition("Stalled").status == ("False" if retried else "True")
    assert (decided.requeue_after is not None) == retried
    assert world.events == [("Warning", reason)]


def test_the_objectives_that_nothing_met_name_what_came_closest() -> None:
    world = World()
    world.settle()
    closest = Candidate(method="static-int8", measured=SMALL, rejected="size 11.8 MB over 8.0 MB")
    world.finish(failure(world.task.digest, "ObjectivesNotMet", "Closest: static-int8, 11.8 MB over 8.0 MB.", closest))
    world.settle()
    assert "static-int8" in world.condition("Ready").message
    found = compression(world)
    assert found.chosen.method == "static-int8"  # type: ignore[union-attr]
    assert found.chosen.rejected == "size 11.8 MB over 8.0 MB"  # type: ignore[union-attr]
    assert not world.objects["Deployment"]


def test_nothing_keeps_serving_where_nothing_served() -> None:
    world = World()
    world.settle()
    world.finish(failure(world.task.digest, "InvalidModel", "Not an ONNX model."))
    world.settle()
    assert world.condition("Ready").message == "Not an ONNX model."
    assert world.condition("Available").reason == "NotDeployed"


def test_the_way_back_to_the_good_spec_needs_no_job() -> None:
    world = serving()
    good = world.builder
    world.edit("model.uri", BAD_URI)
    world.settle()
    world.finish(failure(world.task.digest, "InvalidModel", "Not an ONNX model."))
    world.settle()
    assert world.condition("Stalled").status == "True"
    world.edit("model.uri", good.spec().model.uri)
    world.settle()
    assert (world.condition("Ready").status, world.condition("Stalled").status) == ("True", "False")
    assert not world.objects["Job"], "the Job of the bad task is gone, and the good one has nothing to do"


def test_a_new_version_replaces_the_old_and_remembers_it() -> None:
    world = serving().edit("model.uri", "https://models.example/better.onnx")
    world.serve(version=2)
    status = world.model.status.model
    assert (status.image, status.previous_image) == (image(2), image(1))  # type: ignore[union-attr]
    assert world.images() == {"site-a": image(2), "site-b": image(2)}


def test_the_same_image_from_another_task_keeps_the_one_before() -> None:
    world = serving().edit("model.uri", "https://models.example/better.onnx").serve(version=2)
    world.edit("model.uri", "https://mirror.example/better.onnx").serve(version=2)
    status = world.model.status.model
    assert (status.image, status.previous_image) == (image(2), image(1))  # type: ignore[union-attr]


def timings(world: World, site: str = "site-a") -> Timings:
    deployment = world.objects["Deployment"][deployment_name(world.model, site)]
    env = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
    (text,) = [item["value"] for item in env if item["name"] == TIMINGS_VARIABLE]
    return decode(text.encode(), Timings)


def test_servers_are_told_what_the_jobs_clock_said() -> None:
    assert timings(serving()) == Timings(
        original=Timing(latency_p50=0.030, latency_p95=0.0342),
        chosen=Timing(latency_p50=0.0100, latency_p95=0.0114),
        threads=1,
        cpu="Example CPU",
    )


def test_a_new_version_brings_its_own_timings() -> None:
    world = serving().edit("model.uri", "https://models.example/better.onnx")
    world.settle()
    slow = msgspec.structs.replace(SMALL, latency_p95=0.9)
    result = success(world.task.digest, 2)
    world.finish(msgspec.structs.replace(result, chosen=Candidate(method="static-int8", measured=slow)))
    world.settle()
    assert world.images()["site-a"] == image(2)
    assert timings(world).chosen.latency_p95 == 0.9


def test_a_job_that_makes_the_same_image_again_restarts_no_server() -> None:
    """Its clock says something else, as it does on every run."""
    world = serving()
    told, deployments = timings(world), copy.deepcopy(world.objects["Deployment"])
    world.edit("model.uri", "https://mirror.example/digits.onnx")
    world.settle()
    noisy = msgspec.structs.replace(SMALL, latency_p50=0.5, latency_p95=0.9)
    result = success(world.task.digest, 1)
    world.finish(msgspec.structs.replace(result, chosen=Candidate(method="static-int8", measured=noisy)))
    world.settle()
    assert world.condition("Ready").status == "True"
    assert timings(world) == told
    assert world.objects["Deployment"] == deployments


def test_top5_stands_beside_top1() -> None:
    world = World()
    world.settle()
    measured = msgspec.structs.replace(SMALL, top5=0.9972, top5_low=0.984, top5_high=0.9995)
    result = success(world.task.digest)
    world.finish(msgspec.structs.replace(result, chosen=Candidate(method="static-int8", measured=measured)))
    world.settle()
    chosen = compression(world).chosen
    assert chosen is not None
    assert (chosen.measured.metric, chosen.measured.accuracy) == ("Top1", "98.90%")
    assert (chosen.measured.top5, chosen.measured.top5_low, chosen.measured.top5_high) == ("99.72%", "98.40%", "99.95%")


def test_where_nothing_was_clocked_nothing_is_told() -> None:
    world = World()
    world.settle()
    unclocked = msgspec.structs.replace(SMALL, latency_p50=None, latency_p95=None)
    result = success(world.task.digest)
    world.finish(msgspec.structs.replace(result, original=unclocked))
    world.settle()
    with pytest.raises(ValueError, match="not enough values"):
        timings(world)


def test_out_of_memory_waits_for_more_memory_and_then_goes_on() -> None:
    world = World()
    world.settle()
    world.put_pod(world.job_pod().exited(137, reason="OOMKilled")).fail_job()
    world.settle()
    ready = world.condition("Ready")
    assert (ready.reason, world.condition("Stalled").status) == ("JobOutOfMemory", "True")
    assert "resources.limits.memory" in ready.message
    first = world.job
    world.edit("compression.job", {"resources": {"limits": {"memory": "8Gi"}}})
    world.settle()
    assert world.job != first
    assert list(world.objects["Job"]) == [world.job], "the Job that failed is deleted"
    (container,) = world.objects["Job"][world.job]["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"] == {"memory": "8Gi"}
    assert world.condition("Stalled").status == "False"


def test_changed_job_settings_start_a_running_job_over() -> None:
    world = World()
    world.settle()
    world.put_pod(world.job_pod().running())
    first = world.job
    world.edit("compression.job", {"activeDeadlineSeconds": 7200})
    decided = world.plan()
    assert [(ref.kind, ref.name) for ref in decided.delete] == [("Job", first)]
    world.settle()
    assert world.objects["Job"][world.job]["spec"]["activeDeadlineSeconds"] == 7200
    assert list(world.objects["Job"]) == [world.job]


def test_nodes_that_come_and_go_do_not_start_a_running_job_over() -> None:
    world = World()
    core = world.nodes[0]
    world.settle()
    first = world.job
    world.nodes.remove(core)
    world.put_pod(world.job_pod().running())
    world.settle()
    assert world.job == first
    world.put_pod(world.job_pod().unschedulable("0/2 nodes are available."))
    world.settle()
    assert world.job != first, "one that found no node may use those that there are now"
    second = world.job
    world.nodes.append(core)
    world.put_pod(world.job_pod().running())
    world.settle()
    assert world.job == second


def test_the_deadline() -> None:
    world = World()
    world.settle()
    world.fail_job("DeadlineExceeded")
    world.settle()
    assert world.condition("Ready").reason == "JobDeadlineExceeded"
    assert world.condition("Stalled").status == "True"


def test_an_evicted_job_is_tried_again_when_its_time_has_come() -> None:
    world = World()
    world.settle()
    first = world.job
    world.put_pod(world.job_pod().evicted()).fail_job()
    decided = world.settle()
    assert world.condition("Ready").reason == "JobEvicted"
    assert "Next attempt at 2026-01-05T12:00:10Z." in world.condition("Ready").message
    assert world.condition("Stalled").status == "False"
    assert decided.requeue_after is not None
    world.wait(decided.requeue_after.total_seconds())
    world.settle()
    assert world.job != first
    assert list(world.objects["Job"]) == [world.job]
    world.finish(success(world.task.digest))
    world.settle()
    assert world.condition("Compressed").status == "True"


def test_a_job_that_no_node_takes_says_so_and_goes_on_when_one_does() -> None:
    world = World()
    world.settle()
    world.put_pod(world.job_pod().unschedulable("0/3 nodes are available: insufficient memory."))
    world.settle()
    assert world.condition("Ready").reason == "JobUnschedulable"
    assert world.events[-1] == ("Warning", "JobUnschedulable")
    world.put_pod(world.job_pod().running())
    world.settle()
    assert world.condition("Ready").reason == "Compressing"


def test_another_task_replaces_a_job_that_still_runs() -> None:
    world = World()
    world.settle()
    old_job, old_map = world.job, next(iter(world.objects["ConfigMap"]))
    world.edit("model.uri", "https://models.example/other.onnx")
    world.settle()
    assert old_job not in world.objects["Job"]
    assert old_map not in world.objects["ConfigMap"]
    assert len(world.objects["Job"]) == len(world.objects["ConfigMap"]) == 1


def test_a_task_that_was_edited_by_hand_is_restored_while_its_job_needs_it() -> None:
    world = World()
    world.settle()
    (config_map,) = world.objects["ConfigMap"].values()
    intended = config_map["data"]["task.json"]
    config_map["data"]["task.json"] = "{}"
    assert [obj["kind"] for obj in world.plan().apply] == ["ConfigMap"]
    world.settle()
    (config_map,) = world.objects["ConfigMap"].values()
    assert config_map["data"]["task.json"] == intended


def test_a_job_deleted_by_hand_is_created_again() -> None:
    world = World()
    world.settle()
    name = world.job
    del world.objects["Job"][name]
    assert [obj["metadata"]["name"] for obj in world.plan().apply] == [name]


def test_a_job_deleted_after_its_work_is_not_missed() -> None:
    world = serving()
    world.objects["Job"].clear()
    world.objects["ConfigMap"].clear()
    decided = world.plan()
    assert not decided.apply
    assert decided.requeue_after is None


def test_a_refusal_of_the_api_server_is_told() -> None:
    world = serving()
    world.refusals = {"Deployment/digits-site-a": Refusal("Rejected", "exceeded quota: edge.")}
    world.settle()
    ready = world.condition("Ready")
    assert (ready.status, ready.reason) == ("False", "Rejected")
    assert "Deployment/digits-site-a" in ready.message
    assert "exceeded quota" in ready.message
    world.refusals = {"Service/digits-site-a": Refusal("NameConflict", "conflict with another manager.")}
    world.settle()
    assert world.condition("Ready").reason == "NameConflict"
    assert "Rename the EdgeModel" in world.condition("Ready").message
    world.refusals = {}
    world.settle()
    assert world.condition("Ready").status == "True"


def test_an_invalid_spec_touches_nothing() -> None:
    world = serving().edit("compression.mode", "Manual")
    decided = world.settle()
    assert nothing_to_do(decided)
    ready = world.condition("Ready")
    assert (ready.status, ready.reason) == ("False", "InvalidSpec")
    assert "mode Manual needs pruning or quantization" in ready.message
    assert "The version before keeps serving." in ready.message
    assert world.condition("Stalled").status == "True"
    assert world.condition("Available").status == "True"
    assert world.model.status.observed_generation == world.model.metadata.generation
    world.edit("compression.mode", "Auto")
    world.settle()
    assert world.condition("Ready").status == "True"


def test_a_spec_that_cannot_be_read_names_the_field() -> None:
    world = World(edge_model().set("scaling.minReplicas", 0))
    world.settle()
    assert world.condition("Ready").reason == "InvalidSpec"
    assert "spec.scaling.minReplicas" in world.condition("Ready").message
    assert world.events == [("Warning", "InvalidSpec")]


def test_the_retry_time_is_kept_while_nothing_changes() -> None:
    world = World()
    world.settle()
    world.finish(failure(world.task.digest, "RegistryUnavailable", "No answer."), code=1)
    before = world.settle().status
    world.now = after(7)
    assert world.plan().status == before
