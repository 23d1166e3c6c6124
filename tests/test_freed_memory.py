"""Freed memory is kept within a step, and returned between parts of a run."""

import platform
import subprocess
import sys

import pytest


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_freed_memory_is_kept_until_it_is_returned() -> None:
    code = (
        "import psutil; rss_mb = lambda: psutil.Process().memory_info().rss / 1e6\n"
        "from kidasr.freed_memory import keep_freed_memory, return_freed_memory\n"
        "keep_freed_memory()\n"
        "before = rss_mb()\n"
        "held = [(bytearray(4_000_000), bytearray(1_000)) for _ in range(50)]\n"
        "held = [small for _, small in held]\n"  # between the freed pieces, which are therefore not at the heap's end
        "print(rss_mb() - before); return_freed_memory(); print(rss_mb() - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    kept_mb, returned_mb = map(float, done.stdout.split())
    assert kept_mb > 150 and returned_mb < 50
