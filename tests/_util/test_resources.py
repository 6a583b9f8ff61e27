"""Memory that the processes of a run keep, and give back."""

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

found = {"by default": faults()}
keep_freed_blocks()
faults()
found["kept"] = faults()
trim_heap()
found["released"] = faults()
print(json.dumps({"pages": 4 * SIZE // resource.getpagesize(), **found}))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="freed blocks are kept by options of glibc")
def test_freed_blocks_come_back_without_new_pages():
    # In a process of its own: it cannot be undone.
    # Under glibc's first threshold, which it would raise by itself, no freed block is kept.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(128 << 10)}
    command = [sys.executable, "-c", LAYERS]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    found = json.loads(done.stdout)
    if found["by default"] == 0:
        pytest.skip("this system counts no page faults")
    assert found["by default"] > 15 * found["pages"]
    assert found["kept"] < 0.1 * found["pages"]
    # All of it was given back, and is new once.
    assert 0.9 * found["pages"] < found["released"] < 1.2 * found["pages"]
