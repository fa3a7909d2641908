from __future__ import annotations

import os
from pathlib import Path

import pytest

from blemish.runtime import processors
from blemish.runtime.processors import available_processors, quota_processors


def system(root: Path, cgroup: str, files: dict[str, str]) -> Path:
    """A folder with the files in which the kernel shows control groups."""
    for name, text in {
        "proc/self/cgroup": cgroup,
        **{f"sys/fs/cgroup/{key}": one for key, one in files.items()},
    }.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


V1 = "5:cpuset:/a\n3:cpu,cpuacct:/docker/x\n1:name=systemd:/\n0::/system.slice\n"


@pytest.mark.parametrize(
    ("cgroup", "files", "expected"),
    [
        ("0::/\n", {}, None),
        ("0::/\n", {"cpu.max": "max 100000\n"}, None),
        ("0::/\n", {"cpu.max": "300000 100000\n"}, 3),
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "1000 100000\n"}, 1),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "400000 100000\n"}, 4),
        ("0::/a/b\n", {"a/b/cpu.max": "200000 100000\n", "a/cpu.max": "400000 100000\n"}, 2),
        ("0::/host/path\n", {"cpu.max": "200000 100000\n"}, 2),
        ("0::/../../a\n", {"a/cpu.max": "200000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "nonsense\n"}, None),
        ("0::/\n", {"cpu.max": "100000 0\n"}, None),
        ("no cgroup line\n\n", {"cpu.max": "max 100000"}, None),
        (V1, {"cpu/docker/x/cpu.cfs_quota_us": "-1\n", "cpu/docker/x/cpu.cfs_period_us": "100000\n"}, None),
        (V1, {"cpu/docker/x/cpu.cfs_quota_us": "250000\n", "cpu/docker/x/cpu.cfs_period_us": "100000\n"}, 3),
        (V1, {"cpu,cpuacct/cpu.cfs_quota_us": "50000\n", "cpu,cpuacct/cpu.cfs_period_us": "50000\n"}, 1),
        (V1, {"unified/system.slice/cpu.max": "500000 100000\n"}, 5),
    ],
)
def test_the_smallest_quota_of_all_groups_counts(
    tmp_path: Path, cgroup: str, files: dict[str, str], expected: int | None
) -> None:
    assert quota_processors(system(tmp_path, cgroup, files)) == expected


def test_a_system_without_control_groups_has_no_quota(tmp_path: Path) -> None:
    assert quota_processors(tmp_path) is None


@pytest.mark.parametrize(("quota", "expected"), [(None, 4), (3, 3), (9, 4)])
def test_a_quota_only_lowers_the_number_of_processors(
    monkeypatch: pytest.MonkeyPatch, quota: int | None, expected: int
) -> None:
    monkeypatch.setattr(processors, "affine_processors", lambda: 4)
    monkeypatch.setattr(processors, "quota_processors", lambda: quota)
    assert available_processors() == expected


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity here")
def test_affinity_counts() -> None:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert available_processors() == 1
    finally:
        os.sched_setaffinity(0, before)
