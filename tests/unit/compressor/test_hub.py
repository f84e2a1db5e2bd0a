"""Files of the Hugging Face hub: which are taken, from where, and what is said of those that are not."""

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edgemodel_compressor.errors import TaskError
from edgemodel_compressor.fetch.fetcher import Fetched, Fetcher, Kind, job_fetcher
from edgemodel_compressor.fetch.hub import MAX_LISTING, HubUri, parse
from edgemodel_compressor.progress import Span
from edgemodel_compressor.settings import Settings
from edgemodel_contract.settings import SettingsError, read_settings
from edgemodel_contract.task import RegistryAccess, Source
from tests.unit.compressor.hub_server import COMMIT, HubServer, hub_server
from tests.unit.compressor.servers import WebServer

WEIGHTS = bytes(range(256)) * 300
SAVED = {
    "config.json": b'{"model_type": "bert"}',
    "model.safetensors": WEIGHTS,
    "tokenizer.json": b"{}",
    "vocab.txt": b"[UNK]",
}
REFUSED = {
    "pytorch_model.bin": b"\x80\x04pickle",
    "modeling_own.py": b"import os",
    "tf_model.h5": b"HDF",
    "README.md": b"# A model",
    ".gitattributes": b"*",
    "training_args.bin": b"\x80\x04pickle",
    "onnx/model.onnx": b"onnx of the same",
}


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with hub_server() as server:
        server.repositories["models/org/bert"] = SAVED | REFUSED
        server.large |= {"model.safetensors", "pytorch_model.bin", "data.parquet"}
        yield server


@pytest.fixture
def fetcher(settings: Settings, hub: HubServer) -> Fetcher:
    return job_fetcher(replace(settings, hub_endpoint=hub.url), RegistryAccess(), "linux/amd64")


def get(fetcher: Fetcher, uri: str, folder: Path, kind: Kind = "model", secret: bool = False) -> Fetched:
    return fetcher.fetch(Source(uri=uri, secret=secret), kind, folder / "fetched", Span(lambda _: None))


def fail(fetcher: Fetcher, uri: str, folder: Path, kind: Kind = "model") -> TaskError:
    with pytest.raises(TaskError) as caught:
        get(fetcher, uri, folder, kind)
    return caught.value


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_hubs_own_client_takes_the_stand_in_for_the_hub(hub: HubServer, tmp_path: Path) -> None:
    program = (
        "import sys; from huggingface_hub import snapshot_download as s; print(s(sys.argv[1], local_dir=sys.argv[2]))"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "TRANSFORMERS_"))}
    environment |= {"HF_ENDPOINT": hub.url, "HF_HUB_DISABLE_XET": "1", "HF_HOME": str(tmp_path / "home")}
    subprocess.run(
        [sys.executable, "-c", program, "org/bert", str(tmp_path / "theirs")],
        env=environment,
        check=True,
        timeout=60,
        capture_output=True,
    )
    theirs = {name: data for name, data in contents(tmp_path / "theirs").items() if not name.startswith(".cache")}
    assert theirs == SAVED | REFUSED


def test_a_model_arrives_without_pickles_code_and_what_nobody_needs(
    fetcher: Fetcher, hub: HubServer, tmp_path: Path
) -> None:
    assert contents(get(fetcher, "hf://org/bert", tmp_path).path) == SAVED
    asked = {path.rpartition("/")[2] for server, path, _ in hub.seen if "/resolve/" in path}
    assert asked == set(SAVED), "what is not on the list is not even asked for"
    assert all(f"/resolve/{COMMIT}/" in path for _, path, _ in hub.seen if "/resolve/" in path)


