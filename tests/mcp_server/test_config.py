"""Settings: layers, origins, errors."""

import json
import os

import pytest
from pydantic import ValidationError

from ingest.errors import ConfigError
from mcp_server.config import CacheConfig, Settings, ensure_writable, load_setup
from mcp_server.llm import RETRIES


def load(root, env=None, config=None, data=None, **flags):
    return load_setup(root=root, config=config, data=data, env={"HOME": "/nowhere", **(env or {})}, flags=flags)


@pytest.mark.req("T26")
def test_flag_beats_environment_beats_file_beats_default(tmp_path):
    (tmp_path / "codecairn.toml").write_text("strict = true\n[index]\nchunk_chars = 900\nworkers = 3\n")
    env = {"CODECAIRN_INDEX__CHUNK_CHARS": "1000"}
    setup = load(tmp_path, env, index={"workers": 1})
    assert setup.settings.strict is True
    assert setup.settings.index.chunk_chars == 1000
    assert setup.settings.index.workers == 1
    assert setup.settings.index.max_file_bytes == 1_000_000
    assert setup.origins["strict"].startswith("file ")
    assert setup.origins["index.chunk_chars"] == "environment CODECAIRN_INDEX__CHUNK_CHARS"
    assert setup.origins["index.workers"] == "flag"
    assert "index.max_file_bytes" not in setup.origins


def test_environment_overlay(tmp_path):
    (tmp_path / "codecairn.toml").write_text(
        "strict = false\n[env.prod]\nstrict = true\n[env.prod.index]\nworkers = 2\n"
    )
    assert load(tmp_path).settings.strict is False
    prod = load(tmp_path, {"CODECAIRN_ENVIRONMENT": "prod"}).settings
    assert (prod.strict, prod.index.workers, prod.environment) == (True, 2, "prod")


TWO_SOURCES = '[[source]]\nname = "{}"\ntype = "{}"\npath = "x"\n[[source]]\nname = "{}"\ntype = "{}"\npath = "y"\n'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[indx]\nworkers = 1\n", "Unknown setting 'indx'.*Did you mean 'index'"),
        ("[index]\nworker = 1\n", "Unknown setting 'index.worker'.*Did you mean 'workers'"),
        ('[[source]]\nname = "a"\ntype = "git"\npaht = "."\n', "Did you mean 'path'"),
        ("[index]\nworkers = -1\n", "index.workers.*greater than or equal to 0"),
        ("[index\n", "cannot be read"),
        (TWO_SOURCES.format("a", "folder", "a", "designs"), "Two sources in .* are called 'a'. Give each"),
        (TWO_SOURCES.format("a", "git", "a.history", "folder"), "are called 'a.history'"),
    ],
)
def test_wrong_configuration_is_named(tmp_path, text, expected):
    (tmp_path / "codecairn.toml").write_text(text)
    with pytest.raises(ConfigError, match=expected):
        load(tmp_path)


def test_without_a_file_the_folder_is_the_source(tmp_path):
    root = tmp_path / "my project"
    root.mkdir()
    setup = load(root)
    (source,) = setup.settings.source
    assert (source.name, source.type, source.path) == ("my-project", "folder", root)
    (root / ".git").mkdir()
    assert load(root).settings.source[0].type == "git"


def test_root_is_the_top_of_the_work_tree(tmp_path, monkeypatch):
    (tmp_path / ".git").mkdir()
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    assert load(None).root == tmp_path


@pytest.mark.req("F14")
def test_data_lies_outside_the_work_tree_and_is_told_apart_by_root(tmp_path):
    one, two = tmp_path / "x" / "repo", tmp_path / "y" / "repo"
    one.mkdir(parents=True)
    two.mkdir(parents=True)
    env = {"XDG_DATA_HOME": str(tmp_path / "xdg")}
    first, second = load(one, env).data_dir, load(two, env).data_dir
    assert first.parent == second.parent == tmp_path / "xdg" / "codecairn"
    assert first != second


@pytest.mark.req("F14")
def test_data_directory_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written.*--data"):
        ensure_writable(tmp_path / "file" / "data")


@pytest.mark.req("S11")
def test_snapshot_holds_the_name_of_the_key_never_the_key(tmp_path):
    (tmp_path / "codecairn.toml").write_text('[embedding]\napi_key_env = "MY_KEY"\n')
    setup = load(tmp_path, {"MY_KEY": "very-secret-value"})
    assert setup.api_key == "very-secret-value"
    assert "very-secret-value" not in str(setup.snapshot())


def test_relative_sources_start_at_the_file(tmp_path):
    (tmp_path / "conf").mkdir()
    file = tmp_path / "conf" / "codecairn.toml"
    file.write_text('[[source]]\nname = "a"\ntype = "folder"\npath = "../code"\n')
    assert load(tmp_path, config=file).settings.source[0].path == tmp_path / "code"


def test_missing_file_and_missing_root_are_sentences(tmp_path):
    with pytest.raises(ConfigError, match="codecairn init"):
        load(tmp_path, config=tmp_path / "no.toml")
    with pytest.raises(ConfigError, match="is no folder"):
        load(tmp_path / "no")
    assert os.environ["HOME"]


@pytest.mark.req("N1", "N2", "N5", "N14", "N15")
def test_defaults_are_those_of_the_requirements():
    settings = Settings()
    assert (settings.llm.timeout_s, settings.answer.deadline_s) == (15, 25)
    assert settings.llm.temperature == 0
    assert settings.cache.ttl_s == 300
    with pytest.raises(ValidationError):
        CacheConfig(ttl_s=3601)
    answer = settings.answer
    caps = (
        answer.budget_tokens,
        answer.code_tokens,
        answer.tickets_tokens,
        answer.designs_tokens,
        answer.history_tokens,
    )
    assert caps == (6000, 6000, 2000, 2000, 1000)
    assert answer.file_tokens == 2400
    assert RETRIES == 3
    assert not settings.llm.is_on


@pytest.mark.req("S11", "V1", "M8")
def test_model_settings_come_from_file_and_environment_and_the_key_is_never_shown(tmp_path):
    (tmp_path / "codecairn.toml").write_text(
        '[llm]\nmodel = "m"\nbase_url = "http://127.0.0.1:1/v1"\napi_key_env = "MY_KEY"\n'
        '[[llm.price]]\nmodel = "m"\ninput_usd = 0.1\noutput_usd = 0.4\n[prompts]\nanswer = "v1"\n'
    )
    key = "sk" + "-planted-" + "9" * 20
    env = {"MY_KEY": key, "CODECAIRN_DAILY_BUDGET_USD": "2.5", "CODECAIRN_LLM__TIMEOUT_S": "9", "HOME": str(tmp_path)}
    setup = load_setup(root=tmp_path, config=None, data=tmp_path / "data", env=env)
    assert setup.llm_api_key == key
    assert (setup.settings.llm.timeout_s, setup.settings.budget.daily_usd) == (9, 2.5)
    assert str(setup.settings.llm.price[0].output_usd) == "0.4"
    assert key not in json.dumps([setup.snapshot(), dict(setup.origins)])


def test_an_answer_that_leaves_no_room_for_the_question_is_refused(tmp_path):
    (tmp_path / "codecairn.toml").write_text("[llm]\nwindow_tokens = 8000\nmax_output_tokens = 4000\n")
    with pytest.raises(ConfigError, match="at most a quarter of window_tokens"):
        load_setup(root=tmp_path, config=None, data=None, env={"HOME": str(tmp_path)})
