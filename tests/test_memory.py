"""The memory that counts is that of the machine or of the tightest control group."""

from types import SimpleNamespace

import psutil
import pytest

from qpibench import control_groups
from qpibench.memory import Memory, memory

MIB = 2**20


@pytest.fixture
def write(tmp_path, monkeypatch):
    """A machine of 8 GiB, of which 4 are available, and control groups that a test writes."""
    machine = SimpleNamespace(available=4096 * MIB, total=8192 * MIB)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: machine)
    monkeypatch.setattr(control_groups, "_ROOT", tmp_path)

    def write(groups):
        for name, text in groups.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(f"{text}\n")

    return write


def version_2(folder, limit, usage, stat="anon 0\nactive_file 0\ninactive_file 0"):
    place = f"sys/fs/cgroup{folder}/memory"
    return {
        "proc/self/cgroup": "0::/a/b",
        "proc/self/mountinfo": "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw",
        f"{place}.max": limit,
        f"{place}.current": usage,
        f"{place}.stat": stat,
    }


def test_without_a_limit_the_machine_counts(write):
    assert memory() == Memory(4096 * MIB, 8192 * MIB)
    write(version_2("/a/b", "max", 600 * MIB))
    assert memory() == Memory(4096 * MIB, 8192 * MIB)


def test_a_limit_of_version_2_counts_and_that_of_a_group_around_it_too(write):
    write(version_2("/a/b", 2048 * MIB, 600 * MIB))
    assert memory() == Memory(1448 * MIB, 2048 * MIB)
    write(version_2("/a", 1024 * MIB, 700 * MIB))
    assert memory() == Memory(324 * MIB, 1024 * MIB)


def test_memory_that_keeps_files_is_available(write):
    files = f"anon 1\nactive_file {100 * MIB}\ninactive_file {300 * MIB}"
    write(version_2("/a/b", 1024 * MIB, 1000 * MIB, files))
    assert memory() == Memory(424 * MIB, 1024 * MIB)


def test_a_limit_of_version_1_counts(write):
    place = "sys/fs/cgroup/memory/job/memory"
    write(
        {
            "proc/self/cgroup": "4:memory:/job\n3:cpu:/elsewhere\n0::/",
            "proc/self/mountinfo": "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory",
            f"{place}.limit_in_bytes": 1024 * MIB,
            f"{place}.usage_in_bytes": 900 * MIB,
            f"{place}.stat": f"inactive_file 0\ntotal_active_file 0\ntotal_inactive_file {76 * MIB}",
        }
    )
    assert memory() == Memory(200 * MIB, 1024 * MIB)


def test_a_group_that_takes_more_than_its_limit_has_nothing_left(write):
    write(version_2("/a/b", 100 * MIB, 101 * MIB))
    assert memory() == Memory(0, 100 * MIB)


def test_a_system_that_does_not_say_is_not_an_error(monkeypatch):
    def without_proc():
        raise FileNotFoundError("/proc/meminfo")

    monkeypatch.setattr(psutil, "virtual_memory", without_proc)
    assert memory() is None
