"""An untrusted notebook: whatever its cells do, alerts go to the webhook the user set before the kernel started."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from types import TracebackType

import boto3
import pytest
from moto.server import ThreadedMotoServer

from cwnotify.settings import Secret, get_webhook_path, store_webhook
from tests.support.kernel import Kernel, World, wait_for_alert
from tests.support.slack import Slack
from tests.support.waiting import until


class Trap:
    """A server to which no cwnotify process may connect. It records what it receives."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.received: list[bytes] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            with connection:
                self.received.append(connection.recv(1 << 16))

    def __enter__(self) -> Trap:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()


# Every way for a cell to set another webhook: variables, and another home with a webhook file.
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


def test_cell_cannot_redirect_alerts_from_environment_webhook(tmp_path: Path) -> None:
    with Slack() as slack, Slack() as theirs, World(tmp_path, slack.url) as world, Kernel(world) as kernel:
        kernel.run("%load_ext cwnotify")
        kernel.run(REDIRECT.format(url=theirs.url))

        result = kernel.run("%%notify_on_finish mine\n1")
        tested = kernel.run("%cwnotify test")

        assert "channel" not in wait_for_alert(slack, "mine")
        assert "a cell set another webhook; alerts still go to the one from CWNOTIFY_WEBHOOK_URL" in result.stderr
        assert "Slack said ok" in tested.stdout
        assert len(slack.delivered) == 2
        assert not theirs.received


def test_cell_cannot_redirect_alerts_from_stored_webhook(tmp_path: Path) -> None:
    with Slack() as slack, Slack() as theirs, World(tmp_path) as world, Kernel(world) as kernel:
        path = store_webhook(Secret(slack.url), world.environ)
        kernel.run("%load_ext cwnotify")
        kernel.run(REDIRECT.format(url=theirs.url))

        result = kernel.run("%%notify_on_finish mine\n1")

        wait_for_alert(slack, "mine")
        assert f"alerts still go to the one from {path}" in result.stderr
        assert not theirs.received


def test_webhook_may_be_set_in_notebook_if_none_is_configured(tmp_path: Path) -> None:
    with Slack() as slack, World(tmp_path) as world, Kernel(world) as kernel:
        kernel.run("%load_ext cwnotify")
        kernel.run(f"%env CWNOTIFY_WEBHOOK_URL={slack.url}")

        result = kernel.run("%%notify_on_finish mine\n1")

        wait_for_alert(slack, "mine")
        assert not result.stderr


def test_custom_wording_is_used_as_of_run_start(tmp_path: Path) -> None:
    with Slack() as slack, World(tmp_path, slack.url) as world, Kernel(world) as kernel:
        config = world.home / ".config" / "cwnotify" / "config.toml"
        config.parent.mkdir(parents=True)
        kernel.run("%load_ext cwnotify")
        kernel.run("%%notify_on_finish first\n1")
        assert "*first* finished in" in wait_for_alert(slack, "first")["text"]
        config.write_text('[words.en]\n"run.finished" = ":tada: {name} is through"\n"run.failed" = "{nme}"\n')
        result = kernel.run("%%notify_on_finish second\n1")
        kernel.run("%%notify_on_finish third\n1 / 0")

        assert wait_for_alert(slack, "second")["text"] == ":tada: *second* is through"
        assert "*third* failed after" in wait_for_alert(slack, "third")["text"]
        assert (
            "[words.en] run.failed is not used: unknown placeholder {nme}; use {error}, {name}, {time}" in result.stderr
        )


# A cell that sets everything that could redirect a request or inject code or texts.
SETTINGS = r"""
import os, pathlib, sys
theirs = pathlib.Path("theirs").absolute()
(theirs / "cwnotify").mkdir(parents=True, exist_ok=True)
ran = theirs / "ran"
for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
    os.environ[name] = os.environ[name.lower()] = "TRAP"
for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "AWS_CA_BUNDLE"):
    os.environ[name] = str(theirs / "ca.pem")
for name in ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_SSM", "AWS_EC2_METADATA_SERVICE_ENDPOINT"):
    os.environ[name] = "TRAP"
(theirs / "aws").write_text(f"[default]\nendpoint_url = TRAP\ncredential_process = touch {ran}\n")
os.environ["AWS_CONFIG_FILE"] = os.environ["AWS_SHARED_CREDENTIALS_FILE"] = str(theirs / "aws")
words = '[words.en]\n"run.finished" = "<!channel> {name} <https://evil/|see>"\n'
(theirs / "cwnotify" / "config.toml").write_text(words)
os.environ["XDG_CONFIG_HOME"] = os.environ["HOME"] = os.environ["XDG_STATE_HOME"] = str(theirs)
os.environ["CWNOTIFY_STATE_DIR"] = str(theirs / "state")
os.environ["CWNOTIFY_TEAM_CONFIG"] = str(theirs / "cwnotify" / "config.toml")
for name in ("sitecustomize", "usercustomize", "requests", "json", "boto3"):
    (theirs / f"{name}.py").write_text(f"import pathlib; pathlib.Path({str(ran)!r}).touch()")
os.environ["PYTHONPATH"] = str(theirs)
os.environ["PYTHONSTARTUP"] = str(theirs / "requests.py")
os.environ["PYTHONHOME"] = os.environ["PYTHONUSERBASE"] = str(theirs)
os.environ["LD_LIBRARY_PATH"] = os.environ["PATH"] = str(theirs)
(theirs / "python").write_text(f"#!/bin/sh\ntouch {ran}\n")
(theirs / "python").chmod(0o755)
sys.executable = str(theirs / "python")
sys.prefix = sys.exec_prefix = str(theirs)
os.chdir(theirs / "cwnotify")
"""


