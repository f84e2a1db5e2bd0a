"""Samples as the models' own packages prepare them: rendered text, made tones, files that every Python has."""

import json
import os
import sysconfig
import unicodedata
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from tokenizers import Tokenizer

Random = np.random.Generator
Arrays = dict[str, NDArray[Any]]
Floats = NDArray[np.float32]


_ARABIC = """كتب الولد الدرس في المدرسة ذهب الرجل إلى السوق البيت الكبير جميل جدا قرأ الطالب كتابا عن تاريخ العرب يوم
الجمعة صباح الخير هذا بيت صغير والحديقة واسعة شرب القهوة مع صديق العمل الحياة السلام محمد فاطمة مدينة القاهرة النهر
الجبل الشمس القمر ليلة نهار سافر المسافر بالطائرة وعاد بعد شهر قال المعلم للتلاميذ اكتبوا الواجب"""


@cache
def _words() -> tuple[str, ...]:
    """Words of the standard library's own sources, in one order everywhere."""
    found: set[str] = set()
    for path in sorted(Path(os.__file__).parent.glob("*.py"))[:40]:
        found |= {word for word in path.read_text(errors="ignore").split() if word.isalpha() and 3 <= len(word) <= 10}
    return tuple(sorted(found))


def phrase(random: Random, words: int) -> str:
    """So many words, without grammar."""
    return " ".join(random.choice(_words(), words).tolist())


