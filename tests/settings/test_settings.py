"""Settings: their sources and precedence, reports of invalid ones, and the secrecy of the webhook."""

from __future__ import annotations

import copy
import json
import os
import pickle
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cwnotify.errors import SettingsError
from cwnotify.settings import (
    Secret,
    Settings,
    get_state_dir,
    get_user_config_path,
    get_webhook_path,
    list_config_paths,
    load_settings,
    load_settings_or_raise,
    parse_webhook,
    store_webhook,
)
from cwnotify.settings.cache import FileBackedCache
from tests.support.waiting import until

URL = "https://hooks.slack.com/services/T0/B0/canary"


class Home:
    """A home directory, and the environment that selects it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.environ = {"HOME": str(path)}

    def with_variables(self, **variables: str) -> dict[str, str]:
        return {**self.environ, **variables}

    def write_config(self, text: str | bytes) -> Path:
        return self._write("config.toml", text)

    def with_team(self, text: str) -> dict[str, str]:
        """Write the team's file, and return the environment that selects it."""
        path = self.path / "team.toml"
        path.write_text(text)
        return self.with_variables(CWNOTIFY_TEAM_CONFIG=str(path))

    def write_webhook(self, text: str | bytes, mode: int = 0o600) -> Path:
        path = self._write("webhook", text)
        path.chmod(mode)
        return path

    def _write(self, name: str, text: str | bytes) -> Path:
        path = self.path / ".config" / "cwnotify" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


# Sources


def test_unset_settings_have_defaults(home: Home) -> None:
    assert load_settings(home.environ) == (Settings(), ())
    assert load_settings_or_raise(home.environ) == Settings()


ALL = """
channel = "#ml"
lang = "ko"
instance = "i-1"
alarms = "cpu-*"
mention = "@here"
min_duration = "5m"
timezone = "Asia/Seoul"
"""


def test_config_file_sets_everything_but_the_webhook(home: Home) -> None:
    home.write_config(ALL)

    assert load_settings_or_raise(home.environ) == Settings(
        None, "#ml", "ko", "i-1", "cpu-*", "<!here>", 300.0, "Asia/Seoul"
    )


def test_environment_overrides_file_and_config_magic_overrides_both(home: Home) -> None:
    home.write_config(ALL)
    environ = home.with_variables(CWNOTIFY_CHANNEL="#env", CWNOTIFY_MIN_DURATION="1h", CWNOTIFY_MENTION="none")

    settings, problems = load_settings(environ, {"zone": "Asia/Tokyo", "lang": ""})

    assert (settings.channel, settings.lang, settings.min_seconds, settings.mention) == ("#env", "ko", 3600.0, "")
    assert settings.zone == "Asia/Tokyo"
    assert not problems


def test_config_magic_cannot_redirect_alerts(home: Home) -> None:
    assert load_settings(home.environ, {"channel": "#config"}) == (Settings(), ())


def test_user_file_overrides_jupyter_files_which_override_team_file(home: Home, tmp_path: Path) -> None:
    environ = home.with_team('lang = "ko"\nmention = "@here"\ntimezone = "Asia/Tokyo"\n')
    environ |= {"JUPYTER_CONFIG_DIR": str(tmp_path / "own"), "JUPYTER_CONFIG_PATH": f"{tmp_path}/a:{tmp_path}/b"}
    for folder, round in (("own", "3m"), ("b", "2m"), ("a", "1m")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "cwnotify.toml").write_text(f'round = "{round}"\nmention = "@channel"\nchanel = 1\n')
    home.write_config('mention = "U0123ABCD"\n')

    settings, problems = load_settings(environ)

    assert (settings.mention, settings.round_seconds, settings.lang, settings.zone) == (
        "<@U0123ABCD>",
        60.0,
        "ko",
        "Asia/Tokyo",
    )
    # Each misspelled key is reported with its file.
    assert [problem.split(":")[0] for problem in problems] == [
        str(tmp_path / folder / "cwnotify.toml") for folder in ("a", "b", "own")
    ]


