"""The number of processors follows the affinity and the quotas of control groups."""

import os
import re

import pytest

from qpibench import control_groups
from qpibench import processors as module
from qpibench.locator import PACKAGE
from qpibench.processors import processors

V2 = "30 23 0:26 {root} /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = "33 31 0:29 {root} /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Eight processors, and control groups that a test writes."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.delenv("NUMBA_NUM_THREADS", raising=False)
    monkeypatch.setattr(control_groups, "_ROOT", tmp_path)

    def write(files):
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    return write


def v2(group, root="/"):
    return {"proc/self/cgroup": f"0::{group}\n", "proc/self/mountinfo": V2.format(root=root)}


def v1(group, root="/"):
    return {"proc/self/cgroup": f"4:cpu,cpuacct:{group}\n3:memory:/\n", "proc/self/mountinfo": V1.format(root=root)}


def test_without_control_groups_the_affinity_counts(machine):
    assert processors() == 8


def test_a_system_without_affinity_has_all_processors(machine, monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity")
    assert processors() == 64


@pytest.mark.parametrize(
    ("quota", "count"),
    [("200000 100000", 2), ("150000 100000", 2), ("1000 100000", 1), ("max 100000", 8), ("6400000 100000", 8)],
)
def test_a_quota_of_version_2_is_rounded_up(machine, quota, count):
    machine(v2("/") | {"sys/fs/cgroup/cpu.max": f"{quota}\n"})
    assert processors() == count


def test_the_least_quota_of_the_groups_above_counts(machine):
    groups = {"a/cpu.max": "300000 100000\n", "a/b/cpu.max": "max 100000\n", "a/b/c/cpu.max": "500000 100000\n"}
    machine(v2("/a/b/c") | {f"sys/fs/cgroup/{name}": text for name, text in groups.items()})
    assert processors() == 3


@pytest.mark.parametrize(("quota", "count"), [("250000", 3), ("-1", 8)])
def test_a_quota_of_version_1_counts(machine, quota, count):
    place = "sys/fs/cgroup/cpu,cpuacct/job/"
    machine(v1("/job") | {f"{place}cpu.cfs_quota_us": f"{quota}\n", f"{place}cpu.cfs_period_us": "100000\n"})
    assert processors() == count


@pytest.mark.parametrize("group", ["/docker/4f2a", "/elsewhere"])
def test_a_container_that_sees_its_own_group_as_the_root_is_limited(machine, group):
    machine(v2(group, root="/docker/4f2a") | {"sys/fs/cgroup/cpu.max": "400000 100000\n"})
    assert processors() == 4


@pytest.mark.parametrize("text", ["", "x y\n", "100000 0\n", "\xff"])
def test_a_quota_that_cannot_be_understood_limits_nothing(machine, text):
    machine(v2("/") | {"sys/fs/cgroup/cpu.max": text})
    assert processors() == 8


def test_numba_num_threads_lowers_the_number(machine, monkeypatch):
    monkeypatch.setenv("NUMBA_NUM_THREADS", "3")
    assert processors() == 3


def test_threads_of_torch_and_blas_are_stated_only_under_a_quota(machine):
    assert module.thread_variables() == {}
    machine(v2("/") | {"sys/fs/cgroup/cpu.max": "200000 100000\n"})
    assert set(module.thread_variables().values()) == {"2"}


def test_nobody_else_counts_processors():
    counts = re.compile(r"sched_getaffinity|process_cpu_count|config\.NUMBA_NUM_THREADS|os\.cpu_count")
    found = {path.name for path in PACKAGE.rglob("*.py") if counts.search(path.read_text(encoding="utf-8"))}
    assert found == {"processors.py"}
