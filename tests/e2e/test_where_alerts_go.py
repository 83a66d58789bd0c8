"""A stranger's notebook: whatever its cells do, alerts go where the user said before the kernel began."""

from __future__ import annotations

from pathlib import Path

from cwnotify.settings import Secret, store_webhook
from tests.support.kernel import Kernel, World, alert
from tests.support.slack import Slack

# All the ways in which a cell can name another webhook: the variables, and another home with a file in it.
REDIRECT = """
import os, pathlib
os.environ["CWNOTIFY_WEBHOOK_URL"] = os.environ["SLACK_WEBHOOK_URL"] = {url!r}
os.environ["CWNOTIFY_CHANNEL"] = "#theirs"
folder = pathlib.Path("theirs/cwnotify")
folder.mkdir(parents=True)
(folder / "webhook").touch(0o600)
(folder / "webhook").write_text({url!r})
(folder / "config.toml").write_text('channel = "#theirs"')
os.environ["XDG_CONFIG_HOME"] = os.environ["HOME"] = str(folder.parent.absolute())
%config CWNotify.channel = "#theirs"
"""


def test_no_cell_leads_alerts_away_from_the_webhook_in_the_environment(tmp_path: Path):
    with Slack() as slack, Slack() as theirs, World(tmp_path, slack.url) as world, Kernel(world) as kernel:
        kernel.run("%load_ext cwnotify")
        kernel.run(REDIRECT.format(url=theirs.url))

        told = kernel.run("%%notify_on_finish mine\n1")
        tested = kernel.run("%cwnotify test")

        assert "channel" not in alert(slack, "mine")
        assert "a cell set another webhook; alerts still go to the one from CWNOTIFY_WEBHOOK_URL" in told.stderr
        assert "Slack said ok" in tested.stdout
        assert len(slack.delivered) == 2
        assert not theirs.received


def test_nor_from_the_one_that_login_stored(tmp_path: Path):
    with Slack() as slack, Slack() as theirs, World(tmp_path) as world, Kernel(world) as kernel:
        path = store_webhook(Secret(slack.url), world.environ)
        kernel.run("%load_ext cwnotify")
        kernel.run(REDIRECT.format(url=theirs.url))

        told = kernel.run("%%notify_on_finish mine\n1")

        alert(slack, "mine")
        assert f"alerts still go to the one from {path}" in told.stderr
        assert not theirs.received


def test_who_has_chosen_none_may_set_one_in_the_notebook(tmp_path: Path):
    with Slack() as slack, World(tmp_path) as world, Kernel(world) as kernel:
        kernel.run("%load_ext cwnotify")
        kernel.run(f"%env CWNOTIFY_WEBHOOK_URL={slack.url}")

        told = kernel.run("%%notify_on_finish mine\n1")

        alert(slack, "mine")
        assert not told.stderr


def test_the_users_own_words_are_said_as_they_are_when_a_run_begins(tmp_path: Path):
    with Slack() as slack, World(tmp_path, slack.url) as world, Kernel(world) as kernel:
        config = world.home / ".config" / "cwnotify" / "config.toml"
        config.parent.mkdir(parents=True)
        kernel.run("%load_ext cwnotify")
        kernel.run("%%notify_on_finish first\n1")
        assert "*first* finished in" in alert(slack, "first")["text"]
        config.write_text('[words.en]\n"run.finished" = ":tada: {name} is through"\n"run.failed" = "{nme}"\n')
        told = kernel.run("%%notify_on_finish second\n1")
        kernel.run("%%notify_on_finish third\n1 / 0")

        assert alert(slack, "second")["text"] == ":tada: *second* is through"
        assert "*third* failed after" in alert(slack, "third")["text"]
        assert (
            "[words.en] run.failed is not used: nothing is known of {nme} there; it takes {error}, {name}, {time}"
            in told.stderr
        )
