"""Number of processors that a process may use."""

import os

import pytest

from gahbench._util import resources
from gahbench._util.resources import cpu_count


@pytest.fixture(autouse=True)
def machine(monkeypatch):
    """A machine with sixteen processors and no limits."""
    for name in ("SLURM_JOB_ID", "SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)), raising=False)
    monkeypatch.setattr(resources, "_cpu_quotas", lambda: iter(()))


@pytest.mark.parametrize(
    ("variables", "count"),
    [
        ({}, 16),
        ({"SLURM_CPUS_PER_TASK": "4"}, 16),  # Ignored outside a job.
        ({"SLURM_JOB_ID": "7", "SLURM_CPUS_PER_TASK": "4"}, 4),
        ({"SLURM_JOB_ID": "7", "SLURM_CPUS_PER_TASK": "64"}, 16),
        ({"SLURM_JOB_ID": "7", "SLURM_CPUS_ON_NODE": "8"}, 8),
        ({"SLURM_JOB_ID": "7", "SLURM_CPUS_PER_TASK": "many"}, 16),
    ],
)
def test_a_slurm_task_uses_its_allocation(monkeypatch, variables, count):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cpu_count() == count


@pytest.mark.parametrize(("quotas", "count"), [([3.5, 8.0], 3), ([0.5], 1), ([100.0], 16)])
def test_the_smallest_quota_counts(monkeypatch, quotas, count):
    monkeypatch.setattr(resources, "_cpu_quotas", lambda: iter(quotas))
    assert cpu_count() == count


def test_quotas_of_a_control_group_and_its_ancestors_are_found(tmp_path, monkeypatch):
    monkeypatch.undo()
    root, group_file = tmp_path / "cgroup", tmp_path / "own"
    (root / "jobs" / "one").mkdir(parents=True)
    (root / "jobs" / "cpu.max").write_text("400000 100000\n")
    (root / "jobs" / "one" / "cpu.max").write_text("max 100000\n")
    group_file.write_text("0::/jobs/one\n")
    assert list(resources._cpu_quotas(root, group_file)) == [4.0]
    assert list(resources._cpu_quotas(root, tmp_path / "none")) == []
