"""Processors, memory, caches and process groups."""

import json
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gahbench._util import resources
from gahbench._util.resources import LRUCache, cpu_count, kill_group

#: Page faults of layers that use four blocks of 3 MiB each, after one of two functions.
LAYERS = """
import ctypes, json, resource
from gahbench._util.resources import keep_freed_blocks, trim_heap

SIZE = 3 << 20
# Pages of 4 KiB in this process, whatever the system prefers (PR_SET_THP_DISABLE of Linux' prctl.h).
ctypes.CDLL(None).prctl(41, 1, 0, 0, 0)

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        blocks = [bytearray(SIZE) for _ in range(4)]
        del blocks
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

counts = {"by default": faults()}
keep_freed_blocks()
faults()
counts["kept"] = faults()
trim_heap()
counts["released"] = faults()
print(json.dumps({"pages": 4 * SIZE // resource.getpagesize(), **counts}))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="freed blocks are kept by options of glibc")
def test_freed_blocks_are_reused_without_page_faults():
    # The setting cannot be undone, so it is tested in a separate process.
    # The variable fixes glibc's initial threshold, under which no freed block is kept.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(128 << 10)}
    command = [sys.executable, "-c", LAYERS]
    completed = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    counts = json.loads(completed.stdout)
    if counts["by default"] == 0:
        pytest.skip("this system counts no page faults")
    assert counts["by default"] > 15 * counts["pages"]
    assert counts["kept"] < 0.1 * counts["pages"]
    # All memory was returned to the system, so each page is new once.
    assert 0.9 * counts["pages"] < counts["released"] < 1.2 * counts["pages"]


@pytest.fixture
def machine(monkeypatch):
    """A machine with sixteen processors and no limits."""
    for name in ("SLURM_JOB_ID", "SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)), raising=False)


@pytest.mark.parametrize(
    ("variables", "quota", "count"),
    [
        ({}, None, 16),
        ({"SLURM_CPUS_PER_TASK": "4"}, "max 100000", 16),  # Ignored outside a job.
        ({"SLURM_JOB_ID": "7", "SLURM_CPUS_PER_TASK": "4"}, None, 4),
        ({"SLURM_JOB_ID": "7", "SLURM_CPUS_PER_TASK": "64"}, None, 16),
        ({"SLURM_JOB_ID": "7", "SLURM_CPUS_ON_NODE": "8"}, None, 8),
        ({}, "350000 100000", 3),
        ({}, "50000 100000", 1),
    ],
)
def test_processors_are_those_of_affinity_slurm_and_the_container(
    machine, monkeypatch, tmp_path, variables, quota, count
):
    monkeypatch.setattr(resources, "CONTAINER", tmp_path / "cpu.max")
    if quota is not None:
        (tmp_path / "cpu.max").write_text(f"{quota}\n")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cpu_count() == count


STARTS = """
import os, subprocess, sys, time
print(subprocess.Popen(["sleep", "100"]).pid)
if (pid := os.fork()) == 0:
    time.sleep(100)
print(pid, flush=True)
if sys.argv[1] == "die":
    os._exit(3)
time.sleep(100)
"""


def is_gone(pid):
    for _ in range(100):
        stat = Path(f"/proc/{pid}/stat")
        if not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] in "ZX":
            return True
        time.sleep(0.02)
    return False


@pytest.mark.parametrize(("leader", "status"), [("live", -signal.SIGKILL), ("die", 3)])
def test_all_processes_of_a_group_are_killed_even_after_the_leader_ended(leader, status):
    command = [sys.executable, "-c", STARTS, leader]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)
    with process.stdout as output:
        started = [int(output.readline()) for _ in range(2)]
    if leader == "die":
        process.wait(10)
    kill_group(process.pid)
    assert process.wait(10) == status
    assert all(map(is_gone, started))
    kill_group(process.pid)


@given(st.lists(st.integers(0, 6), max_size=60), st.integers(1, 8))
def test_the_cache_keeps_the_most_recently_used_results_within_the_limit(keys, limit):
    cache, order = LRUCache(limit, lambda value: value[0] % 3), []
    for key in keys:
        computed = []
        assert cache.get(key, lambda key=key, computed=computed: computed.append(key) or (key, key)) == (key, key)
        # The expected content is a list of keys, the latest last.
        assert bool(computed) == (key not in order)
        order = [other for other in order if other != key] + [key]
        while len(order) > 1 and sum(other % 3 for other in order) > limit and computed:
            order.pop(0)
