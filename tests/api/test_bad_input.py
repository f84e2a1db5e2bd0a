"""Bad input ends in a condition with a reason and a sentence, an event, and the version before still serving."""

from typing import Any

import pytest

from edgemodel_contract.result import FailureReason
from tests.api import pod_statuses
from tests.api.client import RefusedError
from tests.api.edge_model import COMPRESSOR, Model
from tests.api.operator_process import OperatorProcess
from tests.api.waiting import eventually
from tests.api.world import URI, World
from tools.localcluster.native.control_plane import ControlPlane

pytestmark = [pytest.mark.api, pytest.mark.usefixtures("operator")]

FINAL: list[tuple[FailureReason, str]] = [
    ("ChecksumMismatch", "spec.model.sha256 is ab…, the file has cd…: correct one of them."),
    ("InvalidModel", "The file is not an ONNX model: it is truncated after 1024 bytes."),
    ("UnsupportedModel", "The model uses an operator of opset 99."),
    ("InvalidDataset", "The dataset's samples are 1×8×8, the model takes 1×32×32."),
    ("BaseImageInvalid", "The inference image has no linux/amd64 variant."),
    ("SourceTooLarge", "The model is larger than 8 GiB."),
]
PASSING: list[tuple[FailureReason, str]] = [
    ("SourceUnavailable", "registry.test cannot be reached: connection refused."),
    ("SourceUnauthorized", "registry.test wants credentials: set spec.model.secretRef."),
    ("SourceNotFound", "registry.test has no models/digits:v1."),
    ("RegistryUnavailable", "The model image cannot be pushed: 503."),
    ("RegistryUnauthorized", "registry.test refuses the push: 401."),
]


def assert_told(model: Model, reason: str) -> None:
    """One warning, no more; it is written once the status is."""

    def told() -> list[str]:
        return [event["type"] for event in model.events() if event["reason"] == reason]

    eventually(f"an event of reason {reason}", told)
    assert told() == ["Warning"]


@pytest.mark.parametrize(("reason", "message"), FINAL, ids=[reason for reason, _ in FINAL])
def test_a_failure_that_only_another_spec_mends_stalls(world: World, reason: FailureReason, message: str) -> None:
    digits = world.create()
    digits.fail_job(reason, message)
    ready = digits.wait_for("Ready", "False", reason)
    assert message in ready["message"]
    assert digits.condition("Stalled")["status"] == "True"
    assert digits.condition("Reconciling")["status"] == "False"
    assert digits.condition("Compressed")["reason"] == reason
    assert digits.children("Deployment") == []
    assert_told(digits, reason)


@pytest.mark.parametrize(("reason", "message"), PASSING, ids=[reason for reason, _ in PASSING])
def test_a_failure_that_may_pass_says_when_it_is_tried_again(world: World, reason: FailureReason, message: str) -> None:
    digits = world.create()
    digits.fail_job(reason, message)
    ready = digits.wait_for("Ready", "False", reason)
    assert message in ready["message"]
    assert "Next attempt at 2" in ready["message"]
    assert digits.condition("Stalled")["status"] == "False"
    assert digits.condition("Reconciling")["status"] == "True"
    assert_told(digits, reason)


def test_objectives_that_cannot_be_met_name_the_closest_candidate(world: World) -> None:
    digits = world.create(compression={"objectives": {"maxSize": "1Mi"}})
    digits.fail_job("ObjectivesNotMet", "maxSize 1Mi: static-int8 comes closest with 11.8 MB.")
    assert "static-int8" in digits.wait_for("Ready", "False", "ObjectivesNotMet")["message"]
    closest = digits.status["compression"]["chosen"]
    assert (closest["method"], closest["measured"]["sizeBytes"]) == ("static-int8", 11_800_000)
    assert digits.status["compression"]["original"]["sizeBytes"] == 46_800_000
    assert digits.condition("Stalled")["status"] == "True"


def test_a_job_out_of_memory_says_which_limit_to_raise_and_starts_over_when_raised(world: World) -> None:
    digits = world.create()
    digits.patch_pod(digits.job_pod(), pod_statuses.failed(COMPRESSOR, 137, "OOMKilled"))
    ready = digits.wait_for("Ready", "False", "JobOutOfMemory")
    assert "spec.compression.job.resources.limits.memory" in ready["message"]
    assert digits.condition("Stalled")["status"] == "True"
    assert_told(digits, "JobOutOfMemory")
    digits.edit({"compression": {"job": {"resources": {"limits": {"memory": "8Gi"}}}}})
    _, job = digits.task(attempt=2)
    limits = job["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"]
    assert limits["memory"] == "8Gi"


def test_an_evicted_job_is_tried_again_after_a_while(world: World) -> None:
    digits = world.create()
    digits.patch_pod(digits.job_pod(), pod_statuses.evicted("The node was low on resource: memory."))
    ready = digits.wait_for("Ready", "False", "JobEvicted")
    assert "low on resource: memory" in ready["message"]
    assert digits.condition("Stalled")["status"] == "False"
    image = digits.finish_job(attempt=2)
    digits.wait_for("Compressed", "True")
    digits.wait_for_image("site-a", image)
    assert len(digits.children("Job")) == 1, "the attempt before was not cleaned away"