def cell_settings(trap: Trap) -> str:
    return SETTINGS.replace("TRAP", trap.url)


def test_cell_settings_do_not_reach_sidecar_or_command(tmp_path: Path) -> None:
    with Slack() as slack, Trap() as trap, World(tmp_path, slack.url) as world, Kernel(world) as kernel:
        kernel.run("%load_ext cwnotify")
        assert not kernel.run(cell_settings(trap)).errors

        kernel.run("%%notify_on_finish mine\n1")
        tested = kernel.run("%cwnotify test")
        kernel.run("from cwnotify import notify\nwith notify('by hand'):\n    pass")

        assert wait_for_alert(slack, "mine")["text"].startswith(":white_check_mark: *mine* finished in")
        assert "*by hand* finished in" in wait_for_alert(slack, "by hand")["text"]
        assert "Slack said ok" in tested.stdout
        assert "AWS_CONFIG_FILE" in tested.stderr
        assert not trap.received
        assert not (world.home / "theirs" / "ran").exists()
        assert not (world.home / "theirs" / "state").exists()


def test_first_cell_settings_do_not_reach_sidecar(tmp_path: Path) -> None:
    with Slack() as slack, Trap() as trap, World(tmp_path) as world, Kernel(world) as kernel:
        store_webhook(Secret(slack.url), world.environ)
        kernel.run(cell_settings(trap))

        kernel.run("%load_ext cwnotify")
        kernel.run("%%notify_on_finish mine\n1")

        assert "*mine* finished in" in wait_for_alert(slack, "mine")["text"]
        assert not trap.received
        assert not (world.home / "theirs" / "ran").exists()


KEYS = {"AWS_DEFAULT_REGION": "ap-northeast-2", "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test"}


@pytest.mark.parametrize("panel_first", [False, True])
def test_stored_webhook_is_read_in_start_environment(panel_first: bool, tmp_path: Path) -> None:
    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    host, port = server.get_host_and_port()
    aws = {**KEYS, "AWS_ENDPOINT_URL": f"http://{host}:{port}", "AWS_EC2_METADATA_DISABLED": "true"}
    session = boto3.Session("test", "test", region_name=KEYS["AWS_DEFAULT_REGION"])
    store = session.client("ssm", endpoint_url=aws["AWS_ENDPOINT_URL"])
    try:
        with (
            Slack() as slack,
            Trap() as trap,
            World(tmp_path, "ssm:/team/slack", **aws) as world,
            Kernel(world) as kernel,
        ):
            store.put_parameter(Name="/team/slack", Value=slack.url, Type="SecureString", Overwrite=True)
            kernel.run("%load_ext cwnotify")
            kernel.run(cell_settings(trap))
            # Another region for the cells. Panels use it; the webhook lookup must not, because it would find nothing.
            kernel.run("os.environ['AWS_DEFAULT_REGION'] = 'eu-west-1'")
            if panel_first:
                kernel.run("import cwnotify\ncwnotify.panel()")

            kernel.run("%%notify_on_finish mine\n1")
            tested = kernel.run("%cwnotify test")

            assert "*mine* finished in" in wait_for_alert(slack, "mine", 40)["text"]
            assert "Slack said ok" in tested.stdout
            assert not trap.received
    finally:
        server.stop()


def test_kernel_keeps_webhook_when_file_is_overwritten(tmp_path: Path) -> None:
    with Slack() as slack, Slack() as theirs, World(tmp_path) as world, Kernel(world) as kernel:
        path = store_webhook(Secret(slack.url), world.environ)
        kernel.run("%load_ext cwnotify")
        kernel.run("%%notify_on_finish first\n1")
        for number, change in enumerate((f"write_text({theirs.url!r})", "chmod(0o644)", "unlink()")):
            kernel.run(f"import pathlib\npathlib.Path({str(path)!r}).{change}")
            result = kernel.run(f"%%notify_on_finish run {number}\n1")
            assert number or f"the webhook in {path} changed after this notebook's kernel had read it" in result.stderr
            wait_for_alert(slack, f"run {number}")

        assert not theirs.received
        assert not get_webhook_path(world.environ).exists()


def test_kernel_keeps_channel_when_file_changes(tmp_path: Path) -> None:
    with Slack() as slack, World(tmp_path, slack.url) as world, Kernel(world) as kernel:
        kernel.run("%load_ext cwnotify")
        kernel.run("%%notify_on_finish first\n1")
        config = world.home / ".config" / "cwnotify" / "config.toml"
        config.parent.mkdir(parents=True)
        config.write_text('channel = "#theirs"')

        result = kernel.run("%%notify_on_finish second\n1")

        assert "channel" not in wait_for_alert(slack, "second")
        assert f"the channel in {config} changed" in result.stderr


def test_cell_may_set_connection_before_webhook_is_configured(tmp_path: Path) -> None:
    with Slack() as slack, Trap() as proxy, World(tmp_path) as world, Kernel(world) as kernel:
        kernel.run("%load_ext cwnotify")
        kernel.run(f"%env CWNOTIFY_WEBHOOK_URL={slack.url}\n%env HTTP_PROXY={proxy.url}")

        kernel.run("%%notify_on_finish mine\n1")

        until(lambda: proxy.received, 20, "the request at the proxy")
