"""LitServe with one worker."""

import litserve
import numpy as np
from session import arguments, load


class Rows(litserve.LitAPI):
    def setup(self, _: object) -> None:
        self.session = load(arguments()[0])

    def decode_request(self, request):
        return np.asarray(request["rows"], dtype=np.float32)

    def predict(self, x):
        return self.session.run(None, {"x": x})[0]

    def encode_response(self, output):
        return {"outputs": output.tolist()}


if __name__ == "__main__":
    server = litserve.LitServer(Rows(), accelerator="cpu", workers_per_device=1)
    server.run(
        host="127.0.0.1",
        port=arguments()[1],
        num_api_servers=1,
        generate_client_file=False,
        log_level="warning",
        access_log=False,
    )
