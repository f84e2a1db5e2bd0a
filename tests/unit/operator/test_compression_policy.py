"""Where the compression of a task stands: from Jobs and pods to one of Running, Failed and Done."""

from datetime import timedelta

import pytest

from edgemodel_contract.progress import Progress
from edgemodel_contract.result import RETRYABLE, FailureReason
from edgemodel_contract.task import Source, Task
from edgemodel_operator.observed import Object
from edgemodel_operator.plan.policy.compression import (
    FIRST_RETRY,
    LONGEST_RETRY,
    UNEXPLAINED_ATTEMPTS,
    Compression,
    Done,
    Failed,
    Running,
    decide,
)
from tests.unit.operator.builders import (
    NOW,
    PodBuilder,
    after,
    as_job,
    failure,
    finished,
    job,
    job_pod,
    success,
    termination_message,
)

TASK = Task(
    name="digits",
    model=Source(uri="https://models.example/digits.onnx"),
    base_image="server",
    repository="registry.example/models/default/digits",
    engine="compressor",
)
RUNNING = job("compress-1", TASK.tag)
PERMANENT: list[FailureReason] = [
    "ChecksumMismatch",
    "InvalidModel",
    "InvalidDataset",
    "InvalidTask",
    "UnsupportedModel",
    "ObjectivesNotMet",
    "BaseImageInvalid",
    "SourceTooLarge",
]


def stands(
    *jobs: Object, pods: list[PodBuilder] | None = None, progress: Progress | None = None, seconds: float = 0
) -> Compression:
    built = [pod.build() for pod in pods or []]
    return decide(TASK, {item["metadata"]["name"]: as_job(item) for item in jobs}, built, progress, after(seconds))


def waits(found: Compression) -> Running:
    assert isinstance(found, Running), found
    return found


def failed(found: Compression) -> Failed:
    assert isinstance(found, Failed), found
    return found


def ended(reason: FailureReason, message: str = "It failed.", attempt: int = 1) -> tuple[Object, PodBuilder]:
    name = f"compress-{attempt}"
    answer = termination_message(failure(TASK.digest, reason, message))
    return finished(job(name, TASK.tag, attempt), "Failed", "BackoffLimitExceeded"), job_pod(name).exited(2, answer)


def test_without_a_job_the_first_attempt_is_created() -> None:
    assert stands() == Running(attempt=1, job=None, message="The compression Job is being created.")


def test_jobs_of_other_tasks_do_not_count() -> None:
    other = finished(job("other", "0" * 32, attempt=7), "Failed")
    assert waits(stands(other)).attempt == 1


def test_a_job_waits_for_its_pod() -> None:
    found = waits(stands(RUNNING))
    assert (found.attempt, found.job, found.reason) == (1, "compress-1", "Compressing")


@pytest.mark.parametrize(
    ("pod", "reason", "words"),
    [
        (job_pod("compress-1").unschedulable("0/3 nodes are available."), "JobUnschedulable", "0/3 nodes"),
        (job_pod("compress-1").waiting("ErrImagePull", "not found"), "JobImagePullFailed", "not found"),
        (job_pod("compress-1").waiting("ImagePullBackOff", "Back-off"), "JobImagePullFailed", "COMPRESSION_IMAGE"),
        (job_pod("compress-1").waiting("InvalidImageName", "bad"), "JobImagePullFailed", "bad"),
        (
            job_pod("compress-1").waiting("CreateContainerConfigError", 'secret "x" not found'),
            "JobCannotStart",
            'secret "x" not found',
        ),
        (job_pod("compress-1").waiting("ContainerCreating"), "Compressing", "starting"),
        (job_pod("compress-1").running(), "Compressing", "starting"),
    ],
)
def test_what_holds_a_job_up_is_named(pod: PodBuilder, reason: str, words: str) -> None:
    found = waits(stands(RUNNING, pods=[pod]))
    assert found.job == "compress-1"
    assert found.reason == reason
    assert words in found.message


def test_progress_is_passed_on() -> None:
    progress = Progress(step="Measuring", message="dynamic-int8", fraction=0.4)
    found = waits(stands(RUNNING, pods=[job_pod("compress-1").running()], progress=progress))
    assert found.progress == progress
    assert found.message == "Measuring: dynamic-int8"


