"""Settings: where each comes from and which goes first; what cannot be used is told; the webhook is never shown."""

from __future__ import annotations

import copy
import json
import os
import pickle
import stat
import sys
from pathlib import Path

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
    """A home directory, and the environment that leads to it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.environ = {"HOME": str(path)}

    def with_variables(self, **variables: str) -> dict[str, str]:
        return {**self.environ, **variables}

    def write_config(self, text: str | bytes) -> Path:
        return self._write("config.toml", text)

    def with_team(self, text: str) -> dict[str, str]:
        """The environment in which `text` is the team's file."""
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


# Where they come from


def test_where_nothing_is_set_everything_is_at_its_default(home):
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


def test_the_file_sets_everything_but_the_webhook(home):
    home.write_config(ALL)

    assert load_settings_or_raise(home.environ) == Settings(
        None, "#ml", "ko", "i-1", "cpu-*", "<!here>", 300.0, "Asia/Seoul"
    )


def test_the_environment_goes_before_the_file_and_config_before_both(home):
    home.write_config(ALL)
    environ = home.with_variables(CWNOTIFY_CHANNEL="#env", CWNOTIFY_MIN_DURATION="1h", CWNOTIFY_MENTION="none")

    found, troubles = load_settings(environ, {"zone": "Asia/Tokyo", "lang": ""})

    assert (found.channel, found.lang, found.min_seconds, found.mention) == ("#env", "ko", 3600.0, "")
    assert found.zone == "Asia/Tokyo"
    assert not troubles


def test_a_notebooks_config_does_not_lead_alerts_elsewhere(home):
    assert load_settings(home.environ, {"channel": "#config"}) == (Settings(), ())


def test_the_users_file_goes_before_jupyters_and_that_before_the_teams(home, tmp_path):
    environ = home.with_team('lang = "ko"\nmention = "@here"\ntimezone = "Asia/Tokyo"\n')
    environ |= {"JUPYTER_CONFIG_DIR": str(tmp_path / "own"), "JUPYTER_CONFIG_PATH": f"{tmp_path}/a:{tmp_path}/b"}
    for folder, round in (("own", "3m"), ("b", "2m"), ("a", "1m")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "cwnotify.toml").write_text(f'round = "{round}"\nmention = "@channel"\nchanel = 1\n')
    home.write_config('mention = "U0123ABCD"\n')

    found, troubles = load_settings(environ)

    assert (found.mention, found.round_seconds, found.lang, found.zone) == ("<@U0123ABCD>", 60.0, "ko", "Asia/Tokyo")
    # A slip is told with the file that it stands in.
    assert [trouble.split(":")[0] for trouble in troubles] == [
        str(tmp_path / folder / "cwnotify.toml") for folder in ("a", "b", "own")
    ]


def test_without_a_variable_the_teams_file_lies_in_etc(home):
    assert list_config_paths(home.environ)[0] == str(get_user_config_path(home.environ))
    assert list_config_paths(home.environ)[-1] == "/etc/cwnotify/config.toml"
    assert f"{sys.prefix}/etc/jupyter/cwnotify.toml" in list_config_paths(home.environ)


def test_a_list_in_the_file_is_read_as_if_it_were_text(home):
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


def test_sentences_of_the_users_own_are_taken_where_they_can_be_said(home):
    environ = home.with_team('[words.en]\n"run.finished" = "the team\'s"\n"run.lost" = "{name}: {why}"\n')
    path = home.write_config(WORDS)

    found, troubles = load_settings(environ)

    assert set(found.words) == {
        ("en", "run.finished", ":tada: {name} is through"),
        ("en", "run.failed", "{name} broke: {error}"),
        ("en", "run.lost", "{name}: {why}"),
    }
    assert troubles == (
        f"{path}: [words.en] cell is not used: unknown placeholder {{m}}; use {{n}}",
        f"{path}: [words.fr] cell is not used: unknown language fr; choose from en, ko",
    )


@pytest.mark.parametrize("line", ["words = 3", "words.en = 3", 'words.en.run = "x"', "[[words]]\na = 1"])
def test_words_that_are_no_sentences_are_told(home, line):
    home.write_config(line)

    found, (trouble, *_) = load_settings(home.environ)

    assert found == Settings()
    assert str(get_user_config_path(home.environ)) in trouble


def test_a_number_in_the_file_is_read_as_if_it_were_text(home):
    home.write_config("min_duration = 90\n")

    assert load_settings_or_raise(home.environ).min_seconds == 90.0


@pytest.mark.parametrize("name", ["CWNOTIFY_WEBHOOK_URL", "SLACK_WEBHOOK_URL"])
def test_the_webhook_comes_from_either_variable(home, name):
    assert load_settings_or_raise(home.with_variables(**{name: f" {URL}\n"})).webhook == Secret(URL)


