"""The allocator's arenas: short-lived threads leave none behind."""

import gc
import subprocess
import sys

import pytest

from ingest.allocator import SELDOM, collecting_seldom

MEASURE = """
import sys, threading
from ingest.allocator import limit_arenas, return_memory

def resident_mb():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 1e6

def read(barrier):  # what an engine does that reads files in threads of its own
    barrier.wait()
    blocks = [bytearray(60_000) for _ in range(80)]
    barrier.wait()
    keep.append(bytes(100))  # one small thing at the top keeps an arena from shrinking by itself

keep = []
if sys.argv[1] == "limited" and not limit_arenas():
    sys.exit(3)
before = resident_mb()
for _ in range(4):
    barrier = threading.Barrier(8)
    threads = [threading.Thread(target=read, args=(barrier,)) for _ in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
print(sum(1 for line in open("/proc/self/maps") if line.split("-")[0].endswith("000000") and " rw-p " in line))
return_memory()
print(resident_mb() - before)
"""


def run(how):
    done = subprocess.run([sys.executable, "-c", MEASURE, how], capture_output=True, text=True, check=False)
    if done.returncode == 3:
        pytest.skip("this C library has no arenas")
    arenas, grown_mb = done.stdout.split()
    return int(arenas), float(grown_mb)


@pytest.mark.req("R21")
def test_threads_that_come_and_go_leave_few_arenas_and_little_memory_behind():
    arenas, grown_mb = run("limited")
    unlimited, _ = run("unlimited")
    assert arenas < unlimited
    assert grown_mb < 20


HEAP = """
import ctypes, sys
from ingest.allocator import part_large_blocks

if not part_large_blocks():
    sys.exit(3)
freed = bytearray(30 << 20)  # from here on glibc would take what is smaller from the heap
del freed
block = ctypes.create_string_buffer(4 << 20)
heap = [[int(end, 16) for end in line.split()[0].split("-")] for line in open("/proc/self/maps") if "[heap]" in line]
print(any(start <= ctypes.addressof(block) < end for start, end in heap))
"""


@pytest.mark.req("R21")
def test_a_large_block_never_lies_among_the_small_ones():
    done = subprocess.run([sys.executable, "-c", HEAP], capture_output=True, text=True, check=False)
    if done.returncode == 3:
        pytest.skip("this C library has no such thresholds")
    assert done.stdout.strip() == "False", done.stderr
    done = subprocess.run(
        [sys.executable, "-c", HEAP.replace("not part_large_blocks()", "False")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.strip() == "True", "without it such a block lies in the heap, or this test shows nothing"


def test_the_collector_looks_as_often_as_before_once_a_build_is_over_also_after_an_error():
    usual = gc.get_threshold()
    with pytest.raises(ValueError, match="x"), collecting_seldom():
        assert gc.get_threshold() == SELDOM
        raise ValueError("x")
    assert gc.get_threshold() == usual


def test_the_collector_looks_as_often_as_before_once_the_last_of_overlapping_builds_is_over():
    usual = gc.get_threshold()
    first, second = collecting_seldom(), collecting_seldom()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert gc.get_threshold() == SELDOM, "the other one goes on"
    second.__exit__(None, None, None)
    assert gc.get_threshold() == usual
