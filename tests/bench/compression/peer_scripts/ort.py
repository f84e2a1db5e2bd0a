"""onnxruntime's own quantization: static (QDQ) or dynamic, with its defaults unless told."""

import argparse

from common import Samples, answer, arguments, preprocessed, quantize_by_ort
from onnxruntime.quantization import quantize_dynamic


def main() -> None:
    """Pre-process, quantize."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dynamic", action="store_true")
    parser.add_argument("--tuned", action="store_true")
    options = arguments(parser)
    if options.dynamic:
        ready = preprocessed(options.model, options.out)
        quantize_dynamic(ready, options.out)
        ready.unlink()
    else:
        quantize_by_ort(options.model, options.out, Samples(options.dataset), options.tuned)
    answer(options.out)


if __name__ == "__main__":
    main()
