"""CPU quotas as cgroups write them, and what is made of them."""

from pathlib import Path

import pytest

from edgemodel_server.model.cpus import Parallelism, available_cpus, divide


def write(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    return root


@pytest.fixture(autouse=True)
def many_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(64)))


@pytest.mark.parametrize(
    ("files", "cpus"),
    [
        ({}, 64),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "150000 100000\n"}, 1.5),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, 64),
        (
            {
                "proc/self/cgroup": "0::/pods/one\n",
                "sys/fs/cgroup/pods/cpu.max": "200000 100000\n",
                "sys/fs/cgroup/pods/one/cpu.max": "400000 100000\n",
            },
            2,
        ),
        ({"proc/self/cgroup": "0::/../../x\n", "sys/fs/cgroup/cpu.max": "50000 100000\n"}, 0.5),
        (
            {
                "proc/self/cgroup": "5:memory:/a\n4:cpu,cpuacct:/a\n",
                "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us": "250000\n",
                "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us": "100000\n",
            },
            2.5,
        ),
        (
            {
                "proc/self/cgroup": "4:cpu:/kubepods/pod1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "300000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            3,
        ),
        (
            {
                "proc/self/cgroup": "4:cpu:/\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            64,
        ),
    ],
)
def test_the_quota_is_the_smallest_of_all_cgroups_above(tmp_path: Path, files: dict[str, str], cpus: float) -> None:
    assert available_cpus(write(tmp_path, files)) == cpus


def test_the_affinity_bounds_a_larger_quota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    files = {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "800000 100000\n"}
    assert available_cpus(write(tmp_path, files)) == 2


@pytest.mark.parametrize(
    ("cpus", "threads", "expected"),
    [
        (4, None, Parallelism(threads=4, workers=1, spinning=True)),
        (1.5, None, Parallelism(threads=2, workers=1, spinning=False)),
        (1, None, Parallelism(threads=1, workers=1, spinning=False)),
        (0.25, None, Parallelism(threads=1, workers=1, spinning=False)),
        (4, 1, Parallelism(threads=1, workers=4, spinning=False)),
        (4, 2, Parallelism(threads=2, workers=2, spinning=True)),
        (2, 8, Parallelism(threads=8, workers=1, spinning=False)),
    ],
)
def test_cpus_are_divided_among_inferences(cpus: float, threads: int | None, expected: Parallelism) -> None:
    assert divide(cpus, threads) == expected
