"""POST /predict: images in, labels out."""

from io import BytesIO
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from edgemodel_contract.task import Datatype, Preprocessing, TensorSpec
from tests.unit.server.builders import brighter_side, mlp
from tests.unit.server.conftest import Serve


def picture(
    size: tuple[int, int] = (8, 8), bright: str = "right", mode: str = "L", kind: str = "PNG", **save: Any
) -> bytes:
    """White on one half, black on the other."""
    image = Image.new("L", size)
    half = size[0] // 2
    image.paste(255, (half, 0, size[0], size[1]) if bright == "right" else (0, 0, half, size[1]))
    stream = BytesIO()
    image.convert(mode).save(stream, kind, **save)
    return stream.getvalue()


async def predict(client: httpx.AsyncClient, *images: bytes, field: str = "image") -> httpx.Response:
    return await client.post("/predict", files=[(field, ("x.png", content)) for content in images])


async def test_one_image_gives_its_label_and_probability(serve: Serve) -> None:
    client = await serve(brighter_side(), labels=["left", "right", "neither"], name="sides")
    response = await predict(client, picture(bright="left"))
    # The logits of a half white image are 1, 0 and 0.
    assert response.json() == {
        "label": "left",
        "probability": pytest.approx(np.e / (np.e + 2), abs=1e-6),
        "model": "sides",
    }


async def test_several_images_give_several_predictions_in_order(serve: Serve) -> None:
    client = await serve(brighter_side())
    response = await predict(client, picture(bright="right"), picture(bright="left"))
    assert [item["label"] for item in response.json()["predictions"]] == ["1", "0"]


async def test_probabilities_are_not_softened_twice(serve: Serve) -> None:
    logits = await serve(brighter_side())
    expected = (await predict(logits, picture())).json()
    probabilities = await serve(brighter_side(softmax=True))
    assert (await predict(probabilities, picture())).json() == expected


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize(
    ("mode", "kind"),
    [("L", "PNG"), ("RGB", "PNG"), ("RGBA", "PNG"), ("P", "GIF"), ("1", "PNG"), ("RGB", "WEBP"), ("CMYK", "JPEG")],
)
async def test_images_are_converted_and_resized_to_what_the_model_takes(
    serve: Serve, channels: int, layout: Any, mode: str, kind: str
) -> None:
    client = await serve(brighter_side(channels, 8, layout), preprocessing=Preprocessing(layout=layout))
    for side, label in (("left", "0"), ("right", "1")):
        response = await predict(client, picture((50, 20), side, mode, kind))
        assert response.json()["label"] == label, response.text


@pytest.mark.parametrize("datatype", ["FP16", "FP64", "UINT8", "INT32"])
async def test_integer_inputs_get_the_pixels_and_floats_the_scaled_ones(serve: Serve, datatype: Datatype) -> None:
    client = await serve(brighter_side(datatype=datatype))
    probability = (await predict(client, picture())).json()["probability"]
    assert probability == (1.0 if datatype in ("UINT8", "INT32") else pytest.approx(0.576117, abs=1e-6))


async def test_mean_and_std_are_applied_after_the_scale(serve: Serve) -> None:
    client = await serve(brighter_side(3, 8), preprocessing=Preprocessing(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)))
    probability = (await predict(client, picture(mode="RGB"))).json()["probability"]
    # Bright pixels become 2, dark ones -2.
    assert probability == pytest.approx(1 / (1 + np.exp(-4) + np.exp(-2)), abs=1e-6)


async def test_sixteen_bit_greyscale_keeps_its_shades(serve: Serve) -> None:
    client = await serve(brighter_side())
    pixels = np.full((8, 8), 0x2000, dtype=np.uint16)
    pixels[:, 4:] = 0xFFFF
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    eight_bit = Image.fromarray((pixels >> 8).astype(np.uint8))
    other = BytesIO()
    eight_bit.save(other, "PNG")
    assert (await predict(client, stream.getvalue())).json() == (await predict(client, other.getvalue())).json()


async def test_a_turned_photograph_is_seen_upright(serve: Serve) -> None:
    client = await serve(brighter_side())
    exif = Image.Exif()
    exif[0x0112] = 3  # turned by 180°
    response = await predict(client, picture(bright="left", kind="JPEG", exif=exif))
    assert response.json()["label"] == "1"


