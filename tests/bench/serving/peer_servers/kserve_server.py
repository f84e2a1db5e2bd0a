"""The KServe Python server with a custom model, which speaks the Open Inference Protocol."""

import logging
import sys

from session import arguments, load

path, port, grpc_port = arguments()
# KServe reads the command line when it is imported.
sys.argv[1:] = [f"--http_port={port}", f"--grpc_port={grpc_port}"]
# It logs three lines for a request unless told.
logging.disable(logging.INFO)

import kserve  # noqa: E402
from kserve.utils.utils import get_predict_input, get_predict_response  # noqa: E402


class Rows(kserve.Model):
    def __init__(self) -> None:
        super().__init__("mlp")
        self.session = load(path)
        self.ready = True

    async def predict(self, payload, headers=None, response_headers=None):  # noqa: ARG002
        rows = get_predict_input(payload)
        return get_predict_response(payload, self.session.run(None, {"x": rows})[0], self.name)


if __name__ == "__main__":
    kserve.ModelServer(enable_latency_logging=False).start([Rows()])
