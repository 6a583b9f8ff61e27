"""Memory that processes keep for reuse, and return to the system."""

import json
import os
import platform
import subprocess
import sys

import pytest

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
