"""glibc's allocator keeps large blocks."""

import platform
import subprocess
import sys

import pytest

CODE = """
import resource, sys
from gmlight.runtime.memory import keep_large_blocks
if sys.argv[1] == "keep":
    assert keep_large_blocks()
import torch
torch.set_num_threads(1)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(100):
    torch.empty(2**24).zero_()  # 64 MiB, freed at once
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has these thresholds")
def test_large_blocks_cause_no_new_page_faults() -> None:
    faults = {
        mode: int(subprocess.run([sys.executable, "-c", CODE, mode], capture_output=True, check=True).stdout)
        for mode in ("keep", "off")
    }
    assert faults["keep"] < faults["off"] / 4
