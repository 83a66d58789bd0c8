"""``cwnotify config`` in a real process: what is set and where; a file to begin with; never a word of the webhook."""

from __future__ import annotations

import json
import re
import stat
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from cwnotify.alerts.locale import en
from cwnotify.settings import SETTING_SPECS, Secret, get_user_config_path, load_settings, store_webhook
from tests.support.kernel import World
from tests.support.slack import Slack

URL = "https://hooks.slack.com/services/T0/B0/canary"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path, CWNOTIFY_TEAM_CONFIG=str(tmp_path / "team.toml")) as one:
        yield one


def shown(world: World, **environ: str) -> dict[str, tuple[str, str]]:
    """Each setting's value and place, by its name."""
    done = world.execute("cwnotify", "config", env=environ)
    assert "canary" not in done.stdout + done.stderr
    lines = done.stdout.partition("\n\n")[0].splitlines()
    rows = [re.split("  +", line, maxsplit=2) for line in lines]
    return {name: (value, where) for name, value, where in rows}


def test_each_setting_is_shown_with_the_place_that_it_comes_from(world: World, tmp_path: Path):
    (tmp_path / "team.toml").write_text('lang = "ko"\nmention = "@here"\n')
    get_user_config_path(world.environ).parent.mkdir(parents=True)
    get_user_config_path(world.environ).write_text('mention = "@channel"\n')
    stored = store_webhook(Secret(URL), world.environ)

    rows = shown(world, CWNOTIFY_MIN_DURATION="5m")

    assert rows["webhook"] == ("https://hooks.slack.com/…", str(stored))
    assert rows["lang"] == ("ko", str(tmp_path / "team.toml"))
    assert rows["mention"] == ("@channel", str(get_user_config_path(world.environ)))
    assert rows["min_duration"] == ("5m", "CWNOTIFY_MIN_DURATION")
    assert rows["round"] == ("30s", "default")
    assert rows["timezone"] == ("(not set)", "default")
    assert rows["CWNOTIFY_STATE_DIR"] == (str(world.state_dir), "CWNOTIFY_STATE_DIR")


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("https://hooks.slack.com:8443/canary", "https://hooks.slack.com:8443/…"),
        ("http://127.0.0.1:8080/canary", "http://127.0.0.1:8080/…"),
        ("ssm:/cwnotify/webhook", "ssm:/cwnotify/webhook"),
    ],
)
def test_of_a_webhook_nothing_is_shown_that_lets_anybody_post(world: World, url: str, told: str):
    assert shown(world, CWNOTIFY_WEBHOOK_URL=url)["webhook"] == (told, "CWNOTIFY_WEBHOOK_URL")


def test_what_cannot_be_used_is_told_and_the_command_fails(world: World):
    done = world.execute("cwnotify", "config", env={"CWNOTIFY_LANG": "fr"})

    assert done.returncode == 1
    assert done.stderr == "cwnotify: CWNOTIFY_LANG: lang cannot be 'fr'; choose from en, ko\n"


def test_programs_get_the_same_as_json(world: World):
    done = world.execute("cwnotify", "config", "--json", env={"CWNOTIFY_LANG": "ko", "CWNOTIFY_WEBHOOK_URL": URL})

    told = json.loads(done.stdout)
    assert {"key": "lang", "variable": "CWNOTIFY_LANG", "value": "ko", "where": "CWNOTIFY_LANG"} in told["settings"]
    assert told["files"][str(get_user_config_path(world.environ))] is False
    assert told["troubles"] == []
    assert "canary" not in done.stdout


def test_the_file_to_begin_with_sets_nothing_and_says_all(world: World):
    done = world.execute("cwnotify", "config", "--init")
    path = get_user_config_path(world.environ)

    assert done.stdout == f"Written to {path}; every line of it is still a comment.\n"
    assert tomllib.loads(path.read_text()) == {}
    # Without the marks before them, all its lines can be used.
    lines = [line.removeprefix("# ") for line in path.read_text().splitlines()]
    path.write_text("\n".join(line for line in lines if " = " in line or line.startswith("[")))
    found, troubles = load_settings(world.environ)
    assert not troubles
    assert set(tomllib.loads(path.read_text())) == {source.key for source in SETTING_SPECS.values()} | {
        "webhook",
        "words",
    }
    assert found.words == (("en", "run.finished", ":tada: {name} is through after {time}"),)


def test_a_file_that_is_there_stays_as_it_is(world: World):
    world.execute("cwnotify", "config", "--init")
    path = get_user_config_path(world.environ)
    path.write_text('lang = "ko"\n')

    done = world.execute("cwnotify", "config", "--init")

    assert done.returncode == 1
    assert "is there already, and stays as it is" in done.stderr
    assert path.read_text() == 'lang = "ko"\n'
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_all_sentences_of_a_language_can_be_printed_and_used(world: World):
    path = get_user_config_path(world.environ)
    path.parent.mkdir(parents=True)

    path.write_text(world.execute("cwnotify", "config", "--words", "en").stdout)

    found, troubles = load_settings(world.environ)
    assert not troubles
    assert {key: sentence for _, key, sentence in found.words} == en.TRANSLATIONS


def test_a_command_says_the_users_own_words(world: World, tmp_path: Path):
    (tmp_path / "team.toml").write_text('[words.en]\nhello = "Good morning from {host}"\n')
    with Slack() as slack:
        world.execute("cwnotify", "test", env={"CWNOTIFY_WEBHOOK_URL": slack.url})

        assert slack.wait_for(1)[0]["text"].startswith("Good morning from *")
