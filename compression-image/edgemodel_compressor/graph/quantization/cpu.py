"""Which integer arithmetic the CPU has that will serve the model, and what that asks of a quantized graph."""

import platform
from pathlib import Path
from typing import Literal

from edgemodel_contract.base import Struct

CpuTarget = Literal["Any", "AVX2", "AVX512VNNI", "ARM64", "Host"]

_DOT_PRODUCTS = ("amx_int8", "asimddp", "avx512_vnni", "avx_vnni", "i8mm")
"""Flags of /proc/cpuinfo for instructions that add 8-bit products up in 32 bits, so that nothing saturates."""
_OTHERS = ("avx2", "avx512f", "asimd")
_LEVELS: dict[str, tuple[str, ...]] = {
    "Any": (),
    "AVX2": ("AVX2",),
    "AVX512VNNI": ("AVX2", "avx512_vnni", "avx512f"),
    "ARM64": ("asimd",),
}


class TargetCpu(Struct, frozen=True, kw_only=True):
    """The CPU a model is quantized for: a named level, or a machine with the ``flags`` that matter here.

    The default knows nothing, and is safe everywhere.
    """

    name: CpuTarget = "Any"
    flags: tuple[str, ...] = ()
    """Ascending, as /proc/cpuinfo spells them."""

    @property
    def reduce_range(self) -> bool:
        """Whether weights get seven bits.

        Without a dot-product instruction x86 adds two products of u8 × s8 up in 16 saturating bits (VPMADDUBSW): 8-bit
        weights then give other results than the ones measured elsewhere. ARM widens before it adds.
        """
        return not self.signed_activations and not any(flag in _DOT_PRODUCTS for flag in self.flags)

    def computes_as(self, target: "TargetCpu") -> bool:
        """Whether integers that were made for ``target`` give the same answers here with the usual kernels."""
        return target.reduce_range or not self.reduce_range

    @property
    def signed_activations(self) -> bool:
        """S8S8 for ARM, U8S8 for everything else: what ONNX Runtime's kernels are written for."""
        return "asimd" in self.flags


def target_cpu(name: CpuTarget = "Any") -> TargetCpu:
    """The level ``name``; ``Host`` reads the flags of this machine."""
    if name == "Host":
        return read_host(_cpuinfo(), platform.machine())
    return TargetCpu(name=name, flags=_LEVELS[name])


def read_host(cpuinfo: str, machine: str) -> TargetCpu:
    """The machine that ``cpuinfo``, the text of /proc/cpuinfo, describes; ``machine`` is its architecture. Pure."""
    known = {*_DOT_PRODUCTS, *_OTHERS}
    lines = (line.partition(":") for line in cpuinfo.splitlines())
    present = {
        flag for key, _, value in lines if key.strip().lower() in ("flags", "features") for flag in value.split()
    }
    if machine in ("aarch64", "arm64"):
        present.add("asimd")
    return TargetCpu(name="Host", flags=tuple(sorted(known & present)))


def _cpuinfo() -> str:
    try:
        return Path("/proc/cpuinfo").read_text()
    except OSError:
        return ""
