"""What the processes of a run ask of the system."""

import platform
import resource

import pytest
import torch

from gahbench.resources import keep_freed_blocks, release_memory


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are not told")
def test_freed_blocks_come_back_without_new_pages():
    size, rounds = 3 << 20, 50
    pages = size // resource.getpagesize()
    keep_freed_blocks()
    torch.zeros(size, dtype=torch.uint8)

    def faults():
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(rounds):
            torch.empty(size, dtype=torch.uint8).fill_(1)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    assert faults() < 2 * pages
    # What is kept can still be given back.
    release_memory()
    assert faults() < 3 * pages
