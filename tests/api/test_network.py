"""How servers are reached: TLS, keys, peers, and NetworkPolicies; and what is said where a Secret is missing."""

from typing import Any

import pytest

from edgemodel_operator.api.labels import METRICS_LABEL
from edgemodel_operator.manifests.names import peer_service_name
from tests.api import pod_statuses
from tests.api.client import Api, Object
from tests.api.edge_model import COMPRESSOR, SERVER, Model, server_container
from tests.api.operator_process import OperatorProcess
from tests.api.waiting import eventually, steady
from tests.api.world import World

pytestmark = [pytest.mark.api, pytest.mark.usefixtures("operator")]

LONG_AGO = "2026-01-01T00:00:00Z"
SECURE = {
    "tls": {"secretRef": {"name": "digits-tls"}},
    "auth": {"secretRef": {"name": "digits-keys"}, "requestsPerMinute": 3000},
    "batching": {"maxBatchSize": 16, "maxDelay": "1500us"},
    "parallelism": "Site",
    "allowFrom": ["10.20.0.0/16"],
}


def ports(service: Object) -> dict[str, int]:
    return {port["name"]: port["port"] for port in service["spec"]["ports"]}


def services(model: Model) -> dict[str, Object]:
    return {item["metadata"]["name"]: item for item in model.children("Service")}


def policies(model: Model) -> dict[str, Any]:
    return {item["metadata"]["name"]: item["spec"] for item in model.children("NetworkPolicy")}


def test_all_that_serving_asks_for_reaches_the_server_and_nothing_is_written_twice(
    world: World, operator: OperatorProcess
) -> None:
    digits = world.create(serving=SECURE)
    digits.bring_to_ready("site-a", "site-b")
    deployment = digits.wait_for_deployment("site-a")
    env = {item["name"]: item["value"] for item in server_container(deployment)["env"]}
    unrelated = ("EDGEMODEL_THREADS", "EDGEMODEL_DRAIN", "EDGEMODEL_TIMINGS")
    assert {name: env[name] for name in env if name not in unrelated} == {
        "EDGEMODEL_MAX_BATCH_SIZE": "16",
        "EDGEMODEL_MAX_BATCH_DELAY": "1500us",
        "EDGEMODEL_TLS_DIR": "/etc/edgemodel/tls",
        "EDGEMODEL_AUTH_DIR": "/etc/edgemodel/auth",
        "EDGEMODEL_RATE_LIMIT": "50",
        "EDGEMODEL_PEERS": f"{peer_service_name('digits', 'site-a')}.{world.namespace}.svc",
    }
    volumes = {item["name"]: item["secret"]["secretName"] for item in deployment["spec"]["template"]["spec"]["volumes"]}
    assert volumes == {"tls": "digits-tls", "auth": "digits-keys"}
    found = services(digits)
    peers = {site: peer_service_name("digits", site) for site in ("site-a", "site-b")}
    assert sorted(found) == sorted(["digits-site-a", "digits-site-b", *peers.values()])
    assert ports(found["digits-site-a"]) == {"https": 443, "grpc": 8081}
    assert found[peers["site-a"]]["spec"]["clusterIP"] == "None"
    operator.settle()
    digits.nudge("look")
    steady("the operator's writes", operator.writes, seconds=1)


def test_policies_let_in_users_and_scrapers_and_let_out_nobody(world: World) -> None:
    digits = world.create()
    digits.bring_to_ready("site-a", "site-b")
    found = policies(digits)
    assert sorted(found) == ["digits-compression", "digits-inference"]
    assert not found["digits-compression"].get("ingress")
    assert found["digits-compression"]["policyTypes"] == ["Ingress"]
    inference = found["digits-inference"]
    assert not inference.get("egress")
    assert inference["policyTypes"] == ["Ingress", "Egress"]
    users, scrapers = inference["ingress"]
    assert [port["port"] for port in users["ports"]] == [8080, 8081]
    assert "from" not in users
    assert [port["port"] for port in scrapers["ports"]] == [8082]
    assert scrapers["from"] == [{"namespaceSelector": {"matchLabels": {METRICS_LABEL: "true"}}}]
    digits.delete()
    digits.wait_until_collected()


