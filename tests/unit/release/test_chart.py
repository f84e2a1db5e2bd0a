"""The Helm chart, rendered by Helm itself: the same objects as kustomize's, and values that do what they say."""

import copy
import platform
import re
import sys
from pathlib import Path

import pytest

from tests.unit.release import helm
from tools.release.chart import CHECKSUM, KEEP, write_chart
from tools.release.installation import Images, installation, pod, settings
from tools.release.kustomization import Object

pytestmark = pytest.mark.skipif(
    (sys.platform, platform.machine()) != ("linux", "x86_64"), reason="Helm's wheel is for Linux on x86-64 only"
)

NAMESPACE = "edgemodel-system"
IMAGES = Images(
    operator=f"registry.test/operator@sha256:{'1' * 64}",
    compression=f"registry.test/compression@sha256:{'2' * 64}",
    inference=f"registry.test/inference@sha256:{'3' * 64}",
    models="registry.test/models",
)


@pytest.fixture(scope="module")
def chart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("chart") / "edgemodel"
    write_chart(folder, "0.1.0", IMAGES)
    return folder


def render(chart: Path, values: Object | None = None, namespace: str = NAMESPACE) -> list[Object]:
    return helm.render(chart, namespace, values or {})


def by_name(objects: list[Object]) -> dict[tuple[str, str], Object]:
    return {(obj["kind"], obj["metadata"]["name"]): obj for obj in objects}


def test_it_holds_what_kustomize_makes_and_two_annotations_of_helms(chart: Path) -> None:
    found = by_name(render(chart, {"namespace": {"create": True}}))
    definition = found["CustomResourceDefinition", "edgemodels.edge5g.io"]
    assert definition["metadata"].pop("annotations") == KEEP
    template = found["Deployment", "edgemodel-operator"]["spec"]["template"]
    assert re.fullmatch("[0-9a-f]{64}", template["metadata"].pop("annotations")[CHECKSUM])
    assert found == by_name(installation(IMAGES))


def test_helm_finds_nothing_to_complain_of(chart: Path) -> None:
    assert helm.lint(chart, NAMESPACE) == []


def test_it_goes_into_the_namespace_of_the_release(chart: Path) -> None:
    objects = render(chart, namespace="ai-edge")
    assert "Namespace" not in {obj["kind"] for obj in objects}
    (binding,) = [obj for obj in objects if obj["kind"] == "ClusterRoleBinding"]
    assert [subject["namespace"] for subject in binding["subjects"]] == ["ai-edge"]
    assert {obj["metadata"].get("namespace", "ai-edge") for obj in objects} == {"ai-edge"}


def test_a_setting_is_added_to_the_others_and_restarts_the_operator(chart: Path) -> None:
    before, after = render(chart), render(chart, {"settings": {"EDGEMODEL_WORKERS": "8"}})
    assert settings(after) == settings(before) | {"EDGEMODEL_WORKERS": "8"}
    annotations = [
        by_name(objects)["Deployment", "edgemodel-operator"]["spec"]["template"]["metadata"]["annotations"][CHECKSUM]
        for objects in (before, after)
    ]
    assert annotations[0] != annotations[1]


def test_the_pod_takes_its_values(chart: Path) -> None:
    values: Object = {
        "image": "registry.test/mine:1",
        "resources": {"limits": {"memory": "1Gi"}},
        "imagePullSecrets": [{"name": "registry"}],
        "tolerations": [{"key": "infra", "operator": "Exists"}],
        "affinity": None,
    }
    spec = pod(render(chart, values))
    expected = copy.deepcopy(pod(installation(IMAGES)))
    del expected["affinity"]
    (container,) = expected["containers"]
    container["image"] = values["image"]
    container["resources"]["limits"] = {"memory": "1Gi"}
    expected |= {name: values[name] for name in ("imagePullSecrets", "tolerations")}
    assert {name: value for name, value in spec.items() if value is not None} == expected


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"images": "registry.test/mine:1"}, "images"),
        ({"settings": {"EDGEMODEL_WORKERS": 8}}, "EDGEMODEL_WORKERS"),
        ({"settings": {"WORKERS": "8"}}, "WORKERS"),
        ({"namespace": {"create": "yes"}}, "create"),
        ({"image": ""}, "image"),
    ],
)
def test_a_value_that_does_not_fit_is_named(chart: Path, values: Object, named: str) -> None:
    with pytest.raises(helm.RefusedError, match=named):
        helm.validate(chart, values)