def test_the_digest_is_that_of_the_files(fetcher: Fetcher, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    first = get(fetcher, "hf://org/bert@v1", tmp_path / "a")
    again = Source(uri="hf://org/bert@refs/pr/1", sha256=first.sha256)
    assert fetcher.fetch(again, "model", tmp_path / "b", Span(lambda _: None)).sha256 == first.sha256


def test_one_file_is_a_file_and_its_data_come_along(fetcher: Fetcher, hub: HubServer, tmp_path: Path) -> None:
    for name in ("one", "many"):
        (tmp_path / name).mkdir()
    assert get(fetcher, "hf://org/bert/onnx/model.onnx", tmp_path / "one").path.read_bytes() == b"onnx of the same"
    parts = {
        "onnx/model.onnx": b"graph",
        "onnx/model.onnx_data": b"w",
        "onnx/model.onnx_data_1": b"v",
        "onnx/a.onnx": b"",
    }
    hub.repositories["models/org/large"] = parts
    found = contents(get(fetcher, "hf://org/large/onnx/model.onnx", tmp_path / "many").path)
    assert found == {"model.onnx": b"graph", "model.onnx_data": b"w", "model.onnx_data_1": b"v"}


def test_a_dataset_arrives(fetcher: Fetcher, hub: HubServer, tmp_path: Path) -> None:
    hub.repositories["datasets/org/digits"] = {"data.parquet": b"PAR1", "digits.py": b"import os", "README.md": b"#"}
    assert get(fetcher, "hf://datasets/org/digits", tmp_path, "dataset").path.read_bytes() == b"PAR1"


def test_the_token_goes_to_the_hub_and_not_to_where_it_redirects(
    fetcher: Fetcher, hub: HubServer, settings: Settings, tmp_path: Path
) -> None:
    hub.token = "hf_secret"
    assert fail(fetcher, "hf://org/bert", tmp_path).reason == "SourceUnauthorized"
    hub.seen.clear()
    settings.model_credentials_dir.mkdir(parents=True)
    (settings.model_credentials_dir / "token").write_text("hf_secret\n")
    assert contents(get(fetcher, "hf://org/bert", tmp_path, secret=True).path) == SAVED
    assert {said for server, _, said in hub.seen if server == "hub"} == {"Bearer hf_secret"}
    assert [said for server, _, said in hub.seen if server == "cdn"] == [""]


@pytest.mark.parametrize(
    ("uri", "kind", "reason", "words"),
    [
        (
            "hf://org/nothing",
            "model",
            "SourceUnauthorized",
            "does not exist at revision 'main', or is private or gated",
        ),
        ("hf://org/bert@v9", "model", "SourceNotFound", "at revision 'v9'"),
        ("hf://org/bert/onnx/other.onnx", "model", "SourceNotFound", "no file 'onnx/other.onnx'"),
        ("hf://org/bert/pytorch_model.bin", "model", "InvalidTask", "only files that end with .onnx, .pt2"),
        ("hf://org/bert/modeling_own.py", "model", "InvalidTask", "not 'modeling_own.py'"),
        ("hf://org/pickled", "model", "UnsupportedModel", "which is never read; use a repository or a revision with"),
        ("hf://org/two", "model", "InvalidTask", "several files to choose from (a.onnx, b.onnx); name one"),
        ("hf://org/readme", "model", "SourceNotFound", "no file that can be taken as a model"),
        ("hf://datasets/org/readme", "dataset", "SourceNotFound", "no file that can be taken as a dataset"),
    ],
)
def test_what_cannot_be_taken_is_said(
    fetcher: Fetcher, hub: HubServer, tmp_path: Path, uri: str, kind: Kind, reason: str, words: str
) -> None:
    hub.repositories |= {
        "models/org/pickled": {"config.json": b"{}", "pytorch_model.bin": b"\x80"},
        "models/org/two": {"a.onnx": b"a", "b.onnx": b"b"},
        "models/org/readme": {"README.md": b"#"},
        "datasets/org/readme": {"README.md": b"#"},
    }
    error = fail(fetcher, uri, tmp_path, kind)
    assert error.reason == reason
    assert words in error.message
    assert not (tmp_path / "fetched").exists()


@pytest.mark.parametrize(
    "uri",
    [
        "hf://bert",
        "hf://org/",
        "hf://org/bert@",
        "hf://org/bert/../other",
        "hf://org/bert//model.onnx",
        "hf://org/bert/./model.onnx",
        "hf://org/bert@../../api",
        "hf://user:secret@org/bert",
        "hf://org/bert?token=secret",
        "hf://org/bert/model.onnx?download=true",
        "hf://org/be rt",
    ],
)
def test_what_names_no_files_is_refused_before_anybody_is_asked(
    fetcher: Fetcher, hub: HubServer, tmp_path: Path, uri: str
) -> None:
    hub.repositories.clear()
    error = fail(fetcher, uri, tmp_path)
    assert error.reason == "InvalidTask"
    assert "secret" not in error.message
    assert hub.seen == []


def test_a_uri_is_read() -> None:
    assert parse("hf://org/name") == HubUri("models", "org/name", "main", "")
    assert parse("hf://org/na.me@refs/pr/12/onnx/model.onnx") == HubUri(
        "models", "org/na.me", "refs/pr/12", "onnx/model.onnx"
    )
    assert parse(f"hf://datasets/org/name@{COMMIT}/a/b.parquet") == HubUri(
        "datasets", "org/name", COMMIT, "a/b.parquet"
    )


def test_what_a_listing_names_outside_of_the_repository_is_not_written(
    fetcher: Fetcher, hub: HubServer, tmp_path: Path
) -> None:
    hub.repositories["models/org/evil"] = {"../../escape.onnx": b"x", "config.json": b"{}", "../a.safetensors": b"x"}
    assert fail(fetcher, "hf://org/evil", tmp_path).reason in ("SourceNotFound", "SourceUnauthorized")
    assert not list(tmp_path.parent.glob("**/escape.onnx"))


def test_damage_is_seen(fetcher: Fetcher, hub: HubServer, tmp_path: Path) -> None:
    hub.damaged = True
    error = fail(fetcher, "hf://org/bert", tmp_path)
    assert error.reason == "ChecksumMismatch"
    assert "model.safetensors is not the file that the hub's list names" in error.message


def test_size_is_bounded_before_anything_is_fetched(settings: Settings, hub: HubServer, tmp_path: Path) -> None:
    small = replace(settings, hub_endpoint=hub.url, max_download=len(WEIGHTS))
    error = fail(job_fetcher(small, RegistryAccess(), "linux/amd64"), "hf://org/bert", tmp_path)
    assert error.reason == "SourceTooLarge"
    assert not any("/resolve/" in path for _, path, _ in hub.seen)


def test_a_listing_without_end_is_not_read(fetcher: Fetcher, hub: HubServer, tmp_path: Path) -> None:
    hub.repositories["models/org/bert"] = {"x" * 1000 + str(number): b"" for number in range(MAX_LISTING // 1000)}
    assert fail(fetcher, "hf://org/bert", tmp_path).reason == "SourceTooLarge"


def test_what_is_no_hub_is_said(fetcher: Fetcher, web: WebServer, settings: Settings, tmp_path: Path) -> None:
    web.file("/api/models/org/bert/revision/main", b"<!doctype html><title>Sign in</title>")
    elsewhere = replace(fetcher, settings=replace(settings, hub_endpoint=web.url))
    error = fail(elsewhere, "hf://org/bert", tmp_path)
    assert error.reason == "SourceUnavailable"
    assert "does not answer as a hub does" in error.message


def test_a_mirror_is_named_by_a_variable() -> None:
    assert Settings().hub_endpoint == "https://huggingface.co"
    mirror = "https://mirror.example/hub"
    assert read_settings(Settings, {"EDGEMODEL_HUB_ENDPOINT": mirror}).hub_endpoint == mirror
    with pytest.raises(SettingsError, match="write it like https://mirror"):
        read_settings(Settings, {"EDGEMODEL_HUB_ENDPOINT": "mirror.example"})
