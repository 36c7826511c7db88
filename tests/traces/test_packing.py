"""Content of traces, packed: nothing is lost, ids are kept once, and what an older program wrote is still read."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traces.blobs import canonical, compress
from traces.errors import TraceStoreError
from traces.packing import pack, unpack

NAMES = st.one_of(st.text(max_size=30), st.just("chunk 247fd41bbc7c2037"), st.from_regex(r"chunk [0-9a-f]{10,18}"))
VALUES = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(-(10**22), 10**22), st.integers(2**50, 2**63), st.floats(-9e9, 9e9), NAMES
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(NAMES, inner, max_size=4)),
    max_leaves=12,
)


class Numbers:
    """The numbers of ids as a store gives them, from any first one on."""

    def __init__(self, first=1):
        self.first, self.ids = first, []

    def number(self, value):
        if value not in self.ids:
            self.ids.append(value)
        return self.first + self.ids.index(value)

    def id_of(self, number):
        return self.ids[number - self.first]


@pytest.mark.req("T34", "T35")
@given(VALUES, st.sampled_from([1, 800_000]))
def test_what_is_packed_comes_back_to_the_byte(value, first):
    numbers = Numbers(first)
    data = canonical({"value": value, "text": str(value)})
    assert unpack(pack(data, numbers.number), numbers.id_of) == data


@pytest.mark.req("T34")
def test_ids_are_stored_once_and_make_the_content_short():
    numbers = Numbers()
    ids = [4688479652797462366 + 7919**4 * n for n in range(100)]
    data = canonical({"spans": {str(s): {"output": [[one, 0.5] for one in ids]} for s in range(4)}})
    packed = pack(data, numbers.number)
    assert numbers.ids == ids
    assert len(packed) < 0.6 * len(compress(data))


def test_content_of_an_older_program_is_read():
    data = canonical({"answer": "yes", "chunk 247fd41bbc7c2037": 4688479652797462366})
    assert unpack(compress(data), Numbers().id_of) == data


def test_damaged_content_is_said():
    with pytest.raises(TraceStoreError, match="trace verify"):
        unpack(b"\x01nothing of the kind", Numbers().id_of)


CROWD = """
import threading
from traces.packing import pack, unpack

def work(name):
    for at in range(300):
        data = (f'{{"{name}":{at},' + ','.join(f'"k{n}":"{name} {n * at}"' for n in range(400)) + '}').encode()
        assert unpack(pack(data, int), int) == data

crowd = [threading.Thread(target=work, args=(name,)) for name in "abcd"]
[one.start() for one in crowd]
[one.join() for one in crowd]
print("packed")
"""


def test_two_stores_of_one_process_pack_at_the_same_time():
    # In a process of its own: a compressor that two threads share takes the interpreter down.
    run = subprocess.run([sys.executable, "-c", CROWD], capture_output=True, text=True, timeout=120, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (0, "packed\n", "")
