"""Random bodies against the inference server: ``make fuzz-server``.

No body may be answered with a 500 or not at all, the server's memory may not grow after the first tenth, and in between
good requests are answered as ever.
"""

import argparse
import http.client
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from random import Random

import grpc
import orjson

from edgemodel_server.grpc import open_inference_pb2 as pb
from edgemodel_server.grpc.methods import SERVICE
from tests.fuzz.bodies import DATATYPES, INFER, Request, damaged, infer, predict
from tests.unit.server.builders import brighter_side, identity, write_folder
from tests.unit.server.test_process import Running, running

ALLOWED = {200, 400, 404, 405, 413, 415, 504}
ALLOWED_CODES = {"INVALID_ARGUMENT", "NOT_FOUND", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED"}
GROWTH = 64 * 2**20
"""Bytes that resident memory may be larger at the end than after the first tenth."""
MAX_BODY = "1Mi"


def main() -> None:
    """Run, print one line, and fail with the request that was answered wrongly."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bodies", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        env = {"EDGEMODEL_MAX_BODY": MAX_BODY, "EDGEMODEL_MAX_PIXELS": "100000", "EDGEMODEL_DRAIN": "0s"}
        tensors = write_folder(folder / "tensors", identity(list(DATATYPES), ["N"]))
        images = write_folder(folder / "images", brighter_side())
        server = stack.enter_context(running(tensors, **env))
        picture_server = stack.enter_context(running(images, **env))
        fuzz(server, picture_server, options.bodies, Random(options.seed))  # noqa: S311


def fuzz(server: Running, picture_server: Running, bodies: int, random: Random) -> None:
    """Send ``bodies``, seven of ten as inference over REST, two as images and one over gRPC."""
    rest, pictures, calls = Rest(server), Rest(picture_server), Grpc(server)
    outcomes: Counter[str] = Counter()
    before: dict[str, int] = {}
    started = time.monotonic()
    for number in range(bodies):
        kind = random.randrange(10)
        if kind < 7:
            outcomes[f"infer {rest.send(infer(random))}"] += 1
        elif kind < 9:
            outcomes[f"predict {pictures.send(predict(random))}"] += 1
        else:
            outcomes[f"gRPC {calls.send(message(random))}"] += 1
        if number % 1000 == 0:
            rest.check()
        if number == bodies // 10:
            before = {name: resident(one) for name, one in (("tensors", server), ("images", picture_server))}
    after = {name: resident(one) for name, one in (("tensors", server), ("images", picture_server))}
    for name, size in after.items():
        grown = size - before[name]
        if grown > GROWTH:
            sys.exit(f"the server of {name} grew by {grown / 2**20:.0f} MiB, from {before[name] / 2**20:.0f} MiB")
    summary = ", ".join(f"{outcome}: {count}" for outcome, count in sorted(outcomes.items()))
    sizes = ", ".join(f"{name} {before[name] / 2**20:.0f} → {size / 2**20:.0f} MiB" for name, size in after.items())
    print(f"{bodies} bodies in {time.monotonic() - started:.0f} s; {summary}; memory: {sizes}")


class Rest:
    """One kept connection."""

    def __init__(self, server: Running) -> None:
        """Not connected yet."""
        self._port = int(server.url.rpartition(":")[2])
        self._connection = self._connect()

    def send(self, request: Request) -> int:
        """The status. Exits with the request where it is none of ALLOWED, or the answer has no right form."""
        try:
            self._connection.request("POST", request.path, request.body, request.headers)
            response = self._connection.getresponse()
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            sys.exit(f"no answer ({error!r}) to {request}")
        if response.status not in ALLOWED:
            sys.exit(f"{response.status} {content[:300]!r} to {request}")
        if response.status != 200 and not orjson.loads(content)["error"]:
            sys.exit(f"{response.status} without a reason to {request}")
        if response.will_close:
            self._connection.close()
            self._connection = self._connect()
        return response.status

    def check(self) -> None:
        """A good request is answered."""
        inputs = [{"name": f"in_{kind}", "datatype": kind, "shape": [0], "data": []} for kind in DATATYPES]
        request = Request(INFER, {"content-type": "application/json"}, orjson.dumps({"inputs": inputs}))
        if self.send(request) != 200:
            sys.exit("a good request was refused")

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)


class Grpc:
    """One channel; messages go out as bytes, whether they are messages or not."""

    def __init__(self, server: Running) -> None:
        """Not connected yet."""
        channel = grpc.insecure_channel(f"127.0.0.1:{server.ready['grpc_port']}")
        self._infer: Callable[..., bytes] = channel.unary_unary(f"/{SERVICE}/ModelInfer")

    def send(self, content: bytes) -> str:
        """The status. Exits with the message where it is none of ALLOWED_CODES."""
        try:
            self._infer(content, timeout=60)
        except grpc.RpcError as error:
            code, details = error.code().name, error.details()
            if code not in ALLOWED_CODES:
                sys.exit(f"{code} {details} to {content!r}")
            return str(code)
        return "OK"


def message(random: Random) -> bytes:
    """An inference request over gRPC, damaged nine times in ten."""
    count = random.randrange(4)
    request = pb.ModelInferRequest(
        model_name="digits" if random.random() < 0.95 else "x",
        inputs=[
            pb.ModelInferRequest.InferInputTensor(
                name=f"in_{kind}", datatype=kind, shape=[count if random.random() < 0.9 else random.getrandbits(62)]
            )
            for kind in DATATYPES
        ],
    )
    sizes = {"FP32": 4, "INT64": 8, "BOOL": 1, "FP16": 2, "BYTES": 4}
    for kind in DATATYPES:
        size = sizes[kind] * count + (random.randrange(3) if random.random() < 0.1 else 0)
        request.raw_input_contents.append(bytes(size))
    content: bytes = request.SerializeToString()
    return damaged(content, random) if random.random() < 0.6 else content


def resident(server: Running) -> int:
    """Bytes of resident memory."""
    pages = int(Path(f"/proc/{server.process.pid}/statm").read_text().split()[1])
    return pages * 4096


if __name__ == "__main__":
    main()