def test_a_success_is_done() -> None:
    answer = success(TASK.digest)
    pod = job_pod("compress-1").exited(0, termination_message(answer), reason="Completed")
    assert stands(finished(RUNNING, "Complete"), pods=[pod]) == Done(answer)
    assert stands(RUNNING, pods=[pod]) == Done(answer), "the Job's own condition need not be waited for"


def test_the_pod_of_an_earlier_job_of_the_same_name_does_not_count() -> None:
    """An EdgeModel deleted and made again at once: its first Job has the old one's name, whose pod is still there."""
    again = RUNNING | {"metadata": RUNNING["metadata"] | {"uid": "uid-of-the-new-job"}}
    pod = job_pod("compress-1").exited(0, termination_message(success(TASK.digest)), reason="Completed")
    assert waits(stands(again, pods=[pod])).message == "The compression Job is waiting for its pod."


@pytest.mark.parametrize("reason", PERMANENT)
def test_what_only_a_change_of_the_spec_mends_is_not_tried_again(reason: FailureReason) -> None:
    ended_job, pod = ended(reason, "The file is not a model.")
    found = failed(stands(ended_job, pods=[pod], seconds=10**6))
    assert (found.reason, found.message, found.retry_at) == (reason, "The file is not a model.", None)


def test_the_reasons_of_the_contract_are_all_in_these_tables() -> None:
    assert set(FailureReason.__args__) == set(PERMANENT) | RETRYABLE  # type: ignore[attr-defined]


@pytest.mark.parametrize("reason", sorted(RETRYABLE))
def test_what_may_pass_by_itself_is_tried_again_after_a_while(reason: FailureReason) -> None:
    ended_job, pod = ended(reason, "No answer.")
    found = failed(stands(ended_job, pods=[pod], seconds=9.9))
    assert (found.reason, found.retry_at) == (reason, NOW + FIRST_RETRY)
    again = waits(stands(ended_job, pods=[pod], seconds=10))
    assert (again.attempt, again.job, again.reason) == (2, None, reason)
    assert "No answer." in again.message


@pytest.mark.parametrize(("attempt", "delay"), [(1, 10), (2, 20), (3, 40), (6, 320), (7, 600), (40, 600), (2000, 600)])
def test_the_delay_doubles_up_to_ten_minutes(attempt: int, delay: int) -> None:
    ended_job, pod = ended("RegistryUnavailable", attempt=attempt)
    found = failed(stands(ended_job, pods=[pod]))
    assert found.retry_at == NOW + timedelta(seconds=delay)
    assert found.retry_at - NOW <= LONGEST_RETRY


def test_what_nobody_foresaw_is_given_up_after_a_few_attempts() -> None:
    for attempt in range(1, UNEXPLAINED_ATTEMPTS + 2):
        ended_job, pod = ended("InternalError", attempt=attempt)
        found = failed(stands(ended_job, pods=[pod]))
        assert (found.retry_at is None) == (attempt >= UNEXPLAINED_ATTEMPTS)


def test_the_time_of_the_next_attempt_does_not_move_while_the_job_controller_has_not_noticed_the_end() -> None:
    _, pod = ended("RegistryUnavailable")
    assert failed(stands(RUNNING, pods=[pod], seconds=1)).retry_at == NOW + FIRST_RETRY
    assert failed(stands(RUNNING, pods=[pod], seconds=5)).retry_at == NOW + FIRST_RETRY


def test_the_newest_attempt_wins() -> None:
    first, pod = ended("RegistryUnavailable")
    second = job("compress-2", TASK.tag, attempt=2)
    tenth = job("compress-10", TASK.tag, attempt=10)
    assert waits(stands(first, second, pods=[pod])).job == "compress-2"
    assert waits(stands(tenth, second, first, pods=[pod])).job == "compress-10", "by number, not by name"


def test_out_of_memory_asks_for_more_and_is_not_tried_again() -> None:
    pod = job_pod("compress-1").exited(137, reason="OOMKilled")
    found = failed(stands(finished(RUNNING, "Failed", "BackoffLimitExceeded"), pods=[pod], seconds=10**6))
    assert (found.reason, found.retry_at) == ("JobOutOfMemory", None)
    assert "spec.compression.job.resources.limits.memory" in found.message