def test_the_operators_own_namespace_may_scrape(api: Api) -> None:
    namespace = api.get("Namespace", "", "edgemodel-system")
    assert namespace is not None
    assert namespace["metadata"]["labels"][METRICS_LABEL] == "true"


def test_a_policy_opened_by_hand_is_closed_again(world: World, api: Api) -> None:
    digits = world.create()
    digits.bring_to_ready("site-a", "site-b")
    before = policies(digits)
    for name in before:
        api.merge("NetworkPolicy", world.namespace, name, {"spec": {"ingress": [{}]}})
    eventually("the policies to be as before", lambda: policies(digits) == before, explain=digits.explain)


def test_tls_comes_and_goes_with_the_servers_that_speak_it(world: World) -> None:
    digits = world.create()
    image = digits.bring_to_ready("site-a", "site-b")
    for serving, port in (({"tls": {"secretRef": {"name": "digits-tls"}}}, "https"), ({"tls": None}, "http")):
        digits.edit({"serving": serving})
        digits.wait_for_site("site-a", "Progressing")
        assert port not in ports(services(digits)["digits-site-b"]), "a site that waits is reached as before"
        for site in ("site-a", "site-b"):
            digits.serve(site, image)
        digits.wait_for("Ready", "True")
        eventually(
            f"both sites to have {port}",
            lambda port=port: all(port in ports(item) for item in services(digits).values()),  # type: ignore[misc]
        )
        volumes = digits.wait_for_deployment("site-b")["spec"]["template"]["spec"].get("volumes") or []
        assert [item["name"] for item in volumes] == (["tls"] if port == "https" else [])


def test_peers_go_when_nobody_asks_for_them_any_more(world: World) -> None:
    digits = world.create(serving={"parallelism": "Site"})
    image = digits.bring_to_ready("site-a", "site-b")
    assert len(policies(digits)["digits-inference"]["egress"]) == 2
    digits.edit({"serving": {"parallelism": "Pod"}})
    for site in ("site-a", "site-b"):
        digits.serve(site, image)
    digits.wait_for_children(2)
    eventually("egress to be closed", lambda: not policies(digits)["digits-inference"].get("egress"))


def test_a_server_whose_secret_is_missing_says_which(world: World) -> None:
    digits = world.create()
    old = digits.bring_to_ready("site-a", "site-b")
    digits.edit({"serving": {"auth": {"secretRef": {"name": "digits-keys"}}}})
    pod = digits.wait_for_server_pod("site-a")
    digits.tell(pod, "FailedMount", 'MountVolume.SetUp failed for volume "auth" : secret "digits-keys" not found')
    digits.patch_pod(pod, pod_statuses.being_created(SERVER, LONG_AGO))
    ready = digits.wait_for("Ready", "False", "SecretNotFound")
    assert "Secret digits-keys: create it" in ready["message"]
    assert digits.condition("Available")["status"] == "True"
    assert [event["type"] for event in digits.events() if event["reason"] == "SecretNotFound"] == ["Warning"]
    digits.make_ready("site-a")
    digits.serve("site-b", old)
    digits.wait_for("Ready", "True")


def test_a_job_whose_secret_is_missing_says_which(world: World) -> None:
    digits = world.create(model={"uri": "oci://registry.test/models/digits:v1", "secretRef": {"name": "credentials"}})
    pod = digits.job_pod()
    digits.tell(pod, "FailedMount", 'MountVolume.SetUp failed for volume "source" : secret "credentials" not found')
    digits.patch_pod(pod, pod_statuses.being_created(COMPRESSOR, LONG_AGO))
    assert "Secret credentials" in digits.wait_for("Ready", "False", "JobCannotStart")["message"]
    digits.bring_to_ready("site-a", "site-b")