def test_team_file_defaults_to_etc(home: Home) -> None:
    assert list_config_paths(home.environ)[0] == str(get_user_config_path(home.environ))
    assert list_config_paths(home.environ)[-1] == "/etc/cwnotify/config.toml"
    assert f"{sys.prefix}/etc/jupyter/cwnotify.toml" in list_config_paths(home.environ)


def test_list_in_file_becomes_text(home: Home) -> None:
    home.write_config('alarms = ["a", "b*"]\n')

    assert load_settings_or_raise(home.environ).alarms == "a, b*"


WORDS = """
[words.en]
"run.finished" = ":tada: {name} is through"
run.failed = "{name} broke: {error}"
cell = "{m}"
[words.fr]
cell = "x"
"""


def test_valid_custom_sentences_are_used_and_others_reported(home: Home) -> None:
    environ = home.with_team('[words.en]\n"run.finished" = "the team\'s"\n"run.lost" = "{name}: {why}"\n')
    path = home.write_config(WORDS)

    settings, problems = load_settings(environ)

    assert set(settings.words) == {
        ("en", "run.finished", ":tada: {name} is through"),
        ("en", "run.failed", "{name} broke: {error}"),
        ("en", "run.lost", "{name}: {why}"),
    }
    assert problems == (
        f"{path}: [words.en] cell is not used: unknown placeholder {{m}}; use {{n}}",
        f"{path}: [words.fr] cell is not used: unknown language fr; choose from en, ko",
    )


@pytest.mark.parametrize("line", ["words = 3", "words.en = 3", 'words.en.run = "x"', "[[words]]\na = 1"])
def test_malformed_words_are_reported(home: Home, line: str) -> None:
    home.write_config(line)

    settings, (problem, *_) = load_settings(home.environ)

    assert settings == Settings()
    assert str(get_user_config_path(home.environ)) in problem


def test_number_in_file_becomes_text(home: Home) -> None:
    home.write_config("min_duration = 90\n")

    assert load_settings_or_raise(home.environ).min_seconds == 90.0


@pytest.mark.parametrize("name", ["CWNOTIFY_WEBHOOK_URL", "SLACK_WEBHOOK_URL"])
def test_webhook_is_read_from_either_variable(home: Home, name: str) -> None:
    assert load_settings_or_raise(home.with_variables(**{name: f" {URL}\n"})).webhook == Secret(URL)


def test_cwnotify_variable_overrides_slack_variable_which_overrides_stored_webhook(home: Home) -> None:
    home.write_webhook(URL + "3\n")
    environ = home.with_variables(CWNOTIFY_WEBHOOK_URL=URL + "1", SLACK_WEBHOOK_URL=URL + "2")

    suffixes = []
    for name in ("CWNOTIFY_WEBHOOK_URL", "SLACK_WEBHOOK_URL", "HOME"):
        webhook = load_settings_or_raise(environ).webhook
        assert webhook
        suffixes.append(webhook.reveal()[-1])
        del environ[name]

    assert suffixes == ["1", "2", "3"]


def test_directories_can_be_configured(home: Home, tmp_path: Path) -> None:
    assert get_state_dir(home.environ) == tmp_path / ".local/state/cwnotify"
    assert get_state_dir(home.with_variables(XDG_STATE_HOME="/x")) == Path("/x/cwnotify")
    assert get_state_dir(home.with_variables(CWNOTIFY_STATE_DIR="/y", XDG_STATE_HOME="/x")) == Path("/y")
    assert get_state_dir({"CWNOTIFY_STATE_DIR": "~/y"}) == Path.home() / "y"
    assert get_state_dir({"CWNOTIFY_STATE_DIR": "y"}) == Path.cwd() / "y"
    assert get_user_config_path(home.with_variables(XDG_CONFIG_HOME="/z")) == Path("/z/cwnotify/config.toml")
    # The XDG specification ignores relative paths.
    assert get_user_config_path(home.with_variables(XDG_CONFIG_HOME="z")) == tmp_path / ".config/cwnotify/config.toml"
    assert get_webhook_path(home.environ) == tmp_path / ".config/cwnotify/webhook"


