"""How many processors a process may use."""

import os

import pytest

from gahbench._util import resources
from gahbench._util.resources import cpu_count


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    """A machine of sixteen processors, without limits."""
    for name in ("SLURM_JOB_ID", "SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)), raising=False)
    monkeypatch.setattr(resources, "_cpu_quotas", lambda: iter(()))


@pytest.mark.parametrize(
    ("variables", "count"),
    [
        ({}, 16),
        ({"SLURM_CPUS_PER_TASK": "4"}, 16),  # Not in a job: of a shell that asked for one.
        ({"SLURM_JOB_ID": "7", "SLURM_CPUS_PER_TASK": "4"}, 4),
        ({"SLURM_JOB_ID": "7", "SLURM_CPUS_PER_TASK": "64"}, 16),
        ({"SLURM_JOB_ID": "7", "SLURM_CPUS_ON_NODE": "8"}, 8),
        ({"SLURM_JOB_ID": "7", "SLURM_CPUS_PER_TASK": "many"}, 16),
    ],
)
def test_a_slurm_task_has_its_share(monkeypatch, variables, count):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cpu_count() == count


@pytest.mark.parametrize(("quotas", "count"), [([3.5, 8.0], 3), ([0.5], 1), ([100.0], 16)])
def test_the_tightest_quota_counts(monkeypatch, quotas, count):
    monkeypatch.setattr(resources, "_cpu_quotas", lambda: iter(quotas))
    assert cpu_count() == count


def test_quotas_are_those_of_the_own_control_group_and_all_above(tmp_path, monkeypatch):
    monkeypatch.undo()
    root, own = tmp_path / "cgroup", tmp_path / "own"
    (root / "jobs" / "one").mkdir(parents=True)
    (root / "jobs" / "cpu.max").write_text("400000 100000\n")
    (root / "jobs" / "one" / "cpu.max").write_text("max 100000\n")
    own.write_text("0::/jobs/one\n")
    assert list(resources._cpu_quotas(root, own)) == [4.0]
    # Version 1 has a tree for each controller.
    (root / "cpu" / "slurm").mkdir(parents=True)
    (root / "cpu" / "slurm" / "cpu.cfs_quota_us").write_text("250000\n")
    (root / "cpu" / "slurm" / "cpu.cfs_period_us").write_text("100000\n")
    (root / "cpu" / "cpu.cfs_quota_us").write_text("-1\n")
    (root / "cpu" / "cpu.cfs_period_us").write_text("100000\n")
    own.write_text("5:memory:/slurm\n4:cpu,cpuacct:/slurm\n")
    assert list(resources._cpu_quotas(root, own)) == [2.5]
    assert list(resources._cpu_quotas(root, tmp_path / "none")) == []
