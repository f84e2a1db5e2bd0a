"""Little that becomes much: images, compressed bodies, JSON, trailers, tensors that are only announced."""

import gzip
import threading
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import grpc
import pytest

from tests.abuse.conftest import Special, served
from tests.abuse.frames import DATA, END_HEADERS, END_STREAM, HEADERS, Http2, block, frame, message
from tests.abuse.messages import MODEL_INFER, png, resized
from tests.abuse.models import open_sizes, widening
from tests.abuse.server import serving
from tests.abuse.watch import MIB, Limits, Watch
from tests.abuse.wire import Answer, NoAnswer, Wire, get, infer, infer_body, post
from tests.unit.server.builders import brighter_side, identity, mlp, write_folder

BUFFERED = 128 * MIB
"""The default of EDGEMODEL_MAX_BUFFERED: bytes that all requests together may hold."""


def ask(port: int, content: bytes) -> Answer:
    """One request on a connection of its own."""
    with Wire(port, seconds=60) as wire:
        wire.send(content)
        return wire.answer()


def at_once(count: int, call: Callable[[], None]) -> None:
    """``call`` in ``count`` threads."""
    threads = [threading.Thread(target=call) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def form(*images: bytes) -> bytes:
    """Images as a browser sends them."""
    parts = b"".join(
        b'--b\r\nContent-Disposition: form-data; name="image"; filename="f"\r\n\r\n' + image + b"\r\n"
        for image in images
    )
    body = parts + b"--b--\r\n"
    head = b"POST /predict HTTP/1.1\r\nHost: server\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


BOMBS = {
    "one of 39 megapixels": form(png(6244, 6244)),
    "four of 39 megapixels": form(*[png(6244, 6244)] * 4),
    "one of 400 megapixels": form(png(20_000, 20_000)),
    "one that says 4 gigapixels": form(resized(png(8, 8), 65_500, 65_500)),
    "one that is very wide": form(png(2**20, 30)),
    "a hundred of a megapixel": form(*[png(1000, 1000)] * 100),
    "a thousand that are tiny": form(*[png(8, 8)] * 1000),
}


@pytest.fixture(scope="module", params=["open sizes", "fixed size"])
def images(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, limits: Limits) -> Iterator[Watch]:
    """The server of a classifier that takes images of all sizes, and of one that wants them small."""
    model = open_sizes() if request.param == "open sizes" else brighter_side(channels=3, size=8)
    with served(tmp_path_factory.mktemp("images"), limits, model, "images") as watch:
        yield watch


@pytest.mark.parametrize("name", BOMBS)
def test_images(images: Watch, name: str, long: bool) -> None:
    answers: list[Answer] = []
    for clients in (1, 4) if long else (3,):
        with images.attack(memory=BUFFERED):
            at_once(clients, lambda: answers.append(ask(images.target.port, BOMBS[name])))
    for answer in answers:
        assert answer.status in (200, 400, 413, 429, 503), answer
        assert answer.status == 200 or answer.error


ZEROS = 128 * MIB


@cache
def bombs_of(coding: str) -> list[bytes]:
    """Bodies of hardly a megabyte that are 128 MiB of spaces, or the same within itself, or cut."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31 if coding == "gzip" else 15)
    spaces = b" " * MIB
    bomb = b"".join(packer.compress(spaces) for _ in range(ZEROS // MIB)) + packer.flush()
    twice = gzip.compress(bomb) if coding == "gzip" else zlib.compress(bomb)
    members = gzip.compress(b" " * 1000) * 20_000
    return [bomb, bomb[:-9], twice, members if coding == "gzip" else bomb + bomb]


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_compressed_bodies(watch: Watch, coding: str) -> None:
    with watch.attack(memory=BUFFERED):
        for bomb in bombs_of(coding):
            for _ in range(2):
                answer = ask(watch.target.port, post(bomb, f"Content-Encoding: {coding}"))
                assert answer.status in (400, 413, 429, 503), answer
                assert answer.error
        answers: list[Answer] = []
        request = post(bombs_of(coding)[0], f"Content-Encoding: {coding}")
        at_once(8, lambda: answers.append(ask(watch.target.port, request)))
        assert {answer.status for answer in answers} <= {400, 413, 429, 503}


@pytest.mark.parametrize("coding", ["gzip, gzip", "gzip, deflate", "br", "zstd", "compress", "x" * 3000])
def test_codings_of_codings_are_refused(watch: Watch, coding: str) -> None:
    with watch.attack():
        answer = ask(
            watch.target.port, post(gzip.compress(gzip.compress(infer_body("x"))), f"Content-Encoding: {coding}")
        )
        assert answer.status in (400, 415), answer
        assert answer.error


ROWS = 2_000_000
JSONS = {
    "nested a million times": b"[" * 1_000_000,
    "nested a million times and closed": b"[" * 500_000 + b"]" * 500_000,
    "objects nested a million times": b'{"inputs":' * 1_000_000,
    "nested data": b'{"inputs":[{"name":"x","shape":[1,4],"datatype":"FP32","data":' + b"[" * 900 + b"]" * 900 + b"}]}",
    "a number of a million digits": b'{"inputs":[{"name":"x","shape":[1],"datatype":"FP32","data":['
    + b"1" * 10**6
    + b"]}]}",
    "a number with a large exponent": b'{"inputs":[{"name":"x","shape":[1e400,4],"datatype":"FP32","data":[1e999]}]}',
    "a string of megabytes": b'{"id":"' + b"a" * 8_000_000 + b'","inputs":[]}',
    "a million keys": b"{" + b",".join(b'"k%d":0' % number for number in range(1_000_000)) + b"}",
    "the same key a million times": b"{" + b",".join([b'"a":0'] * 1_000_000) + b"}",
    "a million inputs": b'{"inputs":[' + b",".join([b"{}"] * 1_000_000) + b"]}",
    "a million inputs of the same name": b'{"inputs":['
    + b",".join([b'{"name":"x","shape":[1,4],"datatype":"FP32","data":[1,2,3,4]}'] * 100_000)
    + b"]}",
    "a shape of a million dimensions": b'{"inputs":[{"name":"x","shape":['
    + b",".join([b"1"] * 1_000_000)
    + b'],"datatype":"FP32","data":[1]}]}',
    "a shape that is only said": b'{"inputs":[{"name":"x","shape":[1000000000000,4],"datatype":"FP32","data":[1]}]}',
    "a shape that overflows": b'{"inputs":[{"name":"x","shape":[4611686018427387904,4],"datatype":"FP32","data":[]}]}',
    "a shape below nothing": b'{"inputs":[{"name":"x","shape":[-1,4],"datatype":"FP32","data":[]}]}',
    "a surrogate alone": b'{"id":"\\ud800","inputs":[]}',
    "bytes that are no UTF-8": b'{"id":"\xff\xfe","inputs":[]}',
    "many escapes": b'{"id":"' + b"\\u0041" * 1_000_000 + b'","inputs":[]}',
}


@pytest.mark.parametrize("name", JSONS)
def test_json(watch: Watch, name: str) -> None:
    with watch.attack(memory=BUFFERED):
        for _ in range(2):
            answer = ask(watch.target.port, post(JSONS[name]))
            assert answer.status in (400, 413), answer
            assert answer.error


_PART = b'--b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n'
FORMS = {
    "a field that is no file": _PART % b"text" + b"x" * 8_000_000 + b"\r\n--b--\r\n",
    "megabytes before the first part": b"\r\n" * 2_000_000 + _PART % b"image" + b"\r\n--b--\r\n",
    "megabytes after the last part": _PART % b"image" + b"\r\n--b--" + b"\r\n" * 2_000_000,
    "a hundred thousand parts": _PART % b"text" * 100_000,
    "a part of a hundred thousand headers": b"--b\r\n" + b"X: y\r\n" * 100_000,
    "a part of a header without end": b"--b\r\nX: " + b"y" * 8_000_000,
    "nearly the boundary, again and again": _PART % b"image" + b"\r\n--" * 1_000_000,
}


@pytest.mark.parametrize("name", FORMS)
def test_forms(images: Watch, name: str) -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: server\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    request = head + b"Content-Length: %d\r\n\r\n" % len(FORMS[name]) + FORMS[name]
    with images.attack(memory=BUFFERED):
        for _ in range(2):
            answer = ask(images.target.port, request)
            assert answer.status in (400, 413, 431), answer
            assert answer.error


def test_lists_of_numbers_of_many_clients(watch: Watch, long: bool) -> None:
    data = b",".join([b"1.5"] * ROWS)
    body = b'{"inputs":[{"name":"x","shape":[%d,4],"datatype":"FP32","data":[%b]}]}' % (ROWS // 4, data)
    answers: list[Answer] = []
    with watch.attack(memory=2 * BUFFERED):
        at_once(16 if long else 6, lambda: answers.append(ask(watch.target.port, post(body))))
    assert {answer.status for answer in answers} <= {200, 413, 429, 503}


def test_answers_that_are_much_larger_than_their_requests(special: Special, long: bool) -> None:
    answers: list[Answer] = []
    rows = b'{"inputs":[{"name":"x","shape":[16,1],"datatype":"FP32","data":[%b]}]}' % b",".join([b"1"] * 16)
    with special(widening(MIB), "other") as watch, watch.attack(memory=BUFFERED):
        # 64 MiB as numbers, a quarter of a gigabyte as JSON.
        at_once(8 if long else 3, lambda: answers.append(ask(watch.target.port, post(rows))))
    assert {answer.status for answer in answers} <= {200, 413, 429, 503}


LETTERS = b"\x1a" + b"\x80\x80\x80\x0e" + b"a" * (28 * MIB)
"""A ModelInferRequest with an id of 28 MiB."""


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_compressed_messages(watch: Watch, coding: str, long: bool) -> None:
    bomb = gzip.compress(LETTERS, 9) if coding == "gzip" else zlib.compress(LETTERS, 9)
    # All of it is within the window that a connection begins with.
    content = message(bomb, flag=1)
    frames = [content[at : at + 16_000] for at in range(0, len(content), 16_000)]
    with watch.attack(memory=BUFFERED):
        outcomes: list[str] = []

        def call() -> None:
            with Http2(watch.target.grpc_port, seconds=60) as client:
                client.send(frame(HEADERS, END_HEADERS, 1, block({"grpc-encoding": coding})))
                for piece in frames[:-1]:
                    client.send(frame(DATA, 0, 1, piece))
                client.send(frame(DATA, END_STREAM, 1, frames[-1]))
                outcomes.append(client.outcome(1))

        at_once(48 if long else 16, call)
    assert len(outcomes) == (48 if long else 16)
    assert set(outcomes) <= {"answered 3", "answered 8"}


FIELDS_OF_NOTHING = {
    "inputs": b"\x2a\x00",
    "outputs": b"\x32\x00",
    "raw contents": b"\x3a\x00",
    "parameters": b"\x22\x00",
}


@pytest.mark.parametrize("name", FIELDS_OF_NOTHING)
def test_messages_of_very_many_fields(watch: Watch, name: str, long: bool) -> None:
    content = FIELDS_OF_NOTHING[name] * (4 * MIB)
    outcomes: list[str] = []
    with watch.attack(memory=BUFFERED):
        at_once(8 if long else 3, lambda: outcomes.append(call_grpc(watch.target.grpc_port, content)))
    assert set(outcomes) <= {"INVALID_ARGUMENT", "RESOURCE_EXHAUSTED"}


def call_grpc(port: int, content: bytes) -> str:
    """The status of a call of ModelInfer."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        try:
            call: Callable[..., bytes] = channel.unary_unary(MODEL_INFER)
            call(content, timeout=60)
        except grpc.RpcError as error:
            return str(error.code().name)
    return "OK"


@pytest.mark.parametrize("wanted", ["all classes", "one class"])
def test_classes_of_very_many_values(special: Special, wanted: str, long: bool) -> None:
    classes = 2**31 - 1 if wanted == "all classes" else 1
    body = b'{"inputs":[{"name":"x","shape":[8,1],"datatype":"FP32","data":[1,1,1,1,1,1,1,1]}],"outputs":[{"name":"y",'
    body += b'"parameters":{"classification":%d}}]}' % classes
    answers: list[Answer] = []
    with special(widening(MIB), "other") as watch, watch.attack(memory=BUFFERED):
        at_once(8 if long else 2, lambda: answers.append(ask(watch.target.port, post(body))))
    assert {answer.status for answer in answers} <= {200, 413, 429, 503}


def test_very_many_short_strings(special: Special, long: bool) -> None:
    content = b"\x01\x00\x00\x00\xc3" * (3 * MIB)
    header = (
        b'{"inputs":[{"name":"in_BYTES","shape":[%d],"datatype":"BYTES","parameters":{"binary_data_size":%d}}]}'
        % (
            3 * MIB,
            len(content),
        )
    )
    request = post(header + content, f"Inference-Header-Content-Length: {len(header)}")
    answers: list[Answer] = []
    with special(identity(["BYTES"], ["N"]), "other") as watch, watch.attack(memory=BUFFERED):
        at_once(6 if long else 2, lambda: answers.append(ask(watch.target.port, request)))
    assert {answer.status for answer in answers} <= {400, 413, 429, 503}


def test_bodies_that_are_announced_and_do_not_come(watch: Watch) -> None:
    head = post(b"").replace(b"Content-Length: 0", b"Content-Length: 33000000")
    with watch.attack():
        wires = [Wire(watch.target.port) for _ in range(200)]
        for wire in wires:
            wire.send(head + b"{")
        answer = ask(watch.target.port, infer("small"))
        assert answer.id == "small"
        for wire in wires:
            wire.close()


def test_bodies_that_are_held_do_not_keep_others_out(watch: Watch, long: bool) -> None:
    megabytes = b" " * (20 * MIB)
    head = post(b"").replace(b"Content-Length: 0", b"Content-Length: %d" % (len(megabytes) + 1))
    with watch.attack(memory=BUFFERED):
        wires = [Wire(watch.target.port) for _ in range(40 if long else 12)]
        for wire in wires:
            wire.send(head + megabytes)
        for number in range(20):
            assert ask(watch.target.port, infer(str(number))).id == str(number)
        for wire in wires:
            wire.close()


TRAILERS = b"X-Trailer: " + b"a" * 1000 + b"\r\n"


def test_trailers_without_end(watch: Watch, long: bool) -> None:
    body = infer_body("trailer")
    head = infer("trailer").partition(b"\r\n\r\n")[0].replace(b"Content-Length", b"X-Length")
    with watch.attack(), Wire(watch.target.port) as wire:
        wire.send(head + b"\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n" % (len(body), body))
        for _ in range(20_000 if long else 2000):
            wire.send(TRAILERS * 10)
        try:
            assert wire.answer().status in (200, 400, 413, 431)
        except NoAnswer:
            # Reset, for the server did not read what was still on its way.
            assert wire.is_closed()


def test_chunk_extensions_without_end(watch: Watch, long: bool) -> None:
    head = infer("extension").partition(b"\r\n\r\n")[0].replace(b"Content-Length", b"X-Length")
    with watch.attack(), Wire(watch.target.port) as wire:
        wire.send(head + b"\r\nTransfer-Encoding: chunked\r\n\r\n1;")
        for _ in range(20_000 if long else 2000):
            wire.send(b"a" * 10_000)
        wire.send(b"\r\n{\r\n0\r\n\r\n")
        try:
            assert wire.answer().status in (400, 413, 431)
        except NoAnswer:
            assert wire.is_closed()


def test_a_body_in_a_million_chunks(watch: Watch) -> None:
    head = infer("chunks").partition(b"\r\n\r\n")[0].replace(b"Content-Length", b"X-Length")
    with watch.attack(), Wire(watch.target.port, seconds=60) as wire:
        wire.send(head + b"\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\n \r\n" * 1_000_000 + b"0\r\n\r\n")
        assert wire.answer().status in (400, 413)


def test_a_trailer_is_no_header(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.mkdir()
    (keys / "client").write_text("0123456789abcdef0123456789abcdef")
    folder = write_folder(tmp_path / "model", mlp())
    body = infer_body("keyless")
    head = infer("keyless").partition(b"\r\n\r\n")[0].replace(b"Content-Length", b"X-Length")
    request = head + b"\r\nTransfer-Encoding: chunked\r\nTrailer: X-API-Key\r\n\r\n%x\r\n%b\r\n0\r\n" % (
        len(body),
        body,
    )
    with serving(folder, tmp_path / "log", EDGEMODEL_AUTH_DIR=str(keys)) as target:
        for trailer in (b"X-API-Key: ", b"Authorization: Bearer ", b"x-api-key:"):
            for _ in range(2):
                content = request + trailer + b"0123456789abcdef0123456789abcdef\r\n\r\n"
                answer = ask(target.port, content)
                assert answer.status == 401, answer
                assert answer.error
        with Wire(target.port) as wire:
            wire.send(request + b"X-API-Key: 0123456789abcdef0123456789abcdef\r\n\r\n" + infer("next"))
            assert wire.answer().status == 401
            with_key = "X-API-Key: 0123456789abcdef0123456789abcdef"
        assert ask(target.port, infer("known", with_key)).id == "known"
        assert ask(target.port, infer("unknown")).status == 401
        assert ask(target.port, get("/v2/health/live")).status == 200
