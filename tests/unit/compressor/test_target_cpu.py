"""What the CPU that will serve asks of a quantized graph."""

import pytest

from edgemodel_compressor.graph.quantization.cpu import CpuTarget, TargetCpu, read_host, target_cpu

X86 = "processor\t: 0\nmodel name\t: AMD EPYC\nflags\t\t: fpu sse2 avx2 avx512f {}\n"
ARM = "processor\t: 0\nBogoMIPS\t: 243.75\nFeatures\t: fp asimd evtstrm {}\n"


@pytest.mark.parametrize(
    ("name", "reduce_range", "signed"),
    [("any", True, False), ("avx2", True, False), ("avx512-vnni", False, False), ("arm64", False, True)],
)
def test_levels(name: CpuTarget, reduce_range: bool, signed: bool) -> None:
    cpu = target_cpu(name)
    assert (cpu.name, cpu.reduce_range, cpu.signed_activations) == (name, reduce_range, signed)


@pytest.mark.parametrize(
    ("cpuinfo", "machine", "reduce_range", "signed"),
    [
        (X86.format(""), "x86_64", True, False),
        (X86.format("avx512_vnni"), "x86_64", False, False),
        (X86.format("avx_vnni"), "x86_64", False, False),
        (X86.format("amx_int8"), "x86_64", False, False),
        (ARM.format("asimddp"), "aarch64", False, True),
        (ARM.format(""), "aarch64", False, True),
        ("", "aarch64", False, True),
        ("", "x86_64", True, False),
        ("", "riscv64", True, False),
    ],
)
def test_hosts(cpuinfo: str, machine: str, reduce_range: bool, signed: bool) -> None:
    cpu = read_host(cpuinfo, machine)
    assert (cpu.name, cpu.reduce_range, cpu.signed_activations) == ("host", reduce_range, signed)


def test_only_flags_that_matter_are_recorded() -> None:
    assert read_host(X86.format("avx512_vnni"), "x86_64").flags == ("avx2", "avx512_vnni", "avx512f")


def test_what_is_not_known_is_taken_for_the_weakest() -> None:
    assert TargetCpu() == target_cpu()
    assert TargetCpu().reduce_range