def test_a_program_whose_worker_was_killed_may_say_so_and_the_limit_is_named_all_the_same() -> None:
    answer = termination_message(failure(TASK.digest, "SourceTooLarge", "The work was killed."))
    pod = job_pod("compress-1").exited(2, answer, reason="OOMKilled")
    found = failed(stands(finished(RUNNING, "Failed", "BackoffLimitExceeded"), pods=[pod], seconds=10**6))
    assert (found.reason, found.retry_at) == ("JobOutOfMemory", None)
    other = job_pod("compress-1").exited(2, answer)
    found = failed(stands(finished(RUNNING, "Failed", "BackoffLimitExceeded"), pods=[other], seconds=10**6))
    assert (found.reason, found.message) == ("SourceTooLarge", "The work was killed.")


def test_an_eviction_is_tried_again() -> None:
    gone = finished(RUNNING, "Failed", "BackoffLimitExceeded")
    pod = job_pod("compress-1").evicted("The node was low on memory.")
    found = failed(stands(gone, pods=[pod]))
    assert (found.reason, found.retry_at) == ("JobEvicted", NOW + FIRST_RETRY)
    assert "The node was low on memory." in found.message
    assert waits(stands(gone, pods=[pod], seconds=10)).attempt == 2


def test_the_deadline_names_its_field_and_is_not_tried_again() -> None:
    found = failed(stands(finished(RUNNING, "Failed", "DeadlineExceeded"), seconds=10**6))
    assert (found.reason, found.retry_at) == ("JobDeadlineExceeded", None)
    assert "activeDeadlineSeconds" in found.message


def test_the_deadline_is_told_while_the_pod_is_still_going() -> None:
    late = finished(RUNNING, "Failed", "DeadlineExceeded")
    assert failed(stands(late, pods=[job_pod("compress-1").running().deleting()])).reason == "JobDeadlineExceeded"


def test_a_failed_job_whose_pod_is_gone_is_tried_again() -> None:
    found = failed(stands(finished(RUNNING, "Failed", "BackoffLimitExceeded")))
    assert (found.reason, found.retry_at) == ("InternalError", NOW + FIRST_RETRY)
    assert "its pod is gone" in found.message


def test_an_end_without_a_result_names_code_and_pod() -> None:
    pod = job_pod("compress-1").exited(139, "segmentation fault")
    found = failed(stands(finished(RUNNING, "Failed", "BackoffLimitExceeded"), pods=[pod]))
    assert found.reason == "InternalError"
    assert "exit code 139" in found.message
    assert "compress-1-pod" in found.message


def test_a_result_whose_pod_is_gone_is_read_from_the_registry_by_another_attempt() -> None:
    found = waits(stands(finished(RUNNING, "Complete")))
    assert (found.attempt, found.job) == (2, None)


def test_an_image_that_ends_well_but_answers_nothing_is_not_started_over_and_over() -> None:
    """A wrong image in EDGEMODEL_COMPRESSION_IMAGE, say."""
    for attempt in range(1, UNEXPLAINED_ATTEMPTS + 1):
        name = f"compress-{attempt}"
        complete = finished(job(name, TASK.tag, attempt), "Complete")
        found = failed(stands(complete, pods=[job_pod(name).exited(0, "hello", reason="Completed")]))
        assert found.reason == "InternalError"
        assert "left no result" in found.message
        assert (found.retry_at is None) == (attempt == UNEXPLAINED_ATTEMPTS)


@pytest.mark.parametrize("kind", ["Complete", "Failed"])
def test_a_job_seen_to_end_before_its_pod_is_waited_for(kind: str) -> None:
    """Jobs and pods come by two watches, in either order."""
    found = waits(stands(finished(RUNNING, kind, "BackoffLimitExceeded"), pods=[job_pod("compress-1").running()]))
    assert (found.attempt, found.job) == (1, "compress-1")


def test_of_two_pods_the_one_that_is_not_being_deleted_speaks() -> None:
    old = job_pod("compress-1", "z-old").exited(137, reason="OOMKilled").deleting()
    new = job_pod("compress-1", "a-new").running()
    assert waits(stands(RUNNING, pods=[old, new])).message == "The compression Job is starting."


def test_an_attempt_label_that_somebody_spoilt_counts_as_the_first() -> None:
    spoilt = job("compress-1", TASK.tag)
    spoilt["metadata"]["labels"]["edge5g.io/attempt"] = "first"
    assert waits(stands(spoilt)).attempt == 1
