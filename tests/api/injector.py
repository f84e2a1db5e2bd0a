"""An admission webhook as meshes and agents have one: it adds a variable to every container of a Deployment."""

import base64
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.api.client import Api, Object
from tools.localcluster.native.control_plane import ControlPlane

INJECTED = {"name": "INJECTED", "value": "by the webhook"}


@contextmanager
def injecting(plane: ControlPlane, api: Api, namespace: str) -> Iterator[None]:
    """While it lasts, the webhook sees the Deployments of ``namespace``."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    pair = plane.authority.issue("injector", "injector", addresses=["IP:127.0.0.1"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.cert, pair.key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    api.merge("Namespace", "", namespace, {"metadata": {"labels": {"injector": namespace}}})
    api.create(_configuration(namespace, server.server_address[1], plane.authority.cert.read_bytes()))
    try:
        yield
    finally:
        api.delete("MutatingWebhookConfiguration", "", namespace)
        server.shutdown()
        thread.join()
        server.server_close()


def _configuration(namespace: str, port: int, authority: bytes) -> Object:
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": namespace},
        "webhooks": [
            {
                "name": "injector.edge5g.io",
                "clientConfig": {
                    "url": f"https://127.0.0.1:{port}/",
                    "caBundle": base64.b64encode(authority).decode(),
                },
                "rules": [
                    {
                        "apiGroups": ["apps"],
                        "apiVersions": ["v1"],
                        "operations": ["CREATE", "UPDATE"],
                        "resources": ["deployments"],
                    }
                ],
                "namespaceSelector": {"matchLabels": {"injector": namespace}},
                "sideEffects": "None",
                "admissionReviewVersions": ["v1"],
            }
        ],
    }


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        request = review["request"]
        patch = [
            {"op": "add", "path": f"/spec/template/spec/containers/{index}/env/-", "value": INJECTED}
            for index, container in enumerate(request["object"]["spec"]["template"]["spec"]["containers"])
            if INJECTED not in container.get("env", [])
        ]
        response = {"uid": request["uid"], "allowed": True}
        if patch:
            response |= {"patchType": "JSONPatch", "patch": base64.b64encode(json.dumps(patch).encode()).decode()}
        answer = json.dumps(review | {"request": None, "response": response}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""
