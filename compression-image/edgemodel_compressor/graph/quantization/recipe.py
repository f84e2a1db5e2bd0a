"""What to do to a model's numbers, and under which name it is reported. Pure."""

from dataclasses import dataclass
from typing import Literal

Quantizer = Literal["Dynamic", "Static", "WeightOnly", "FP16"]
CalibrationMethod = Literal["MinMax", "Entropy", "Percentile"]


@dataclass(frozen=True)
class QuantizationRecipe:
    """One way to quantize.

    - ``Dynamic``: weights INT8, activations quantized while running; no data needed.
    - ``Static``: weights and activations INT8 in QDQ form, with ranges by ``calibration``.
    - ``WeightOnly``: weights of matrix products in blocks of ``bits``, arithmetic on them in INT8; kernels of
      convolutions in INT8, widened when the model is loaded, arithmetic on them in FP32.
    - ``FP16``: weights stored in half precision and widened when the model is loaded; arithmetic stays FP32.
    """

    method: Quantizer
    bits: Literal[4, 8] = 8
    """4 only for ``WeightOnly``."""
    calibration: CalibrationMethod = "MinMax"
    per_channel: bool = True
    """``Static``: one scale per output channel, or one per weight tensor: smaller where channels are many and thin."""
    columns: bool = False
    """``Dynamic``: one scale per column of a weight, which keeps more of an encoder and is slower, or one in all."""
    excluded: tuple[str, ...] = ()
    """Nodes of the prepared graph that stay float."""
    widened: bool = False
    """``WeightOnly``: weights of matrix products and tables, too, in INT8 with a scale per column and widened when the
    model is loaded: as fast as floats, where products of blocks are slower."""
    fused: bool = False
    """``Dynamic``, ``FP16``: attention and its surroundings become single operators first."""
    float_storage: Literal["fp32", "fp16"] = "fp32"
    """How what stays float is stored; it computes in FP32 either way."""

    def __post_init__(self) -> None:
        if self.bits == 4 and self.method != "WeightOnly":
            raise ValueError(f"{self.method} quantization has 8 bits only; 4 bits need WeightOnly")

    @property
    def name(self) -> str:
        """``static-int8``, ``static-int8-entropy``, ``dynamic-int8-fused``, ``weight-int4``, ``fp16`` …"""
        if self.method == "FP16":
            parts = ["fp16"]
        else:
            parts = ["weight" if self.method == "WeightOnly" else self.method.lower(), f"int{self.bits}"]
        if self.method == "Static" and self.calibration != "MinMax":
            parts.append(self.calibration.lower())
        if self.method == "Static" and not self.per_channel:
            parts.append("tensor")
        if self.columns:
            parts.append("columns")
        if self.widened:
            parts.append("widened")
        if self.fused:
            parts.append("fused")
        if self.excluded:
            parts.append(f"mixed{len(self.excluded)}")
        if self.float_storage == "fp16" and self.method != "FP16":
            parts.append("half")
        return "-".join(parts)
