"""The test programme of a night: it runs what it names, at the sizes asked for, and fails with it."""

import pytest

from tests import nightly
from tests.nightly import Check, main

GOOD = Check("A", "holds", ("-c", "import sys; print(sys.argv[1:])"), {"--kills": 500})
BAD = Check("B", "does not", ("-c", "import os, sys; print(os.environ['STEPS']); sys.exit(1)"), {"STEPS": 40})


def test_one_check_that_fails_fails_the_night(monkeypatch, capsys):
    monkeypatch.setattr(nightly, "PROGRAMME", (GOOD, BAD))
    assert main(["--share", "0.1"]) == 1
    said = capsys.readouterr().out
    assert "A held" in said
    assert "['--kills', '50']" in said
    assert "B FAILED" in said
    assert "    4\n" in said
    assert main(["--only", "A"]) == 0
    assert "B" not in capsys.readouterr().out


def test_an_unknown_check_is_named_beside_those_there_are(capsys):
    with pytest.raises(SystemExit):
        main(["--only", "X1", "--only", "X99"])
    assert "no such check: X99. There are X1, X2" in capsys.readouterr().err


def test_every_check_names_modules_and_files_that_there_are():
    for check in nightly.PROGRAMME:
        names = [word for word in check.command if word.startswith("tests")]
        for name in names:
            path = nightly.ROOT / (name if "/" in name else name.replace(".", "/") + ".py")
            assert path.exists(), check.id
