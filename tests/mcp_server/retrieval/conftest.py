"""The repository with its history, tickets and designs as one product."""

import json
import os
import subprocess

import pytest

from mcp_server.config import load_setup
from mcp_server.service import Service
from tests.mcp_server.conftest import reindex

SOURCES = {"shop": ("git", "shop-repo"), "issues": ("tickets", "issues.json"), "adrs": ("designs", "designs")}


@pytest.fixture
def serve(repository, tmp_path):
    """Return a function that commits what changed, and serves code, tickets and designs; one source is for `staff`."""
    made = []

    def serve(message, *, tickets, designs, staff_only):
        subprocess.run(["git", "-C", str(repository), "commit", "-qam", message], check=True)
        (tmp_path / "issues.json").write_text(json.dumps(tickets))
        (tmp_path / "designs").mkdir()
        for name, text in designs.items():
            (tmp_path / "designs" / name).write_text(text)
        config = tmp_path / "codecairn.toml"
        config.write_text('[principal]\ngroups = ["local", "staff"]\n')
        with config.open("a") as file:
            for name, (kind, place) in SOURCES.items():
                file.write(f'[[source]]\nname = "{name}"\ntype = "{kind}"\npath = "{tmp_path / place}"\n')
                file.write('product = "shop"\n' + ('groups = ["staff"]\n' if name == staff_only else ""))
        service = Service(load_setup(root=repository, config=config, data=tmp_path / "linked", env=dict(os.environ)))
        made.append(service)
        reindex(service)
        return service

    yield serve
    for service in made:
        service.close()
