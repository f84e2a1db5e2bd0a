"""Images that are small to send and large to decode, or slow: refused before they cost what they ask for."""

import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from edgemodel_contract.task import Preprocessing, TensorSpec
from tests.unit.server.builders import brighter_side, write_folder
from tests.unit.server.conftest import Serve, client_of
from tests.unit.server.test_predict import picture, predict
from tests.unit.server.test_process import running

MEBIBYTE = 2**20


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, *extra: bytes, depth: int = 1, rows: bytes | None = None) -> bytes:
    """A black image; ``rows`` is the compressed pixel data, all of it if None."""
    if rows is None:
        rows = zlib.compress(bytes((1 + (width * depth + 7) // 8) * height), 9)
    header = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + b"".join(extra) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def saved(size: tuple[int, int], kind: str, mode: str = "RGB", **options: Any) -> bytes:
    stream = BytesIO()
    Image.new(mode, size).save(stream, kind, **options)
    return stream.getvalue()


def jpeg_of_size(width: int, height: int) -> bytes:
    """Says it has that size, and ends early."""
    content = bytearray(saved((8, 8), "JPEG"))
    frame = content.index(b"\xff\xc0")
    content[frame + 5 : frame + 9] = struct.pack(">HH", height, width)
    return bytes(content)


def webp_of_size(width: int, height: int) -> bytes:
    """An extended header of that size before an image of 8 × 8."""
    image = saved((8, 8), "WEBP")[12:]
    size = (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    content = b"WEBP" + b"VP8X" + struct.pack("<II", 10, 0) + size + image
    return b"RIFF" + struct.pack("<I", len(content)) + content


def gif_of_size(width: int, height: int) -> bytes:
    content = bytearray(saved((8, 8), "GIF", "L"))
    content[6:10] = struct.pack("<HH", width, height)
    return bytes(content)


def bmp_of_runs() -> bytes:
    """8 bits a pixel, run-length encoded."""
    palette = b"".join(bytes((value, value, value, 0)) for value in range(256))
    runs = b"\x08\x01\x00\x00" * 8 + b"\x00\x01"
    header = struct.pack("<IiiHHIIiiII", 40, 8, 8, 1, 8, 1, len(runs), 2835, 2835, 256, 0)
    offset = 14 + len(header) + len(palette)
    return struct.pack("<2sIHHI", b"BM", offset + len(runs), 0, 0, offset) + header + palette + runs


def jpeg_of_scans(count: int) -> bytes:
    content = saved((64, 64), "JPEG", progressive=True)
    last = content.rindex(b"\xff\xda")
    return content[:last] + content[last:-2] * count + content[-2:]


OPEN = [TensorSpec(name="image", datatype="FP32", shape=(-1, 3, -1, -1))]


@pytest.mark.parametrize(
    ("content", "status", "sentence"),
    [
        (png(20_000, 20_000), 413, "has 20000×20000 pixels; send at most 40000000 in one request"),
        (png(2**31 - 1, 2**31 - 1, rows=b""), 413, "pixels; send at most"),
        (jpeg_of_size(65_500, 65_500), 413, "has 65500×65500 pixels"),
        (webp_of_size(2**24, 255), 413, "has 16777216×255 pixels"),
        (webp_of_size(16_383, 16_383), 413, "has 16383×16383 pixels"),
        (gif_of_size(65_535, 65_535), 413, "has 65535×65535 pixels"),
        (saved((6000, 6000), "PNG"), 413, "bytes of memory at once and may have"),
        (saved((6000, 6000), "JPEG", progressive=True), 413, "bytes of memory at once and may have"),
        (saved((3000, 3000), "WEBP"), 413, "bytes of memory at once and may have"),
        (bmp_of_runs(), 415, "is a compressed BMP; send it uncompressed, or as PNG"),
        (jpeg_of_scans(200), 415, "is a JPEG of 2"),
        (png(8, 8, chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(8 * MEBIBYTE)))), 400, "is damaged"),
        (png(8, 8, chunk(b"iCCP", b"p\0\0" + zlib.compress(bytes(8 * MEBIBYTE)))), 400, "is damaged"),
        (b"RIFF\0\0\0\0WEBPVP8X", 400, "says no size"),
    ],
)
async def test_a_bomb_is_refused_and_says_why(serve: Serve, content: bytes, status: int, sentence: str) -> None:
    client = await serve(brighter_side(3, 8))
    response = await predict(client, content)
    assert response.status_code == status, response.text
    assert sentence in response.text


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
async def test_of_an_animation_only_the_first_frame_is_decoded(serve: Serve, kind: str) -> None:
    frames = [Image.open(BytesIO(picture(bright=side))).convert("RGB") for side in ("left", *["right"] * 400)]
    frames = [frame.resize((64, 64)) for frame in frames]
    for index, frame in enumerate(frames[1:]):
        frame.putpixel((index % 64, index // 64), (index % 256, 9, 9))
    stream = BytesIO()
    frames[0].save(
        stream, kind, save_all=True, append_images=frames[1:], **({"lossless": True} if kind == "WEBP" else {})
    )
    client = await serve(brighter_side(3, 8))
    assert (await predict(client, stream.getvalue())).json()["label"] == "0"


async def test_the_images_of_a_request_share_its_pixels(serve: Serve) -> None:
    client = await serve(brighter_side(), {"EDGEMODEL_MAX_PIXELS": "10000"})
    assert (await predict(client, picture((50, 100)), picture((50, 100)))).status_code == 200
    refused = await predict(client, picture((50, 100)), picture((50, 101)))
    assert refused.status_code == 413
    assert "image[1] 'x.png' has 50×101 pixels with those before it; send at most 10000" in refused.json()["error"]


async def test_a_photo_of_a_telephone_is_decoded_at_a_fraction_of_its_size(serve: Serve) -> None:
    client = await serve(brighter_side(3, 8), {"EDGEMODEL_MAX_BUFFERED": "4Mi", "EDGEMODEL_MAX_BODY": "1Mi"})
    photo = picture((4000, 3000), "right", "RGB", "JPEG", quality=60)
    assert (await predict(client, photo)).json()["label"] == "1"
    assert (await predict(client, picture((4000, 3000), "right", "RGB"))).status_code == 413


async def test_what_a_request_held_is_given_back(new_service: Callable[..., Any], load: Callable[..., None]) -> None:
    service = new_service(brighter_side(3, 8))
    load(service)
    async with client_of(service) as client:
        for content in (picture(), b"no image", png(20_000, 20_000), picture()[:60], saved((6000, 6000), "PNG")):
            await predict(client, content, content)
            assert service.budget.memory.used == service.budget.requests.used == service.budget.decoding.used == 0


def test_bombs_cost_the_server_hardly_any_memory(tmp_path: Path) -> None:
    """On a model of open sizes, whose tensor would be four times the pixels of a colour image."""
    folder = write_folder(tmp_path, _any_size(), inputs=OPEN)
    with running(folder, EDGEMODEL_DRAIN="0s") as server:
        url = f"{server.url}/predict"
        httpx.post(url, files={"image": ("x.png", picture((64, 64), mode="RGB"))}).raise_for_status()
        before = _peak(server.process.pid)
        for content in (png(6300, 6300), saved((3000, 3000), "WEBP"), saved((6000, 6000), "JPEG", progressive=True)):
            for count in (1, 4):
                files = [("image", ("x", content))] * count
                assert httpx.post(url, files=files, timeout=60).status_code == 413
        assert _peak(server.process.pid) - before < 64 * MEBIBYTE


def _peak(pid: int) -> int:
    """The most memory, in bytes, that the process has had at a time."""
    (line,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


def _any_size() -> Any:
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["scores"], axis=1),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, "H", "W"])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 3])
    graph = helper.make_graph(nodes, "g", [image], [scores])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("turn", range(1, 9))
async def test_every_orientation_is_turned(serve: Serve, layout: Any, turn: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = turn
    upright = Image.open(BytesIO(picture((16, 16), "right"))).convert("RGB")
    # What a camera stores that is held so that this is seen.
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    stored = upright.transpose(Image.Transpose(undo[turn])) if turn > 1 else upright
    stream = BytesIO()
    stored.save(stream, "PNG", exif=exif)
    client = await serve(brighter_side(3, 8, layout), preprocessing=Preprocessing(layout=layout))
    assert (await predict(client, stream.getvalue())).json()["label"] == "1"