def _line(random: Random, height: int, width: int, words: int) -> Floats:
    """Dark text on a light ground, with noise: (height, width, 3) from 0 to 255."""
    image = Image.new("RGB", (width, height), tuple(random.integers(200, 256, 3).tolist()))
    font = ImageFont.load_default(int(height * 0.55))
    ink = tuple(random.integers(0, 90, 3).tolist())
    ImageDraw.Draw(image).text((4, height // 6), phrase(random, words), font=font, fill=ink)
    noisy = np.asarray(image, np.float32) + random.normal(0, 6, (height, width, 3))
    return np.clip(noisy, 0, 255).astype(np.float32)


def _centred(image: Floats) -> Floats:
    return ((image / 255 - 0.5) / 0.5).transpose(2, 0, 1).astype(np.float32)


def text_lines(random: Random, count: int) -> Arrays:
    """For recognition: (count, 3, 48, 320)."""
    return {"x": np.stack([_centred(_line(random, 48, 320, 2)) for _ in range(count)])}


def turned_lines(random: Random, count: int) -> Arrays:
    """For the direction: every second one stands on its head; (count, 3, 48, 192)."""
    lines = [_line(random, 48, 192, 1) for _ in range(count)]
    return {"x": np.stack([_centred(line[::-1, ::-1] if index % 2 else line) for index, line in enumerate(lines)])}


def pages(random: Random, count: int) -> Arrays:
    """For text detection: (count, 3, 320, 320), with ImageNet's mean and deviation."""
    mean, deviation = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    made = []
    for _ in range(count):
        image = Image.new("RGB", (320, 320), tuple(random.integers(190, 256, 3).tolist()))
        draw, top = ImageDraw.Draw(image), int(random.integers(5, 30))
        while top < 290:
            size = int(random.integers(12, 34))
            place = (int(random.integers(4, 60)), top)
            ink = tuple(random.integers(0, 90, 3).tolist())
            draw.text(place, phrase(random, int(random.integers(1, 4))), font=ImageFont.load_default(size), fill=ink)
            top += size + int(random.integers(6, 40))
        made.append(((np.asarray(image, np.float32) / 255 - mean) / deviation).transpose(2, 0, 1))
    return {"x": np.stack(made).astype(np.float32)}


def captchas(random: Random, count: int) -> Arrays:
    """Four digits or capital letters in colours, with lines across: (count, 3, 60, 160), blue first, from 0 to 255."""
    made = []
    for _ in range(count):
        image = Image.new("RGB", (160, 60), tuple(random.integers(200, 256, 3).tolist()))
        draw = ImageDraw.Draw(image)
        for place in range(4):
            letter = str(random.choice(list("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ")))
            at = (10 + 36 * place + int(random.integers(-4, 5)), int(random.integers(2, 14)))
            font = ImageFont.load_default(int(random.integers(34, 46)))
            draw.text(at, letter, font=font, fill=tuple(random.integers(0, 130, 3).tolist()))
        for _ in range(3):
            ends = [(0, int(random.integers(60))), (159, int(random.integers(60)))]
            draw.line(ends, tuple(random.integers(0, 200, 3).tolist()))
        made.append(np.asarray(image, np.float32)[..., ::-1].transpose(2, 0, 1))
    return {"image": np.stack(made)}


def file_bytes(random: Random, count: int) -> Arrays:
    """The first and the last kilobyte of files of as many kinds as this machine has: (count, 2048), padded with 256."""
    kinds: dict[str, list[Path]] = {}
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).rglob("*")):
        if path.is_file() and 1100 < path.stat().st_size < 200_000:
            kinds.setdefault(path.suffix, []).append(path)
    each = -(-2 * count // len(kinds))
    some = [path for paths in kinds.values() for path in random.permutation(np.array(paths, object))[:each]]
    chosen = [some[index] for index in random.permutation(len(some))[:count]]
    return {"x": np.stack([_ends(path.read_bytes()) for path in chosen])}


def _ends(content: bytes) -> NDArray[np.int32]:
    begin, end = content[:4096].lstrip()[:1024], content[-4096:].rstrip()[-1024:]
    padded = np.full(2048, 256, np.int32)
    padded[: len(begin)] = list(begin)
    padded[2048 - len(end) :] = list(end)
    return padded


def _tones(random: Random, length: int, rate: int) -> Floats:
    """Up to three decaying tones with overtones and some noise."""
    seconds, sound = np.arange(length) / rate, np.zeros(length)
    for _ in range(int(random.integers(1, 4))):
        pitch = float(np.exp(random.uniform(np.log(100), np.log(900))))
        start = random.uniform(0, 0.4) * length / rate
        envelope = (seconds > start) * np.exp(-2 * (seconds - start).clip(0))
        sound += sum(np.sin(2 * np.pi * pitch * part * seconds) / part for part in range(1, 6)) * envelope
    return np.asarray(sound / np.abs(sound).max() / 2 + random.normal(0, 0.01, length), np.float32)


def music(random: Random, count: int) -> Arrays:
    """Two seconds: (count, 43844, 1) at 22,050 Hz."""
    return {"x": np.stack([_tones(random, 43_844, 22_050)[:, None] for _ in range(count)])}


def voices(random: Random, count: int) -> Arrays:
    """A second: (count, 16000) at 16,000 Hz."""
    return {"audio": np.stack([_tones(random, 16_000, 16_000) for _ in range(count)])}


def speech_frames(random: Random, count: int) -> Arrays:
    """Frames of 32 ms with their 4 ms of context, some of them silent: (count, 576)."""
    frames = [_tones(random, 576, 16_000) * (index % 3 > 0) for index in range(count)]
    return {"input": np.stack(frames).astype(np.float32)}


def spectrograms(random: Random, count: int) -> Arrays:
    """Nine seconds of log power: (count, 900, 120)."""
    made = []
    for _ in range(count):
        windows = np.lib.stride_tricks.sliding_window_view(_tones(random, 144_160, 16_000), 238)[::160][:900]
        made.append(np.log10(np.abs(np.fft.rfft(windows)) ** 2 + 1e-6))
    return {"x": np.stack(made).astype(np.float32)}


def parameters(random: Random, count: int) -> Arrays:
    """Four of a k-neighbours search: (count, 4)."""
    return {"x": (random.uniform(0, 1, (count, 4)) * [20, 3, 8, 1]).astype(np.float32)}


def arabic(random: Random, count: int, vocabulary: Path) -> Arrays:
    """Words without their vowels, by letter: (count, 64)."""
    numbers = json.loads(vocabulary.read_text(encoding="utf-8"))["char_to_idx"]
    made = []
    for _ in range(count):
        text = unicodedata.normalize("NFD", " ".join(random.choice(_ARABIC.split(), 16).tolist()))
        bare = [letter for letter in text if unicodedata.category(letter) != "Mn"]
        made.append([numbers.get(letter, 1) for letter in bare[:64]])
    return {"x": np.array(made, np.int64)}


def faces(random: Random, count: int) -> Arrays:
    """Pictures of discs, some of them like faces: (count, 48, 48, 3)."""
    made = []
    for _ in range(count):
        image = Image.new("RGB", (48, 48), tuple(random.integers(0, 256, 3).tolist()))
        draw = ImageDraw.Draw(image)
        for _ in range(10):
            x, y, radius = (int(number) for number in random.integers(2, 40, 3))
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), tuple(random.integers(0, 256, 3).tolist()))
        made.append((np.asarray(image, np.float32) - 127.5) / 128)
    return {"x": np.stack(made).astype(np.float32)}


def sentences(random: Random, count: int, tokenizer: Path) -> Arrays:
    """Up to 32 word pieces: ids, mask and types (count, 32)."""
    pieces = Tokenizer.from_file(str(tokenizer))
    pieces.enable_truncation(32)
    pieces.enable_padding(length=32)
    encoded = [pieces.encode(phrase(random, int(random.integers(3, 14)))) for _ in range(count)]
    return {
        "input_ids": np.array([item.ids for item in encoded], np.int64),
        "attention_mask": np.array([item.attention_mask for item in encoded], np.int64),
        "token_type_ids": np.array([item.type_ids for item in encoded], np.int64),
    }