def test_the_webhook_of_ones_own_name_goes_first_then_the_others_then_the_one_that_is_kept(home):
    home.write_webhook(URL + "3\n")
    environ = home.with_variables(CWNOTIFY_WEBHOOK_URL=URL + "1", SLACK_WEBHOOK_URL=URL + "2")

    found = []
    for name in ("CWNOTIFY_WEBHOOK_URL", "SLACK_WEBHOOK_URL", "HOME"):
        found.append(load_settings_or_raise(environ).webhook.reveal()[-1])
        del environ[name]

    assert found == ["1", "2", "3"]


def test_other_places_can_be_chosen(home, tmp_path):
    assert get_state_dir(home.environ) == tmp_path / ".local/state/cwnotify"
    assert get_state_dir(home.with_variables(XDG_STATE_HOME="/x")) == Path("/x/cwnotify")
    assert get_state_dir(home.with_variables(CWNOTIFY_STATE_DIR="/y", XDG_STATE_HOME="/x")) == Path("/y")
    assert get_state_dir({"CWNOTIFY_STATE_DIR": "~/y"}) == Path.home() / "y"
    assert get_state_dir({"CWNOTIFY_STATE_DIR": "y"}) == Path.cwd() / "y"
    assert get_user_config_path(home.with_variables(XDG_CONFIG_HOME="/z")) == Path("/z/cwnotify/config.toml")
    # As the XDG specification has it, a relative path counts for nothing.
    assert get_user_config_path(home.with_variables(XDG_CONFIG_HOME="z")) == tmp_path / ".config/cwnotify/config.toml"
    assert get_webhook_path(home.environ) == tmp_path / ".config/cwnotify/webhook"


# What cannot be used


def test_what_cannot_be_used_is_told_with_its_place_and_the_rest_is_used(home):
    home.write_config('lang = "fr"\nchannel = "#ml"\n')
    environ = home.with_variables(CWNOTIFY_MIN_DURATION="soon")

    found, troubles = load_settings(environ, {"mention": "minsu"})

    assert found == Settings(channel="#ml")
    assert [trouble.split(":")[0] for trouble in troubles] == [
        f"lang in {get_user_config_path(home.environ)}",
        "%config CWNotify.mention",
        "CWNOTIFY_MIN_DURATION",
    ]
    problems = r"lang cannot be 'fr'; choose from en, ko; CWNOTIFY_MIN_DURATION: 'soon' is not a dur"
    with pytest.raises(SettingsError, match=problems):
        load_settings_or_raise(environ)


def test_a_slip_in_one_line_of_the_file_costs_that_line_alone(home):
    home.write_config('lang = "ko"\nchanel = "#ml"\n')

    found, (trouble,) = load_settings(home.environ)

    assert found.lang == "ko"
    assert trouble == f"{get_user_config_path(home.environ)}: chanel is not a setting; did you mean channel?"


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("frobnicate = 1", "known are alarms, channel, "),
        (f'webhook = "{URL}"', "a webhook is stored by: cwnotify login"),
        (f'webhook_url = "{URL}"', "a webhook is stored by: cwnotify login"),
    ],
)
def test_a_line_that_sets_nothing_is_told_with_what_to_do(home, line, hint):
    home.write_config(line)

    (trouble,) = load_settings(home.environ)[1]

    assert hint in trouble
    assert "canary" not in trouble


@pytest.mark.parametrize("text", ["lang = ", "= 1", "lang = 'ko'\nlang = 'en'", b"\xff"])
def test_a_file_that_is_no_toml_is_told(home, text):
    home.write_config(text)

    found, (trouble,) = load_settings(home.environ)

    assert found == Settings()
    assert f"{get_user_config_path(home.environ)} is not valid TOML" in trouble


def test_a_file_that_cannot_be_read_is_told(home):
    home.write_config("").unlink()
    get_user_config_path(home.environ).mkdir()

    (trouble,) = load_settings(home.environ)[1]

    assert "cannot be read: Is a directory" in trouble


def test_a_pipe_in_the_place_of_a_file_is_told_and_not_waited_for(home):
    home.write_config("").unlink()
    for path in (get_user_config_path(home.environ), get_webhook_path(home.environ)):
        os.mkfifo(path, 0o600)

    told = dict(trouble.split(" cannot be read", 1) for trouble in load_settings(home.environ)[1])

    assert "it is a pipe" in told[str(get_user_config_path(home.environ))]
    assert "store the webhook again" in told[str(get_webhook_path(home.environ))]


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
def test_a_webhook_is_https_or_on_this_machine_or_kept_elsewhere(url):
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
def test_any_other_webhook_is_refused_without_a_word_of_it(url):
    with pytest.raises(SettingsError) as caught:
        parse_webhook(url, "CWNOTIFY_WEBHOOK_URL")

    assert "CWNOTIFY_WEBHOOK_URL" in str(caught.value)
    assert "canary" not in repr(caught.value)
    assert caught.value.__cause__ is None


