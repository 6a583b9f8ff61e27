"""What the processes of a run ask of the system."""

import json
import platform
import subprocess
import sys

import pytest

#: Page faults of layers that use four blocks of 3 MiB each, after one of two functions.
LAYERS = """
import json, resource
from gahbench._util.resources import keep_freed_blocks, release_memory

SIZE = 3 << 20

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
release_memory()
found["released"] = faults()
print(json.dumps({"pages": 4 * SIZE // resource.getpagesize(), **found}))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are not told")
def test_freed_blocks_come_back_without_new_pages():
    # In a process of its own: it cannot be undone.
    done = subprocess.run([sys.executable, "-c", LAYERS], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    if found["by default"] < 5 * found["pages"]:
        pytest.skip("freed blocks are not returned here, or pages are huge: there is nothing to save")
    assert found["kept"] < 0.1 * found["pages"]
    # All of it was given back, and is new once.
    assert 0.9 * found["pages"] < found["released"] < 1.2 * found["pages"]
