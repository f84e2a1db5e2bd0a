"""Whether an object in the cluster still is what was applied."""

from typing import Any

import pytest

from edgemodel_operator.api.exposure import Expose
from edgemodel_operator.manifests.deployment import build_deployment, site_serving
from edgemodel_operator.manifests.drift import differs
from edgemodel_operator.manifests.service import build_service
from tests.unit.operator.builders import SETTINGS, edge_model, image
from tests.unit.operator.world import with_defaults


@pytest.mark.parametrize(
    ("desired", "present", "drifted"),
    [
        ({"a": 1}, None, True),
        ({"a": 1}, {"a": 1, "b": 2}, False),
        ({"a": 1}, {"a": 2}, True),
        ({"a": {"b": 1}}, {"a": {"b": 1, "c": 2}}, False),
        ({"a": {"b": 1}}, {"a": "b"}, True),
        ({"a": [1, 2]}, {"a": [1, 2]}, False),
        ({"a": [1, 2]}, {"a": [2, 1]}, True),
        ({"a": [1]}, {"a": [1, 2]}, True),
        ({"a": [{"n": 1}]}, {"a": [{"n": 1, "added": 2}]}, False),
        # Entries with names are told by them.
        ({"a": [{"name": "x", "n": 1}, {"name": "y"}]}, {"a": [{"name": "y"}, {"name": "x", "n": 1}]}, False),
        ({"a": [{"name": "x", "n": 1}, {"name": "y"}]}, {"a": [{"name": "y"}, {"name": "x", "n": 2}]}, True),
        ({"a": [{"name": "x"}]}, {"a": [{"name": "y"}]}, True),
        ({"a": [{"name": "x"}]}, {"a": [{"name": "x"}, {"name": "y"}]}, True),
        ({"a": [{"name": "x", "n": 1}, {"name": "x"}]}, {"a": [{"name": "x"}, {"name": "x", "n": 1}]}, True),
        # Servers leave empty values out.
        ({"a": ""}, {}, False),
        ({"a": False, "b": {}, "c": [], "d": 0}, {}, False),
        ({"a": True}, {}, True),
        ({"a": ""}, {"a": "b"}, True),
        # Quantities, and only quantities, have several notations.
        ({"limits": {"cpu": "1"}}, {"limits": {"cpu": "1000m"}}, False),
        ({"limits": {"memory": "1Gi"}}, {"limits": {"memory": "1024Mi"}}, False),
        ({"limits": {"memory": "1G"}}, {"limits": {"memory": "1Gi"}}, True),
        ({"requests": {"cpu": "500m"}}, {"requests": {"cpu": "0.5"}}, False),
        ({"limits": {"memory": "1k"}}, {"limits": {"memory": "1000"}}, False),
        ({"limits": {"cpu": "1"}}, {"limits": {"cpu": "much"}}, True),
        ({"limits": {"cpu": "1"}}, {"limits": {}}, True),
        ({"annotations": {"x": "1"}}, {"annotations": {"x": "1000m"}}, True),
    ],
)
def test_rows(desired: Any, present: Any, drifted: bool) -> None:
    assert differs(desired, present) is drifted


def test_a_servers_defaults_are_no_drift_and_an_edit_is() -> None:
    builder = edge_model().set("serving.env", [{"name": "EMPTY", "value": ""}])
    serving = site_serving(builder.spec(), "site-a", image(1))
    desired = build_deployment(builder.build(), builder.spec(), serving, 2, SETTINGS)
    present = with_defaults(desired)
    assert not differs(desired, present)
    present["spec"]["template"]["spec"]["containers"][0]["image"] = "another"
    assert differs(desired, present)


def test_a_service_keeps_the_address_it_was_given() -> None:
    service = build_service(edge_model().build(), "site-a", Expose(), secure=False)
    present = with_defaults(service)
    assert present["spec"]["clusterIP"]
    assert not differs(service, present)