@given(st.text(st.characters(exclude_categories=())))
def test_any_text_is_a_webhook_or_refused(text):
    try:
        secret = parse_webhook(text, "here")
    except SettingsError:
        return
    assert secret.reveal().isascii()


@pytest.mark.parametrize("reference", ["ssm:/cwnotify/webhook", "secretsmanager:cwnotify"])
def test_a_file_may_say_where_in_aws_the_webhook_is_kept(home, reference):
    environ = home.with_team(f'webhook = "{reference}"')

    assert load_settings_or_raise(environ).webhook == Secret(reference)
    home.write_webhook(URL)
    assert load_settings_or_raise(environ).webhook == Secret(URL)


def test_a_bad_webhook_leaves_the_other_settings_alone(home):
    found, (trouble,) = load_settings(home.with_variables(CWNOTIFY_WEBHOOK_URL="http://x/canary", CWNOTIFY_LANG="ko"))

    assert found == Settings(lang="ko")
    assert "canary" not in trouble


def test_a_webhook_is_kept_for_its_owner_alone_and_found_again(home):
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


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a link of another user")
@pytest.mark.parametrize("planted", ["link", "folder"])
def test_a_webhook_is_not_written_where_another_user_leads_it(home, planted):
    folder, elsewhere = get_user_config_path(home.environ).parent, home.path / "elsewhere"
    elsewhere.mkdir()
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.symlink_to(elsewhere) if planted == "link" else folder.mkdir()
    os.chown(folder, 65534, -1, follow_symlinks=False)

    with pytest.raises(SettingsError, match=r"webhook cannot be written: .*another user.*; set CWNOTIFY_WEBHOOK_URL"):
        store_webhook(Secret(URL), home.environ)

    assert not list(elsewhere.iterdir())
    assert not list(folder.iterdir())


def test_a_folder_that_holds_a_webhook_is_closed_to_others_that_write(home):
    folder = get_user_config_path(home.environ).parent
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o777)

    store_webhook(Secret(URL), home.environ)

    assert stat.S_IMODE(folder.stat().st_mode) == 0o755


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_webhook_that_others_can_read_is_not_used(home, mode):
    path = home.write_webhook(URL, mode)

    found, (trouble,) = load_settings(home.environ)

    assert found.webhook is None
    assert trouble == f"{path} can be read by others; close it with: chmod 600 {path}"


@pytest.mark.parametrize("content", [b"\xff\xfe", b"http://x/canary", b"https://x/ canary"])
def test_a_kept_webhook_that_cannot_be_used_is_told(home, content):
    path = home.write_webhook(content)

    found, (trouble,) = load_settings(home.environ)

    assert found.webhook is None
    assert str(path) in trouble
    assert "canary" not in trouble


def test_an_empty_file_is_no_webhook(home):
    home.write_webhook("\n")

    assert load_settings(home.environ) == (Settings(), ())


def test_where_no_webhook_can_be_kept_it_is_told_without_it(home):
    (home.path / ".config").write_text("in the way")

    with pytest.raises(SettingsError, match="cannot be written") as caught:
        store_webhook(Secret(URL), home.environ)

    assert str(get_webhook_path(home.environ)) in str(caught.value)
    assert "canary" not in repr(caught.value)


# Files that another user can write


def as_team(home: Home) -> tuple[Path, dict[str, str]]:
    """A team's file in a folder of its own, and the environment that names it."""
    path = home.path / "team" / "config.toml"
    path.parent.mkdir()
    path.write_text('lang = "ko"\nwebhook = "ssm:/theirs"\n')
    return path, home.with_variables(CWNOTIFY_TEAM_CONFIG=str(path))


@pytest.mark.parametrize("mode", [0o666, 0o646, 0o662])
def test_a_team_file_that_others_can_write_is_not_used(home, mode):
    path, environ = as_team(home)
    path.chmod(mode)
    if not mode & 0o002:
        os.chown(path, -1, 12345)

    assert load_settings(environ) == (
        Settings(),
        (f"{path} is not used: other users can write {path}; close it with: chmod go-w {path}",),
    )


