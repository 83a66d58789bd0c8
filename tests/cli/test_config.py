"""``cwnotify config`` in a real process: values and origins, the config file template, and the masked webhook."""

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
    with World(tmp_path, CWNOTIFY_TEAM_CONFIG=str(tmp_path / "team.toml")) as world:
        yield world


def read_rows(world: World, **environ: str) -> dict[str, tuple[str, str]]:
    """Return the value and the origin of each setting that the command prints, by key."""
    process = world.execute("cwnotify", "config", env=environ)
    assert "canary" not in process.stdout + process.stderr
    lines = process.stdout.partition("\n\n")[0].splitlines()
    rows = [re.split("  +", line, maxsplit=2) for line in lines]
    return {key: (value, origin) for key, value, origin in rows}


def test_config_shows_value_and_origin_of_each_setting(world: World, tmp_path: Path) -> None:
    (tmp_path / "team.toml").write_text('lang = "ko"\nmention = "@here"\n')
    get_user_config_path(world.environ).parent.mkdir(parents=True)
    get_user_config_path(world.environ).write_text('mention = "@channel"\n')
    webhook_path = store_webhook(Secret(URL), world.environ)

    rows = read_rows(world, CWNOTIFY_MIN_DURATION="5m")

    assert rows["webhook"] == ("https://hooks.slack.com/…", str(webhook_path))
    assert rows["lang"] == ("ko", str(tmp_path / "team.toml"))
    assert rows["mention"] == ("@channel", str(get_user_config_path(world.environ)))
    assert rows["min_duration"] == ("5m", "CWNOTIFY_MIN_DURATION")
    assert rows["round"] == ("30s", "default")
    assert rows["timezone"] == ("(not set)", "default")
    assert rows["CWNOTIFY_STATE_DIR"] == (str(world.state_dir), "CWNOTIFY_STATE_DIR")


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("https://hooks.slack.com:8443/canary", "https://hooks.slack.com:8443/…"),
        ("http://127.0.0.1:8080/canary", "http://127.0.0.1:8080/…"),
        ("ssm:/cwnotify/webhook", "ssm:/cwnotify/webhook"),
    ],
)
def test_config_masks_the_webhook(world: World, url: str, masked: str) -> None:
    assert read_rows(world, CWNOTIFY_WEBHOOK_URL=url)["webhook"] == (masked, "CWNOTIFY_WEBHOOK_URL")


def test_config_reports_invalid_setting_and_fails(world: World) -> None:
    process = world.execute("cwnotify", "config", env={"CWNOTIFY_LANG": "fr"})

    assert process.returncode == 1
    assert process.stderr == "cwnotify: CWNOTIFY_LANG: lang cannot be 'fr'; choose from en, ko\n"


def test_config_prints_json(world: World) -> None:
    process = world.execute("cwnotify", "config", "--json", env={"CWNOTIFY_LANG": "ko", "CWNOTIFY_WEBHOOK_URL": URL})

    output = json.loads(process.stdout)
    assert {"key": "lang", "variable": "CWNOTIFY_LANG", "value": "ko", "where": "CWNOTIFY_LANG"} in output["settings"]
    assert output["files"][str(get_user_config_path(world.environ))] is False
    assert output["troubles"] == []
    assert "canary" not in process.stdout


def test_config_template_sets_nothing_and_has_every_key(world: World) -> None:
    process = world.execute("cwnotify", "config", "--init")
    path = get_user_config_path(world.environ)

    assert process.stdout == f"Written to {path}. Every line is commented out.\n"
    assert tomllib.loads(path.read_text()) == {}
    # Without the comment marks, every line is valid.
    lines = [line.removeprefix("# ") for line in path.read_text().splitlines()]
    path.write_text("\n".join(line for line in lines if " = " in line or line.startswith("[")))
    settings, problems = load_settings(world.environ)
    assert not problems
    keys = {spec.key for spec in SETTING_SPECS.values()} | {"webhook", "words"}
    assert set(tomllib.loads(path.read_text())) == keys
    assert settings.words == (("en", "run.finished", ":tada: {name} is through after {time}"),)


def test_config_init_keeps_an_existing_file(world: World) -> None:
    world.execute("cwnotify", "config", "--init")
    path = get_user_config_path(world.environ)
    path.write_text('lang = "ko"\n')

    process = world.execute("cwnotify", "config", "--init")

    assert process.returncode == 1
    assert "already exists" in process.stderr
    assert path.read_text() == 'lang = "ko"\n'
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_printed_sentences_are_a_valid_config_file(world: World) -> None:
    path = get_user_config_path(world.environ)
    path.parent.mkdir(parents=True)

    path.write_text(world.execute("cwnotify", "config", "--words", "en").stdout)

    settings, problems = load_settings(world.environ)
    assert not problems
    assert {key: sentence for _, key, sentence in settings.words} == en.TRANSLATIONS


def test_commands_use_custom_sentences(world: World, tmp_path: Path) -> None:
    (tmp_path / "team.toml").write_text('[words.en]\nhello = "Good morning from {host}"\n')
    with Slack() as slack:
        world.execute("cwnotify", "test", env={"CWNOTIFY_WEBHOOK_URL": slack.url})

        assert slack.wait_for(1)[0]["text"].startswith("Good morning from *")
