"""Every object that the operator applies, as people read it. `pytest --update-golden` writes them anew."""

from collections.abc import Callable
from dataclasses import replace

import yaml

from edgemodel_operator.api.exposure import Expose
from edgemodel_operator.manifests.config_map import build_task_config_map
from edgemodel_operator.manifests.deployment import build_deployment, site_serving
from edgemodel_operator.manifests.disruption_budget import build_disruption_budget
from edgemodel_operator.manifests.job import build_job
from edgemodel_operator.manifests.network_policy import build_compression_policy, build_serving_policy
from edgemodel_operator.manifests.service import build_peer_service, build_service
from edgemodel_operator.observed import Object
from edgemodel_operator.plan.policy.exposure import site_expose
from edgemodel_operator.plan.policy.task import desired_task
from edgemodel_operator.settings import Settings
from tests.unit.operator.builders import SETTINGS, ModelBuilder, as_json, edge_model, image
from tests.unit.operator.pods import JOBS, SERVERS

Golden = Callable[[str, str], None]

FULL = (
    edge_model()
    .set("model.sha256", "c" * 64)
    .set("model.secretRef", {"name": "model-credentials"})
    .set("model.inputs", [{"name": "image", "shape": [-1, 1, 32, 32]}])
    .set("compression.mode", "Manual")
    .set("compression.pruning", {"sparsity": "50%"})
    .set("compression.quantization", {"method": "Static"})
    .set("compression.dataset", {"uri": "pvc://datasets/digits.npz", "secretRef": {"name": "dataset-credentials"}})
    .set("compression.objectives", {"maxSize": "8Mi", "maxLatency": "10ms", "maxAccuracyDrop": "1%"})
    .set("compression.job", {"nodeSelector": {"disk": "ssd"}, "resources": {"limits": {"memory": "8Gi"}}})
    .set("serving.classNames", ["zero", "one"])
    .set("serving.env", [{"name": "EDGEMODEL_ACCESS_LOG", "value": "true"}])
    .set("serving.preprocessing", {"mean": ["0.5"], "std": ["0.25"]})
    .set(
        "placement.overrides",
        [
            {
                "site": "site-b",
                "serving": {
                    "resources": {"limits": {"cpu": 2, "memory": "2Gi"}},
                    "env": [{"name": "SITE", "value": "b"}],
                },
            }
        ],
    )
)
SECURE = (
    edge_model()
    .set("serving.podTemplate", {"priorityClassName": "edge-critical"})
    .set("serving.batching", {"maxBatchSize": 16, "maxDelay": "1.5ms"})
    .set("serving.parallelism", "Site")
    .set("serving.tls", {"secretRef": {"name": "digits-tls"}})
    .set("serving.auth", {"secretRef": {"name": "digits-keys"}, "requestsPerMinute": 3000})
    .set("serving.allowFrom", ["10.20.0.0/16", "10.21.0.0/16"])
    .set("serving.corsOrigins", ["https://app.example", "http://localhost:5173"])
)
EXPOSED = edge_model().set(
    "serving.expose",
    {
        "type": "LoadBalancer",
        "annotations": {"lb.example.com/pool": "edge"},
        "loadBalancerClass": "example.com/lb",
        "internalTrafficPolicy": "Local",
        "nodePort": 30080,
        "grpcNodePort": 30081,
    },
)
GUARDED = replace(
    SETTINGS,
    registry_secret="registry-credentials",
    registry_ca_config_map="registry-ca",
    registry_endpoints={"registry.example:5000": "https://registry.internal"},
    insecure_registries=["127.0.0.1:5000"],
)


def text(obj: Object) -> str:
    # Through JSON, so that equal parts are written out and not as references to each other.
    return yaml.safe_dump(as_json(obj), width=110)


def config_map(builder: ModelBuilder, settings: Settings = SETTINGS) -> Object:
    model = builder.build()
    return build_task_config_map(model, desired_task(model, builder.spec(), settings), settings)


def job(builder: ModelBuilder, settings: Settings = SETTINGS, attempt: int = 1, *, off_edge: bool = True) -> Object:
    model, spec = builder.build(), builder.spec()
    return build_job(model, spec, desired_task(model, spec, settings), attempt, off_edge, settings)


def deployment(builder: ModelBuilder, site: str, settings: Settings = SETTINGS) -> Object:
    spec = builder.spec()
    return build_deployment(builder.build(), spec, site_serving(spec, site, image(1)), 2, settings)


def test_task_config_map(golden: Golden) -> None:
    golden("task-config-map.yaml", text(config_map(edge_model())))


def test_task_config_map_with_everything(golden: Golden) -> None:
    golden("task-config-map-full.yaml", text(config_map(FULL, GUARDED)))


def test_job(golden: Golden) -> None:
    golden("job.yaml", text(job(edge_model())))


def test_job_with_credentials_ca_and_claim(golden: Golden) -> None:
    golden("job-full.yaml", text(job(FULL, GUARDED, attempt=3)))