async def test_an_upload_larger_than_a_megabyte_needs_no_disk(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("read-only file system")

    monkeypatch.setattr("tempfile.NamedTemporaryFile", refuse)
    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    client = await serve(brighter_side())
    content = picture((2000, 1000), kind="BMP")
    assert len(content) > 1024 * 1024
    response = await predict(client, content)
    assert response.json()["label"] == "1"


@pytest.mark.parametrize(
    ("content", "status", "message"),
    [
        (b"not an image", 415, "image[0] 'x.png' is not an image in one of PNG, JPEG"),
        (b"", 415, "image[0] 'x.png' is not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n", 415, "is not an image in one of"),
        (picture((400, 400), kind="JPEG")[:600], 400, "image[0] 'x.png' is damaged"),
        (picture((100, 100))[:-30], 400, "image[0] 'x.png' is damaged"),
        (picture((4000, 3000)), 413, "image[0] 'x.png' has 4000×3000 pixels; send at most 1000000"),
    ],
)
async def test_bad_images_are_refused_by_name(serve: Serve, content: bytes, status: int, message: str) -> None:
    client = await serve(brighter_side(), {"EDGEMODEL_MAX_PIXELS": "1000000"})
    response = await predict(client, content)
    assert response.status_code == status
    assert message in response.json()["error"]


async def test_a_form_without_the_field_is_shown_the_call(serve: Serve) -> None:
    client = await serve(brighter_side())
    other_field = await predict(client, picture(), field="file")
    text_field = await client.post("/predict", data={"image": "x.png"}, files={"other": b""})
    assert other_field.status_code == text_field.status_code == 400
    for response in (other_field, text_field):
        assert "curl -F image=@photo.png" in response.json()["error"]
    assert "it has 'file'" in other_field.json()["error"]


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("application/json", b"{}", 415),
        ("multipart/form-data", b"", 400),
        ("multipart/form-data; boundary=x", b"", 400),
        ("multipart/form-data; boundary=x", b"nonsense", 400),
        ("multipart/form-data; boundary=x", b"--x\r\nContent-Disposition: form-data\r\n\r\n1\r\n--x--\r\n", 400),
        ("multipart/form-data; boundary=" + "x" * 300, b"", 400),
    ],
)
async def test_what_is_not_a_form_is_refused(serve: Serve, content_type: str, body: bytes, status: int) -> None:
    client = await serve(brighter_side())
    response = await client.post("/predict", content=body, headers={"content-type": content_type})
    assert response.status_code == status
    assert response.json()["error"]


async def test_too_many_images_are_refused(serve: Serve) -> None:
    client = await serve(brighter_side())
    response = await predict(client, *[b"x"] * 65)
    assert response.status_code == 413


async def test_a_model_that_takes_no_image_says_what_to_call(serve: Serve) -> None:
    client = await serve(mlp())
    response = await predict(client, picture())
    assert response.status_code == 404
    assert "POST /v2/models/digits/infer" in response.json()["error"]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("channels", [1, 3])
async def test_the_body_may_be_the_image_itself(serve: Serve, kind: str, mode: str, channels: int) -> None:
    client = await serve(brighter_side(channels))
    for side, label in (("left", "0"), ("right", "1")):
        content = picture((16, 16), side, mode, kind)
        response = await client.post("/predict", content=content, headers={"content-type": f"image/{kind.lower()}"})
        assert response.json()["label"] == label, response.text


async def test_a_body_that_is_no_image_is_refused(serve: Serve) -> None:
    client = await serve(brighter_side())
    response = await client.post("/predict", content=b"nothing", headers={"content-type": "image/png"})
    assert response.status_code == 415
    assert "the body is not an image in one of PNG" in response.json()["error"]


async def test_top_k_gives_the_most_probable_classes_in_order(serve: Serve) -> None:
    client = await serve(brighter_side(), labels=["left", "right", "neither"])
    files = [("image", ("x.png", picture(bright=side))) for side in ("right", "left")]
    best = (await client.post("/predict?top_k=2", files=files[:1])).json()
    assert best["label"] == "right"
    assert [item["label"] for item in best["top"]] == ["right", "left"]
    assert best["top"][0] == {"label": "right", "probability": best["probability"]}
    both = (await client.post("/predict?top_k=9", files=files)).json()["predictions"]
    assert [[item["label"] for item in one["top"]] for one in both] == [
        ["right", "left", "neither"],
        ["left", "right", "neither"],
    ]
    assert all(sum(item["probability"] for item in one["top"]) == pytest.approx(1, abs=1e-5) for one in both)


@pytest.mark.parametrize("value", ["0", "-1", "two", "1001", "", "9" * 5000, "²"])
async def test_a_top_k_that_is_none_is_a_400(serve: Serve, value: str) -> None:
    client = await serve(brighter_side())
    response = await client.post("/predict", params={"top_k": value}, files=[("image", ("x.png", picture()))])
    assert response.status_code == 400
    assert "top_k is" in response.json()["error"]


@pytest.mark.parametrize("fixed", [True, False])
async def test_many_images_are_answered_in_order_whatever_batch_the_model_takes(serve: Serve, fixed: bool) -> None:
    inputs = [TensorSpec(name="image", datatype="FP32", shape=(1, 1, 8, 8))] if fixed else None
    client = await serve(brighter_side(), inputs=inputs)
    sides = ["left", "right", "right", "left"] * 16
    response = await predict(client, *(picture(bright=side) for side in sides))
    labels = [item["label"] for item in response.json()["predictions"]]
    assert labels == ["0" if side == "left" else "1" for side in sides]
