"""Shared by the tests of the write path."""

import pytest


@pytest.fixture
def code(tmp_path):
    """Six files of one function each."""
    root = tmp_path / "code"
    root.mkdir()
    for number in range(6):
        (root / f"module_{number}.py").write_text(f"def function_{number}():\n    return {number}\n")
    return root