# Invalid settings


def test_invalid_settings_are_reported_with_origin_and_the_rest_is_used(home: Home) -> None:
    home.write_config('lang = "fr"\nchannel = "#ml"\n')
    environ = home.with_variables(CWNOTIFY_MIN_DURATION="soon")

    settings, problems = load_settings(environ, {"mention": "minsu"})

    assert settings == Settings(channel="#ml")
    assert [problem.split(":")[0] for problem in problems] == [
        f"lang in {get_user_config_path(home.environ)}",
        "%config CWNotify.mention",
        "CWNOTIFY_MIN_DURATION",
    ]
    problems = r"lang cannot be 'fr'; choose from en, ko; CWNOTIFY_MIN_DURATION: 'soon' is not a dur"
    with pytest.raises(SettingsError, match=problems):
        load_settings_or_raise(environ)


def test_misspelled_key_is_reported_and_other_keys_are_used(home: Home) -> None:
    home.write_config('lang = "ko"\nchanel = "#ml"\n')

    settings, (problem,) = load_settings(home.environ)

    assert settings.lang == "ko"
    assert problem == f"{get_user_config_path(home.environ)}: chanel is not a setting; did you mean channel?"


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("frobnicate = 1", "settings are alarms, channel, "),
        (f'webhook = "{URL}"', "to store a webhook, run: cwnotify login"),
        (f'webhook_url = "{URL}"', "to store a webhook, run: cwnotify login"),
    ],
)
def test_unknown_key_is_reported_with_a_hint(home: Home, line: str, hint: str) -> None:
    home.write_config(line)

    (problem,) = load_settings(home.environ)[1]

    assert hint in problem
    assert "canary" not in problem


@pytest.mark.parametrize("text", ["lang = ", "= 1", "lang = 'ko'\nlang = 'en'", b"\xff"])
def test_invalid_toml_is_reported(home: Home, text: str | bytes) -> None:
    home.write_config(text)

    settings, (problem,) = load_settings(home.environ)

    assert settings == Settings()
    assert f"{get_user_config_path(home.environ)} is not valid TOML" in problem


def test_unreadable_file_is_reported(home: Home) -> None:
    home.write_config("").unlink()
    get_user_config_path(home.environ).mkdir()

    (problem,) = load_settings(home.environ)[1]

    assert "cannot be read: Is a directory" in problem


def test_pipe_is_reported_without_blocking(home: Home) -> None:
    home.write_config("").unlink()
    for path in (get_user_config_path(home.environ), get_webhook_path(home.environ)):
        os.mkfifo(path, 0o600)

    reasons = dict(problem.split(" cannot be read", 1) for problem in load_settings(home.environ)[1])

    assert "it is a pipe" in reasons[str(get_user_config_path(home.environ))]
    assert "store the webhook again" in reasons[str(get_webhook_path(home.environ))]


# The webhook


@pytest.mark.parametrize(
    "url",
    [
        URL,
        f"  {URL}\n",
        "https://hooks.slack-gov.com/services/T0/B0/canary",
        "HTTPS://HOOKS.SLACK.COM/x",
        "http://127.0.0.1:8080/hook",
        "http://localhost/hook",
        "http://[::1]:9/hook",
        "ssm:/cwnotify/webhook",
        "secretsmanager:cwnotify",
    ],
)
def test_webhook_accepts_https_loopback_and_references(url: str) -> None:
    assert parse_webhook(url, "here").reveal() == url.strip()


