from tools.run_operator import environment, still_runs


def test_the_environment_comes_before_the_installations_settings() -> None:
    installed = {"EDGEMODEL_WORKERS": "4", "EDGEMODEL_REPOSITORY": "registry.test/models"}
    found = environment(installed, {"EDGEMODEL_WORKERS": "1", "KUBECONFIG": "/home/me/config"})
    assert found == {
        "EDGEMODEL_LOG_FORMAT": "plain",
        "EDGEMODEL_WORKERS": "1",
        "EDGEMODEL_REPOSITORY": "registry.test/models",
        "KUBECONFIG": "/home/me/config",
    }


def test_an_operator_in_the_cluster_is_noticed_unless_it_is_scaled_to_none() -> None:
    assert still_runs({"spec": {"replicas": 1}})
    assert still_runs({"spec": {}})
    assert not still_runs({"spec": {"replicas": 0}})
    assert not still_runs(None)
