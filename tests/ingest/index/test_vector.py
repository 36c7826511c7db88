"""The vector engine as it is loaded: whole for what is used of it, without what is not."""

import subprocess
import sys

USE = """
import sys, threading
{before}
from pathlib import Path
from ingest.index.vector import VectorWriter, preload_vectors

threads = [threading.Thread(target=preload_vectors) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
folder = Path(sys.argv[1], "vectors")
for generation, create in ((1, True), (2, False)):
    writer = VectorWriter(folder, generation=generation, dimensions=2, create=create)
    writer.add(generation, "app", "a.py", "python", bytes(8))
    writer.flush()
    print(writer.count())
print(sorted(name for name in sys.modules if name.startswith("lance_namespace_urllib3_client.api")))
"""


# A package whose __init__ is needed after all: it has no models before that.
BREAK = """
import ingest.index.vector, types
ingest.index.vector.module_from_spec = lambda spec: types.ModuleType(spec.name)
"""


def use(folder, before):
    code = USE.replace("{before}", before)
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n")[:3]


def test_the_engine_works_without_the_client_of_a_remote_service_which_takes_half_of_its_import(tmp_path):
    assert use(tmp_path, "") == ["1", "2", "[]"]


def test_the_engine_is_imported_whole_where_it_does_not_work_without_that_client(tmp_path):
    first, second, loaded = use(tmp_path, BREAK)
    assert (first, second) == ("1", "2")
    assert "lance_namespace_urllib3_client.api" in loaded