def test_a_job_over_its_deadline_is_stopped(world: World) -> None:
    digits = world.create(compression={"job": {"activeDeadlineSeconds": 5}})
    digits.patch_pod(digits.job_pod(), pod_statuses.running(COMPRESSOR))
    ready = digits.wait_for("Ready", "False", "JobDeadlineExceeded")
    assert "spec.compression.job.activeDeadlineSeconds" in ready["message"]
    assert digits.condition("Stalled")["status"] == "True"


def test_a_job_that_ends_without_a_word_names_its_exit_code(world: World) -> None:
    digits = world.create()
    pod = digits.job_pod()
    digits.patch_pod(pod, pod_statuses.failed(COMPRESSOR, 139, "Error", "Segmentation fault"))
    ready = digits.wait_for("Ready", "False", "InternalError")
    assert "exit code 139" in ready["message"]
    assert pod["metadata"]["name"] in ready["message"]


def test_a_job_that_fits_nowhere_says_so_and_goes_on_when_it_does(world: World) -> None:
    digits = world.create()
    digits.patch_pod(digits.job_pod(), pod_statuses.unschedulable("0/3 nodes are available: 3 Insufficient memory."))
    assert "3 Insufficient memory" in digits.wait_for("Ready", "False", "JobUnschedulable")["message"]
    digits.finish_job()
    digits.wait_for("Compressed", "True")


def test_a_compression_image_that_cannot_be_pulled_is_the_administrators_to_mend(world: World) -> None:
    digits = world.create()
    status = pod_statuses.waiting(COMPRESSOR, "ImagePullBackOff", "Back-off pulling image")
    digits.patch_pod(digits.job_pod(), status)
    ready = digits.wait_for("Ready", "False", "JobImagePullFailed")
    assert "EDGEMODEL_COMPRESSION_IMAGE" in ready["message"]


def test_a_bad_model_leaves_the_good_one_serving_untouched(world: World) -> None:
    digits = world.create()
    good = digits.bring_to_ready("site-a", "site-b")
    before = [digits.deployment(site) for site in ("site-a", "site-b")]
    digits.edit({"model": {"uri": "oci://registry.test/models/broken:v1"}})
    digits.fail_job("InvalidModel", "The file is not an ONNX model.")
    ready = digits.wait_for("Ready", "False", "InvalidModel")
    assert "keeps serving" in ready["message"]
    assert digits.condition("Available")["status"] == "True"
    assert digits.status["model"]["image"] == good
    after = [digits.deployment(site) for site in ("site-a", "site-b")]
    assert after == before
    digits.edit({"model": {"uri": URI}})
    digits.wait_for("Ready", "True")
    assert [digits.deployment(site) for site in ("site-a", "site-b")] == before


CONTRADICTIONS: list[tuple[dict[str, Any], str]] = [
    ({"compression": {"mode": "Manual"}}, "mode Manual needs pruning or quantization"),
    ({"compression": {"quantization": {"method": "Dynamic"}}}, "only read in mode Manual"),
    ({"compression": {"objectives": {"maxAccuracyDrop": "1%"}}}, "add compression.dataset"),
    ({"scaling": {"minReplicas": 3, "maxReplicas": 2}}, "maxReplicas must not be below minReplicas"),
]


@pytest.mark.parametrize(("spec", "message"), CONTRADICTIONS, ids=[message for _, message in CONTRADICTIONS])
def test_fields_that_contradict_each_other(
    world: World, plane: ControlPlane, spec: dict[str, Any], message: str
) -> None:
    if plane.assets.minor >= 25:
        with pytest.raises(RefusedError, match=message):
            world.create(**spec)
        return
    digits = world.create(**spec)
    assert message in digits.wait_for("Ready", "False", "InvalidSpec")["message"]
    assert digits.condition("Stalled")["status"] == "True"
    assert digits.children("Job") == []
    assert_told(digits, "InvalidSpec")


def test_a_child_that_the_server_refuses_is_shown_with_the_servers_words(
    world: World, operator: OperatorProcess
) -> None:
    digits = world.create(serving={"resources": {"limits": {"cpu": "1", "gpu": "1"}}})
    digits.finish_job()
    ready = digits.wait_for("Ready", "False", "Rejected")
    assert "Deployment/digits-site-a" in ready["message"]
    assert "must be a standard resource type or fully qualified" in ready["message"]
    assert digits.condition("Stalled")["status"] == "True"
    assert_told(digits, "Rejected")
    # Asking again and again would help nobody.
    operator.settle()
    digits.edit({"serving": {"resources": {"limits": {"gpu": None}}}})
    for site in ("site-a", "site-b"):
        digits.serve(site)
    digits.wait_for("Ready", "True")