def test_job_with_two_claims(golden: Golden) -> None:
    builder = edge_model().set("model.uri", "pvc://models.v1/digits.onnx")
    golden(
        "job-claims.yaml",
        text(
            job(
                builder.set(
                    "compression.dataset",
                    {"uri": "pvc://datasets/digits.npz", "secretRef": {"name": "dataset-credentials"}},
                )
            )
        ),
    )


def test_job_where_all_nodes_are_at_the_edge(golden: Golden) -> None:
    golden("job-edge.yaml", text(job(edge_model(), off_edge=False)))


def test_deployment(golden: Golden) -> None:
    golden("deployment.yaml", text(deployment(edge_model(), "site-a")))


def test_deployment_with_overrides_and_pull_secret(golden: Golden) -> None:
    golden("deployment-override.yaml", text(deployment(FULL, "site-b", settings=GUARDED)))


def test_deployment_on_nodes_without_the_site_label(golden: Golden) -> None:
    golden("deployment-default-site.yaml", text(deployment(edge_model(), "default")))


def test_deployment_with_a_pod_template(golden: Golden) -> None:
    golden("deployment-pod-template.yaml", text(deployment(SERVERS, "site-a", settings=GUARDED)))


def test_job_with_a_pod_template(golden: Golden) -> None:
    golden("job-pod-template.yaml", text(job(JOBS, GUARDED)))


def test_disruption_budget(golden: Golden) -> None:
    golden("disruption-budget.yaml", text(build_disruption_budget(edge_model().build(), "site-a")))


def test_service(golden: Golden) -> None:
    golden("service.yaml", text(build_service(edge_model().build(), "site-a", Expose(), secure=False)))


def test_deployment_with_tls_keys_batching_and_peers(golden: Golden) -> None:
    golden("deployment-secure.yaml", text(deployment(SECURE, "site-a")))


def test_service_over_tls(golden: Golden) -> None:
    golden("service-secure.yaml", text(build_service(SECURE.build(), "site-a", Expose(), secure=True)))


def test_service_of_a_load_balancer(golden: Golden) -> None:
    builder = EXPOSED.set(
        "placement.overrides",
        [{"site": "site-a", "serving": {"expose": {"annotations": {"lb.example.com/address": "203.0.113.7"}}}}],
    )
    service = build_service(builder.build(), "site-a", site_expose(builder.spec(), "site-a"), secure=False)
    golden("service-load-balancer.yaml", text(service))


def test_service_of_peers(golden: Golden) -> None:
    golden("service-peers.yaml", text(build_peer_service(SECURE.build(), "site-a")))


def test_network_policy_of_servers(golden: Golden) -> None:
    builder = edge_model()
    golden("network-policy.yaml", text(build_serving_policy(builder.build(), builder.spec(), peers=False)))


def test_network_policy_of_servers_with_peers_and_named_users(golden: Golden) -> None:
    golden("network-policy-secure.yaml", text(build_serving_policy(SECURE.build(), SECURE.spec(), peers=True)))


def test_network_policy_of_compression(golden: Golden) -> None:
    golden("network-policy-compression.yaml", text(build_compression_policy(edge_model().build())))


def test_a_users_variable_comes_instead_of_the_operators() -> None:
    builder = SECURE.set("serving.env", [{"name": "EDGEMODEL_MAX_BATCH_SIZE", "value": "4"}])
    (container,) = deployment(builder, "site-a")["spec"]["template"]["spec"]["containers"]
    sizes = [item["value"] for item in container["env"] if item["name"] == "EDGEMODEL_MAX_BATCH_SIZE"]
    assert sizes == ["4"], "a variable that is named twice is refused by server-side apply"


def test_every_pod_is_restricted_and_has_no_kubernetes_credentials() -> None:
    """The Pod Security Standard, whatever the golden files say."""
    for obj in (
        job(FULL, GUARDED),
        deployment(FULL, "site-a", settings=GUARDED),
        deployment(SECURE, "site-a", settings=GUARDED),
    ):
        pod = obj["spec"]["template"]["spec"]
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert container["imagePullPolicy"] == "IfNotPresent"


def test_a_site_keeps_its_pods_however_long_its_link_is_down() -> None:
    (tolerations,) = [deployment(edge_model(), "site-a")["spec"]["template"]["spec"]["tolerations"]]
    for taint in ("unreachable", "not-ready"):
        (found,) = [item for item in tolerations if item["key"] == f"node.kubernetes.io/{taint}"]
        assert found["effect"] == "NoExecute"
        assert "tolerationSeconds" not in found


def test_every_port_names_its_protocol() -> None:
    """Server-side apply of older servers refuses ports without one."""
    ports = [
        *build_service(edge_model().build(), "site-a", Expose(), secure=False)["spec"]["ports"],
        *build_peer_service(edge_model().build(), "site-a")["spec"]["ports"],
    ]
    (container,) = deployment(edge_model(), "site-a")["spec"]["template"]["spec"]["containers"]
    assert {port["protocol"] for port in [*ports, *container["ports"]]} == {"TCP"}