@pytest.mark.parametrize(("mode", "group"), [(0o777, 0), (0o757, 0), (0o775, 12345)])
def test_nor_one_whose_folder_others_can_write(home, mode, group):
    path, environ = as_team(home)
    os.chown(path.parent, -1, group)
    path.parent.chmod(mode)

    found, (trouble,) = load_settings(environ)

    assert found == Settings()
    assert (
        trouble == f"{path} is not used: other users can write {path.parent}; close it with: chmod go-w {path.parent}"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("which", ["file", "folder"])
def test_nor_one_of_another_user(home, which):
    path, environ = as_team(home)
    theirs = path if which == "file" else path.parent
    os.chown(theirs, 12345, -1)

    found, (trouble,) = load_settings(environ)

    assert found == Settings()
    assert f"{theirs} belongs to another user; make it yours with: sudo chown 0 {theirs}" in trouble


def test_nor_one_below_a_folder_that_is_open_to_all(home):
    path, environ = as_team(home)
    home.path.chmod(0o777)
    assert f"all users can write {home.path}; close it with: chmod o-w {home.path}" in load_settings(environ)[1][0]

    # As /tmp is: others can add files there, and not rename ours.
    home.path.chmod(0o1777)
    assert load_settings(environ)[0].lang == "ko"
    assert path.exists()


def test_a_link_is_as_safe_as_each_folder_on_its_way(home):
    path, _ = as_team(home)
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


def test_a_folder_that_is_closed_again_counts_with_the_next_cell(own):
    path = own.write_webhook(URL)
    (own.path / ".config").chmod(0o777)
    assert load_settings()[0].webhook is None

    (own.path / ".config").chmod(0o755)

    assert load_settings() == (Settings(webhook=Secret(URL)), ())
    assert path.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_in_a_container_the_owner_of_a_mounted_home_is_its_user(home):
    home.write_config('lang = "ko"')
    home.write_webhook(URL)
    for path in (home.path, *home.path.rglob("*")):
        os.chown(path, 12345, -1)

    assert load_settings_or_raise(home.environ) == Settings(lang="ko", webhook=Secret(URL))


def test_a_stored_webhook_in_a_folder_that_others_can_write_is_not_used(home):
    path = home.write_webhook(URL)
    path.parent.chmod(0o777)

    found, (trouble,) = load_settings(home.environ)

    assert found.webhook is None
    assert (
        trouble == f"{path} is not used: other users can write {path.parent}; close it with: chmod go-w {path.parent}"
    )
    assert "canary" not in trouble


# Secrets


def test_a_secret_shows_itself_only_to_who_asks_by_name():
    secret = Secret(URL)
    shown = [
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret!r:>80}",
        "%s %r" % (secret, secret),  # noqa: UP031 (also in this way)
        repr(Settings(webhook=secret)),
        repr({"webhook": [secret]}),
        str(ValueError(secret)),
    ]

    assert "canary" not in "".join(shown)
    assert secret.reveal() == URL


OTHER_WAYS = [json.dumps, pickle.dumps, copy.deepcopy, vars, iter, bytes, len]


@pytest.mark.parametrize("way", OTHER_WAYS, ids=lambda way: way.__name__)
def test_a_secret_goes_by_no_other_way(way):
    with pytest.raises(TypeError) as caught:
        way(Secret(URL))

    assert "canary" not in repr(caught.value)


def test_secrets_are_told_apart():
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2


@pytest.fixture
def own(home, monkeypatch) -> Home:
    """A home that is this process's own."""
    for name in [name for name in os.environ if name.startswith(("CWNOTIFY_", "SLACK_", "XDG_", "JUPYTER_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(home.path))
    return home


def test_what_is_read_is_kept_while_nothing_changes(own):
    own.write_config('lang = "ko"')

    first, again = load_settings()[0], load_settings()[0]

    assert again is first
    assert first.lang == "ko"


@pytest.mark.parametrize("lang", ["en", "ko"])
def test_a_variable_that_changes_counts_at_once(own, monkeypatch, lang):
    own.write_config('lang = "ko"')
    load_settings()
    monkeypatch.setenv("CWNOTIFY_LANG", lang)

    assert load_settings()[0].lang == lang
    assert load_settings(overrides={"lang": "en"})[0].lang == "en"


def test_a_file_that_comes_changes_or_goes_counts_soon(own):
    assert load_settings()[0].lang == "en"

    path = own.write_config('lang = "ko"')
    until(lambda: load_settings()[0].lang == "ko", 5, "the new file")
    # As long as the other, and soon after it.
    path.write_text('lang = "en"')
    until(lambda: load_settings()[0].lang == "en", 5, "the changed file")
    own.write_webhook(URL)
    until(lambda: load_settings()[0].webhook == Secret(URL), 5, "the webhook")
    get_webhook_path().chmod(0o644)
    until(lambda: load_settings()[1], 5, "a word on who can read it")
    get_webhook_path().unlink()
    until(lambda: load_settings()[0].webhook is None, 5, "its end")


def test_who_asks_while_another_reads_gets_no_answer_to_an_earlier_question():
    kept: FileBackedCache[str] = FileBackedCache()
    kept.get("a", dict, lambda: "of a")

    meanwhile = []
    kept.get("b", dict, lambda: meanwhile.append(kept.get("b", dict, lambda: "of b")) or "of b")

    assert meanwhile == ["of b"]
