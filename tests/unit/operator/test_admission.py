"""Pods that the API server does not admit: what a quota or a policy says is not lost."""

import pytest

from edgemodel_operator.kube.projection import pod_from
from edgemodel_operator.observed import COMPRESSION_CONTAINER, Deployment, Event, Object
from edgemodel_operator.plan.policy.admission import explain, refused_job_pod, refused_pods
from edgemodel_operator.plan.policy.compression import Done, Failed, Running, decide
from tests.unit.operator.builders import (
    after,
    as_deployment,
    as_job,
    finished,
    job,
    job_pod,
    server_pod,
    success,
    termination_message,
)
from tests.unit.operator.test_compression_policy import TASK

QUOTA = (
    'Error creating: pods "digits-compress-x" is forbidden: exceeded quota: small, requested: limits.memory=4Gi, '
    "used: limits.memory=0, limited: limits.memory=3Gi"
)
LIMIT_RANGE = 'pods "digits-x" is forbidden: maximum memory usage per Container is 1Gi, but limit is 4Gi'
WEBHOOK = 'admission webhook "validate.kyverno.svc" denied the request: images need a signature.'
JOB = job("compress-1", TASK.tag)


@pytest.mark.parametrize(
    ("words", "reason", "said"),
    [
        (QUOTA, "QuotaExceeded", "exceeded quota: small, requested: limits.memory=4Gi"),
        (LIMIT_RANGE, "PodsRejected", "maximum memory usage per Container is 1Gi"),
        (WEBHOOK, "PodsRejected", "validate.kyverno.svc"),
    ],
)
def test_the_words_are_told_with_the_reason(words: str, reason: str, said: str) -> None:
    found, text = explain(words)
    assert found == reason
    assert said in text
    assert not text.endswith(".")


def test_only_the_last_thing_that_the_job_controller_said_counts() -> None:
    refused, made = (
        Event("FailedCreate", QUOTA, after(1), warning=True),
        Event("SuccessfulCreate", "Created pod", after(2)),
    )
    assert refused_job_pod([refused]) == QUOTA
    assert refused_job_pod([refused, made]) is None
    assert refused_job_pod([]) is None


def deployment(*conditions: Object) -> Deployment:
    return as_deployment({"metadata": {"name": "digits-site-a"}, "status": {"conditions": list(conditions)}})


def test_a_deployment_says_it_in_a_condition() -> None:
    failure = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": LIMIT_RANGE}
    assert refused_pods(deployment(failure)) == explain(LIMIT_RANGE)
    assert refused_pods(deployment(failure | {"status": "False"})) is None
    assert refused_pods(deployment()) is None


def test_a_job_without_a_pod_says_what_keeps_it() -> None:
    found = decide(TASK, {"compress-1": as_job(JOB)}, [], None, after(0), {"compress-1": QUOTA})
    assert isinstance(found, Running)
    assert found.reason == "QuotaExceeded"
    assert "limited: limits.memory=3Gi" in found.message


def test_a_job_that_never_had_a_pod_does_not_ask_for_more_time() -> None:
    late = finished(JOB, "Failed", "DeadlineExceeded")
    found = decide(TASK, {"compress-1": as_job(late)}, [], None, after(0), {"compress-1": QUOTA})
    assert isinstance(found, Failed)
    assert (found.reason, found.retry_at is not None) == ("QuotaExceeded", True)
    assert "activeDeadlineSeconds" not in found.message


def test_a_proxy_that_is_listed_first_hides_nothing() -> None:
    pod = server_pod("site-a").waiting("ImagePullBackOff", "Back-off pulling image").beside("istio-proxy").build()
    assert pod.waiting_reason == "ImagePullBackOff"


def test_a_job_beside_an_agent_that_runs_on_is_done() -> None:
    answer = success(TASK.digest)
    pod = job_pod("compress-1").exited(0, termination_message(answer), reason="Completed").beside("vault-agent")
    raw = pod.raw()
    raw["status"]["phase"] = "Running"
    assert decide(TASK, {"compress-1": as_job(JOB)}, [pod_from(raw)], None, after(0)) == Done(answer)


def test_native_sidecars_are_no_containers_of_ours() -> None:
    raw = job_pod("compress-1").running().raw()
    raw["status"]["initContainerStatuses"] = [
        {"name": COMPRESSION_CONTAINER, "restartCount": 3, "state": {"terminated": {"exitCode": 1}}}
    ]
    assert pod_from(raw).exit_code is None