BAD_URLS = [
    "http://hooks.slack.com/services/canary",
    "http://127.0.0.1.evil.test/canary",
    "http://localhost@evil.test/canary",
    "hooks.slack.com/services/canary",
    "https://",
    "https:///canary",
    "ftp://x/canary",
    "file:///canary",
    "https://x:99999/canary",
    "https://[::1/canary",
    "https://hooks.slack.com/ canary",
    "https://hooks.slack.com/\tcanary",
    "https://hooks.slack.com/canary\u200b",
    "https://hooks.slack.com/canary\udc80",
    "https://hooks.slack.com/canary\x7f",
    "canary",
]


@pytest.mark.parametrize("url", BAD_URLS, ids=ascii)
def test_invalid_webhook_is_rejected_without_showing_it(url: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_webhook(url, "CWNOTIFY_WEBHOOK_URL")

    assert "CWNOTIFY_WEBHOOK_URL" in str(caught.value)
    assert "canary" not in repr(caught.value)
    assert caught.value.__cause__ is None


@given(st.text(st.characters(exclude_categories=())))
def test_any_text_is_a_webhook_or_rejected(text: str) -> None:
    try:
        secret = parse_webhook(text, "here")
    except SettingsError:
        return
    assert secret.reveal().isascii()


@pytest.mark.parametrize("reference", ["ssm:/cwnotify/webhook", "secretsmanager:cwnotify"])
def test_config_file_may_hold_webhook_reference(home: Home, reference: str) -> None:
    environ = home.with_team(f'webhook = "{reference}"')

    assert load_settings_or_raise(environ).webhook == Secret(reference)
    home.write_webhook(URL)
    assert load_settings_or_raise(environ).webhook == Secret(URL)


def test_invalid_webhook_keeps_other_settings(home: Home) -> None:
    settings, (problem,) = load_settings(
        home.with_variables(CWNOTIFY_WEBHOOK_URL="http://x/canary", CWNOTIFY_LANG="ko")
    )

    assert settings == Settings(lang="ko")
    assert "canary" not in problem


def test_stored_webhook_is_private_and_read_again(home: Home) -> None:
    old = os.umask(0)
    try:
        path = store_webhook(Secret(URL), home.environ)
    finally:
        os.umask(old)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert load_settings_or_raise(home.environ).webhook == Secret(URL)
    store_webhook(Secret(URL + "2"), home.environ)
    assert load_settings_or_raise(home.environ).webhook == Secret(URL + "2")
    assert [file.name for file in path.parent.iterdir()] == ["webhook"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can create a link of another user")
@pytest.mark.parametrize("planted", ["link", "folder"])
def test_store_webhook_rejects_folder_planted_by_another_user(home: Home, planted: str) -> None:
    folder, elsewhere = get_user_config_path(home.environ).parent, home.path / "elsewhere"
    elsewhere.mkdir()
    folder.parent.mkdir(parents=True, exist_ok=True)
    if planted == "link":
        folder.symlink_to(elsewhere)
    else:
        folder.mkdir()
    os.chown(folder, 65534, -1, follow_symlinks=False)

    with pytest.raises(SettingsError, match=r"webhook cannot be written: .*another user.*; set CWNOTIFY_WEBHOOK_URL"):
        store_webhook(Secret(URL), home.environ)

    assert not list(elsewhere.iterdir())
    assert not list(folder.iterdir())


def test_store_webhook_closes_folder_to_other_writers(home: Home) -> None:
    folder = get_user_config_path(home.environ).parent
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o777)

    store_webhook(Secret(URL), home.environ)

    assert stat.S_IMODE(folder.stat().st_mode) == 0o755


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_webhook_file_readable_by_others_is_not_used(home: Home, mode: int) -> None:
    path = home.write_webhook(URL, mode)

    settings, (problem,) = load_settings(home.environ)

    assert settings.webhook is None
    assert problem == f"{path} can be read by others; close it with: chmod 600 {path}"


@pytest.mark.parametrize("content", [b"\xff\xfe", b"http://x/canary", b"https://x/ canary"])
def test_invalid_stored_webhook_is_reported(home: Home, content: bytes) -> None:
    path = home.write_webhook(content)

    settings, (problem,) = load_settings(home.environ)

    assert settings.webhook is None
    assert str(path) in problem
    assert "canary" not in problem


def test_empty_webhook_file_means_no_webhook(home: Home) -> None:
    home.write_webhook("\n")

    assert load_settings(home.environ) == (Settings(), ())


def test_failed_store_is_reported_without_the_webhook(home: Home) -> None:
    (home.path / ".config").write_text("in the way")

    with pytest.raises(SettingsError, match="cannot be written") as caught:
        store_webhook(Secret(URL), home.environ)

    assert str(get_webhook_path(home.environ)) in str(caught.value)
    assert "canary" not in repr(caught.value)


# Files that another user can write


def write_team_file(home: Home) -> tuple[Path, dict[str, str]]:
    """Write the team's file in a folder of its own, and return its path and the environment that selects it."""
    path = home.path / "team" / "config.toml"
    path.parent.mkdir()
    path.write_text('lang = "ko"\nwebhook = "ssm:/theirs"\n')
    return path, home.with_variables(CWNOTIFY_TEAM_CONFIG=str(path))


@pytest.mark.parametrize("mode", [0o666, 0o646, 0o662])
def test_team_file_writable_by_others_is_not_used(home: Home, mode: int) -> None:
    path, environ = write_team_file(home)
    path.chmod(mode)
    if not mode & 0o002:
        os.chown(path, -1, 12345)

    assert load_settings(environ) == (
        Settings(),
        (f"{path} is not used: other users can write {path}; close it with: chmod go-w {path}",),
    )


@pytest.mark.parametrize(("mode", "group"), [(0o777, 0), (0o757, 0), (0o775, 12345)])
def test_team_file_in_folder_writable_by_others_is_not_used(home: Home, mode: int, group: int) -> None:
    path, environ = write_team_file(home)
    os.chown(path.parent, -1, group)
    path.parent.chmod(mode)

    settings, (problem,) = load_settings(environ)

    assert settings == Settings()
    assert (
        problem == f"{path} is not used: other users can write {path.parent}; close it with: chmod go-w {path.parent}"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("which", ["file", "folder"])
def test_team_file_of_another_user_is_not_used(home: Home, which: str) -> None:
    path, environ = write_team_file(home)
    target = path if which == "file" else path.parent
    os.chown(target, 12345, -1)

    settings, (problem,) = load_settings(environ)

    assert settings == Settings()
    assert f"{target} belongs to another user; make it yours with: sudo chown 0 {target}" in problem


def test_team_file_below_world_writable_folder_is_not_used(home: Home) -> None:
    path, environ = write_team_file(home)
    home.path.chmod(0o777)
    assert f"all users can write {home.path}; close it with: chmod o-w {home.path}" in load_settings(environ)[1][0]

    # Like /tmp: other users can add files, but not rename ours.
    home.path.chmod(0o1777)
    assert load_settings(environ)[0].lang == "ko"
    assert path.exists()


def test_symbolic_link_is_trusted_only_if_every_folder_on_its_way_is(home: Home) -> None:
    path, _ = write_team_file(home)
    middle, link = home.path / "middle", home.path / "links" / "team.toml"
    middle.mkdir()
    link.parent.mkdir()
    (middle / "hop").symlink_to(path)
    link.symlink_to(middle / "hop")
    environ = home.with_variables(CWNOTIFY_TEAM_CONFIG=str(link))

    assert load_settings(environ)[0].lang == "ko"
    for folder in (link.parent, middle, path.parent):
        folder.chmod(0o777)
        assert f"other users can write {folder}" in load_settings(environ)[1][0]
        folder.chmod(0o755)
    assert load_settings(environ)[1] == ()


def test_fixed_folder_mode_takes_effect_at_once(own_home: Home) -> None:
    path = own_home.write_webhook(URL)
    (own_home.path / ".config").chmod(0o777)
    assert load_settings()[0].webhook is None

    (own_home.path / ".config").chmod(0o755)

    assert load_settings() == (Settings(webhook=Secret(URL)), ())
    assert path.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_owner_of_home_is_trusted(home: Home) -> None:
    home.write_config('lang = "ko"')
    home.write_webhook(URL)
    for path in (home.path, *home.path.rglob("*")):
        os.chown(path, 12345, -1)

    assert load_settings_or_raise(home.environ) == Settings(lang="ko", webhook=Secret(URL))


def test_stored_webhook_in_folder_writable_by_others_is_not_used(home: Home) -> None:
    path = home.write_webhook(URL)
    path.parent.chmod(0o777)

    settings, (problem,) = load_settings(home.environ)

    assert settings.webhook is None
    assert (
        problem == f"{path} is not used: other users can write {path.parent}; close it with: chmod go-w {path.parent}"
    )
    assert "canary" not in problem


# Secrets


def test_secret_is_masked_in_texts() -> None:
    secret = Secret(URL)
    texts = [
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret!r:>80}",
        "%s %r" % (secret, secret),  # noqa: UP031 (this form is tested too)
        repr(Settings(webhook=secret)),
        repr({"webhook": [secret]}),
        str(ValueError(secret)),
    ]

    assert "canary" not in "".join(texts)
    assert secret.reveal() == URL


SERIALIZERS: list[Callable[[Any], object]] = [json.dumps, pickle.dumps, copy.deepcopy, vars, iter, bytes, len]


@pytest.mark.parametrize("serialize", SERIALIZERS, ids=lambda function: function.__name__)
def test_secret_cannot_be_serialized_or_iterated(serialize: Callable[[Any], object]) -> None:
    with pytest.raises(TypeError) as caught:
        serialize(Secret(URL))

    assert "canary" not in repr(caught.value)


def test_secrets_compare_by_value() -> None:
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2


@pytest.fixture
def own_home(home: Home, monkeypatch: pytest.MonkeyPatch) -> Home:
    """Make `home` this process's home and remove all other sources of settings."""
    for name in [name for name in os.environ if name.startswith(("CWNOTIFY_", "SLACK_", "XDG_", "JUPYTER_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home.path))
    return home


def test_settings_are_cached_while_nothing_changes(own_home: Home) -> None:
    own_home.write_config('lang = "ko"')

    first, again = load_settings()[0], load_settings()[0]

    assert again is first
    assert first.lang == "ko"


@pytest.mark.parametrize("lang", ["en", "ko"])
def test_changed_variable_takes_effect_at_once(own_home: Home, monkeypatch: pytest.MonkeyPatch, lang: str) -> None:
    own_home.write_config('lang = "ko"')
    load_settings()
    monkeypatch.setenv("CWNOTIFY_LANG", lang)

    assert load_settings()[0].lang == lang
    assert load_settings(overrides={"lang": "en"})[0].lang == "en"


def test_created_changed_and_deleted_files_take_effect_soon(own_home: Home) -> None:
    assert load_settings()[0].lang == "en"

    path = own_home.write_config('lang = "ko"')
    until(lambda: load_settings()[0].lang == "ko", 5, "the new file")
    # Same length, shortly after the first write.
    path.write_text('lang = "en"')
    until(lambda: load_settings()[0].lang == "en", 5, "the changed file")
    own_home.write_webhook(URL)
    until(lambda: load_settings()[0].webhook == Secret(URL), 5, "the webhook")
    get_webhook_path().chmod(0o644)
    until(lambda: load_settings()[1], 5, "a report of the mode")
    get_webhook_path().unlink()
    until(lambda: load_settings()[0].webhook is None, 5, "the removal of the webhook")


def test_nested_get_does_not_return_the_value_of_an_earlier_key() -> None:
    cache: FileBackedCache[str] = FileBackedCache()
    cache.get("a", dict, lambda: "value of a")
    nested: list[str] = []

    def read() -> str:
        nested.append(cache.get("b", dict, lambda: "value of b"))
        return "value of b"

    cache.get("b", dict, read)

    assert nested == ["value of b"]
