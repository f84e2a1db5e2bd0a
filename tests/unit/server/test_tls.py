"""TLS from a folder, over HTTP and gRPC: rotation, client certificates, and what cannot be used."""

import ssl
from pathlib import Path

import grpc
import httpx
import pytest

from edgemodel_server.access.tls import Certificates
from edgemodel_server.grpc import open_inference_pb2 as pb
from edgemodel_server.grpc.methods import SERVICE
from tests.unit.server.builders import mlp, write_folder
from tests.unit.server.test_infer import INFER, ROW
from tests.unit.server.test_process import DEADLINE, Running, failure, running, wait_until
from tools.localcluster.native.pki import Authority, KeyPair


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    made = Authority(tmp_path_factory.mktemp("authority"))
    made.ensure()
    return made


def mount(folder: Path, pair: KeyPair, authority: Path | None = None) -> Path:
    """As the kubelet does: the files are links, and a rotation turns one link."""
    folder.mkdir(exist_ok=True)
    state = folder / f"..{len(list(folder.iterdir()))}"
    state.mkdir()
    files = {"tls.crt": pair.cert, "tls.key": pair.key} | ({"ca.crt": authority} if authority else {})
    for name, source in files.items():
        (state / name).write_bytes(source.read_bytes())
        if not (folder / name).is_symlink():
            (folder / name).symlink_to(Path("..data") / name)
    new = folder / "..new"
    new.symlink_to(state.name)
    new.rename(folder / "..data")
    return folder


def server_pair(authority: Authority, name: str) -> KeyPair:
    return authority.issue(name, name, addresses=["IP:127.0.0.1", "DNS:localhost"])


def trusting(authority: Authority, pair: KeyPair | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=authority.cert)
    if pair:
        context.load_cert_chain(pair.cert, pair.key)
    return context


def https(server: Running) -> str:
    return server.url.replace("http:", "https:")


def shown_certificate(server: Running) -> str:
    return ssl.get_server_certificate(("127.0.0.1", server.ready["port"]))


def is_live_over_grpc(server: Running, authority: Authority, pair: KeyPair | None = None) -> bool:
    credentials = grpc.ssl_channel_credentials(
        authority.cert.read_bytes(),
        pair.key.read_bytes() if pair else None,
        pair.cert.read_bytes() if pair else None,
    )
    with grpc.secure_channel(f"localhost:{server.ready['grpc_port']}", credentials) as channel:
        live = channel.unary_unary(
            f"/{SERVICE}/ServerLive",
            request_serializer=pb.ServerLiveRequest.SerializeToString,
            response_deserializer=pb.ServerLiveResponse.FromString,
        )
        try:
            answer: bool = live(pb.ServerLiveRequest(), timeout=DEADLINE).live
        except grpc.RpcError:
            return False
        return answer


def test_both_protocols_speak_tls_and_take_a_new_certificate(tmp_path: Path, authority: Authority) -> None:
    first, second = server_pair(authority, "first"), server_pair(authority, "second")
    tls = mount(tmp_path / "tls", first)
    folder = write_folder(tmp_path / "model", mlp())
    with running(folder, EDGEMODEL_TLS_DIR=str(tls), EDGEMODEL_DRAIN="0s") as server:
        with httpx.Client(base_url=https(server), verify=trusting(authority), timeout=DEADLINE) as client:
            assert client.post(INFER, json={"inputs": [ROW]}).status_code == 200
            # Larger than what is read at a time.
            large = {"name": "x", "shape": [100_000, 4], "datatype": "FP32", "data": [0.5] * 400_000}
            assert client.post(INFER, json={"inputs": [large]}).json()["outputs"][0]["shape"][0] == 100_000
            with pytest.raises(httpx.TransportError):
                httpx.get(f"{server.url}/v2/health/live")
            assert is_live_over_grpc(server, authority)
            admin = f"http://127.0.0.1:{server.ready['admin_port']}"
            assert httpx.get(f"{admin}/v2/health/ready").status_code == 200

            assert shown_certificate(server) == first.cert.read_text()
            mount(tls, second)
            wait_until(lambda: shown_certificate(server) == second.cert.read_text())
            # Connections from before go on, new ones see the new certificate.
            assert client.post(INFER, json={"inputs": [ROW]}).status_code == 200
            assert is_live_over_grpc(server, authority)
        assert server.end() == 0


def test_a_certificate_is_never_used_with_the_key_of_another(
    tmp_path: Path, authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = [server_pair(authority, name) for name in ("before", "between", "after")]
    tls = mount(tmp_path / "tls", pairs[0])
    certificates = Certificates(tls)
    read = Path.read_bytes

    def turning(path: Path) -> bytes:
        """As ``Path.read_bytes``, but that the link is turned just before the key is read."""
        if path.name == "tls.key" and path.parent == tls:
            monkeypatch.undo()
            mount(tls, pairs[2])
        return read(path)

    mount(tls, pairs[1])
    monkeypatch.setattr(Path, "read_bytes", turning)
    for now in (10.0, 20.0):
        certificates.refresh(now)
        material = certificates.material
        assert (material.certificate, material.key) in [
            (pair.cert.read_bytes(), pair.key.read_bytes()) for pair in pairs
        ]
    assert certificates.material.certificate == pairs[2].cert.read_bytes()


def test_with_an_authority_clients_show_a_certificate(tmp_path: Path, authority: Authority) -> None:
    client_pair = authority.issue("client", "client")
    tls = mount(tmp_path / "tls", server_pair(authority, "server"), authority.cert)
    folder = write_folder(tmp_path / "model", mlp())
    with running(folder, EDGEMODEL_TLS_DIR=str(tls), EDGEMODEL_DRAIN="0s") as server:
        live = f"{https(server)}/v2/health/live"
        assert httpx.get(live, verify=trusting(authority, client_pair)).status_code == 200
        with pytest.raises(httpx.TransportError):
            httpx.get(live, verify=trusting(authority))
        assert is_live_over_grpc(server, authority, client_pair)
        assert not is_live_over_grpc(server, authority)
        assert server.end() == 0


def test_certificates_that_cannot_be_used_are_refused_in_one_sentence(tmp_path: Path, authority: Authority) -> None:
    folder = write_folder(tmp_path / "model", mlp())
    first, second = server_pair(authority, "first"), server_pair(authority, "second")
    mixed = mount(tmp_path / "mixed", KeyPair(first.cert, second.key))
    for tls, expected in ((tmp_path / "nothing", "nothing/tls.crt"), (mixed, "must be PEM and belong together")):
        status, message = failure(folder, EDGEMODEL_TLS_DIR=str(tls))
        assert status == 2
        assert expected in message
        assert message.count("\n") == 1
