"""Slack refuses, hangs, drips, lies, asks to wait, or is gone; its host has no name, or a certificate nobody trusts."""

from __future__ import annotations

import socket
import sqlite3
import ssl
import sys
from contextlib import closing
from functools import partial
from pathlib import Path

import trustme

from tests.e2e.faults.bench import Act, Found, Stage, stage
from tests.e2e.faults.processes import die_together
from tests.support.kernel import Kernel, World
from tests.support.slack import LOGIN_PAGE, REDIRECT, Answer, Slack
from tests.support.waiting import until

PASSING = {
    "Slack hangs": Answer(mode="hang"),
    "Slack accepts and does not read": Answer(mode="silent"),
    "Slack answers byte by byte": Answer(503, "slowly", mode="drip"),
    "200 with a login page": LOGIN_PAGE,
    "301 to elsewhere": REDIRECT,
    "429, Retry-After: 1": Answer(429, "rate_limited", {"Retry-After": "1"}),
    "429, Retry-After: 0.5": Answer(429, "rate_limited", {"Retry-After": "0.5"}),
    "429, Retry-After absurd": Answer(429, "rate_limited", {"Retry-After": "-1e99"}),
    "429 without Retry-After": Answer(429, "rate_limited"),
    "500": Answer(500, "rollup_error"),
    "503": Answer(503, ""),
    "reset before the body": Answer(mode="reset"),
    "the answer is cut off": Answer(mode="cut"),
}
FINAL = {
    "403, then outbox retry": Answer(403, "action_prohibited"),
    "404, then outbox retry": Answer(404, "no_service"),
    "410, then outbox retry": Answer(410, "channel_is_archived"),
}


def passing(name: str, answer: Answer, folder: Path) -> Found:
    """It lasts until an attempt has failed."""
    with stage(name, folder) as one:
        one.slack.answer = answer
        one.runs()
        one.tried()
        return _back(one)


def _back(one: Stage) -> Found:
    one.slack.answer = Answer()
    one.over()
    return one.settle()


def final(name: str, answer: Answer, folder: Path) -> Found:
    """The alerts are dead with a reason, until a person sends them again."""
    with stage(name, folder) as one:
        one.slack.answer = answer
        one.runs()
        until(lambda: len(one.world.messages("dead")) == len(one.count.truths) - 1, 20, "giving up")
        assert all(message.reason for message in one.world.messages("dead"))
        one.slack.answer = Answer()
        one.over()
        one.world.command("cwnotify", "outbox", "retry", "--all")
        return one.settle()


def unreadable(folder: Path) -> Found:
    """400 invalid_blocks."""
    with stage("400 invalid_blocks", folder) as one:
        one.slack.script += [Answer(400, "invalid_blocks")]
        one.runs()
        one.over()
        return one.settle()


def away(folder: Path) -> Found:
    """Slack refuses connections."""
    with stage("Slack refuses connections", folder) as one:
        one.slack.refuse()
        one.runs()
        one.tried()
        one.slack.accept()
        return _back(one)


def away_for_a_whole_life(folder: Path) -> Found:
    """Slack is away for the kernel's whole life, and comes back after it."""
    with stage("away until the kernel is gone", folder) as one:
        one.slack.refuse()
        one.runs()
        one.tried()
        one.kernel.kill()
        one.slack.accept()
        return _back(one)


class _TlsSlack(Slack):
    """The stand-in behind TLS, as ``slack.test``."""

    def __init__(self, authority: trustme.CA) -> None:
        super().__init__()
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("slack.test", "localhost").configure_cert(self._context)

    def at(self, host: str) -> str:
        """The webhook at this name for the host."""
        return self.url.replace("http://127.0.0.1", f"https://{host}")

    def _serve(self, connection: socket.socket) -> None:
        try:
            connection = self._context.wrap_socket(connection, server_side=True)
        except OSError:
            # Who does not trust us leaves in the middle of the greeting.
            connection.close()
            return
        super()._serve(connection)


def untrusted(folder: Path) -> Found:
    """TLS fails, until the certificate's authority is trusted."""
    right, wrong, bundle = trustme.CA(), trustme.CA(), folder / "bundle.pem"
    wrong.cert_pem.write_to_path(bundle)
    with (
        _TlsSlack(right) as slack,
        stage("TLS fails", folder, slack.at("localhost"), REQUESTS_CA_BUNDLE=str(bundle)) as one,
    ):
        one.slack = slack
        one.runs()
        one.tried()
        right.cert_pem.write_to_path(bundle)
        return _back(one)


def nameless(folder: Path) -> Found:
    """Slack's name cannot be resolved, until it can: in a file system of its own, whose /etc/hosts changes."""
    authority, bundle, hosts = trustme.CA(), folder / "bundle.pem", folder / "hosts"
    authority.cert_pem.write_to_path(bundle)
    hosts.write_text("127.0.0.1 localhost\n")
    python = folder / "python"
    inside = f"mount --bind {hosts} /etc/hosts && exec {sys.executable} "
    python.write_text(f'#!/bin/sh\nexec unshare -m sh -c \'{inside}"$@"\' sh "$@"\n')
    python.chmod(0o755)
    with (
        _TlsSlack(authority) as slack,
        stage("DNS fails", folder, slack.at("slack.test"), python, REQUESTS_CA_BUNDLE=str(bundle)) as one,
    ):
        one.slack = slack
        one.runs()
        one.tried()
        with hosts.open("a") as file:
            file.write("127.0.0.1 slack.test\n")
        return _back(one)


def too_long(folder: Path) -> Found:
    """Slack is away for longer than a day, then outbox retry."""
    with stage("away for more than a day, then outbox retry", folder) as one:
        one.slack.refuse()
        one.runs()
        one.tried()
        until(lambda: len(one.world.messages("pending")) == len(one.count.truths) - 1, 10, "all of them on disk")
        die_together(one)
        age(one.world, 26 * 3600)
        with Kernel(one.world) as kernel:
            one.kernel = kernel
            kernel.run("%load_ext cwnotify")
            kernel.run("%%notify_on_finish --min 1h later\n1")
            until(lambda: len(one.world.messages("dead")) == len(one.count.truths) - 1, 20, "giving up")
            silent = "%%notify_on_finish --min 1h later\n1"
            until(lambda: "could not be told: given up after 26 h" in kernel.run(silent).text, 10, "a word of it")
            one.slack.accept()
            one.over()
            one.world.command("cwnotify", "outbox", "retry", "--all")
            return one.settle()


def age(world: World, seconds: float) -> None:
    """Let all that is in the outbox have happened so many seconds earlier."""
    with closing(sqlite3.connect(world.state / "outbox.sqlite3")) as db, db:
        db.execute(
            "UPDATE messages SET created = created - ?1, due = due - ?1, leased_until = max(leased_until - ?1, 0), "
            "attempts = attempts + 30",
            (seconds,),
        )


FAULTS: dict[str, Act] = {
    "Slack refuses connections": away,
    "away until the kernel is gone": away_for_a_whole_life,
    "away for more than a day, then outbox retry": too_long,
    **{name: partial(passing, name, answer) for name, answer in PASSING.items()},
    "400 invalid_blocks": unreadable,
    **{name: partial(final, name, answer) for name, answer in FINAL.items()},
    "TLS fails": untrusted,
    "DNS fails": nameless,
}
