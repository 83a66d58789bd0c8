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

from tests.e2e.faults.bench import FaultResult, FaultRunner, FaultScenario, open_scenario
from tests.e2e.faults.processes import kill_kernel_and_sidecar
from tests.support.kernel import Kernel, World
from tests.support.slack import LOGIN_PAGE, REDIRECT, Answer, Slack
from tests.support.waiting import until

TRANSIENT_ANSWERS = {
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
PERMANENT_ANSWERS = {
    "403, then outbox retry": Answer(403, "action_prohibited"),
    "404, then outbox retry": Answer(404, "no_service"),
    "410, then outbox retry": Answer(410, "channel_is_archived"),
}


def transient_error(name: str, answer: Answer, folder: Path) -> FaultResult:
    """It lasts until an attempt has failed."""
    with open_scenario(name, folder) as one:
        one.slack.answer = answer
        one.run_cells()
        one.wait_for_failed_attempt()
        return _back(one)


def _back(one: FaultScenario) -> FaultResult:
    one.slack.answer = Answer()
    one.end_fault()
    return one.finish()


def permanent_error(name: str, answer: Answer, folder: Path) -> FaultResult:
    """The alerts are dead with a reason, until a person sends them again."""
    with open_scenario(name, folder) as one:
        one.slack.answer = answer
        one.run_cells()
        until(
            lambda: len(one.world.outbox_messages("dead")) == len(one.expectations.expected_words) - 1, 20, "giving up"
        )
        assert all(message.reason for message in one.world.outbox_messages("dead"))
        one.slack.answer = Answer()
        one.end_fault()
        one.world.execute("cwnotify", "outbox", "retry", "--all")
        return one.finish()


def rejected_blocks(folder: Path) -> FaultResult:
    """400 invalid_blocks."""
    with open_scenario("400 invalid_blocks", folder) as one:
        one.slack.next_answers += [Answer(400, "invalid_blocks")]
        one.run_cells()
        one.end_fault()
        return one.finish()


def refused_connections(folder: Path) -> FaultResult:
    """Slack refuses connections."""
    with open_scenario("Slack refuses connections", folder) as one:
        one.slack.refuse_connections()
        one.run_cells()
        one.wait_for_failed_attempt()
        one.slack.accept_connections()
        return _back(one)


def outage_until_kernel_exit(folder: Path) -> FaultResult:
    """Slack is away for the kernel's whole life, and comes back after it."""
    with open_scenario("away until the kernel is gone", folder) as one:
        one.slack.refuse_connections()
        one.run_cells()
        one.wait_for_failed_attempt()
        one.kernel.kill()
        one.slack.accept_connections()
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


def untrusted_certificate(folder: Path) -> FaultResult:
    """TLS fails, until the certificate's authority is trusted."""
    right, wrong, bundle = trustme.CA(), trustme.CA(), folder / "bundle.pem"
    wrong.cert_pem.write_to_path(bundle)
    with (
        _TlsSlack(right) as slack,
        open_scenario("TLS fails", folder, slack.at("localhost"), REQUESTS_CA_BUNDLE=str(bundle)) as one,
    ):
        one.slack = slack
        one.run_cells()
        one.wait_for_failed_attempt()
        right.cert_pem.write_to_path(bundle)
        return _back(one)


def dns_failure(folder: Path) -> FaultResult:
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
        open_scenario("DNS fails", folder, slack.at("slack.test"), python, REQUESTS_CA_BUNDLE=str(bundle)) as one,
    ):
        one.slack = slack
        one.run_cells()
        one.wait_for_failed_attempt()
        with hosts.open("a") as file:
            file.write("127.0.0.1 slack.test\n")
        return _back(one)


def outage_over_a_day(folder: Path) -> FaultResult:
    """Slack is away for longer than a day, then outbox retry."""
    with open_scenario("away for more than a day, then outbox retry", folder) as one:
        one.slack.refuse_connections()
        one.run_cells()
        one.wait_for_failed_attempt()
        until(
            lambda: len(one.world.outbox_messages("pending")) == len(one.expectations.expected_words) - 1,
            10,
            "all of them on disk",
        )
        kill_kernel_and_sidecar(one)
        age_outbox(one.world, 26 * 3600)
        with Kernel(one.world) as kernel:
            one.kernel = kernel
            kernel.run("%load_ext cwnotify")
            kernel.run("%%notify_on_finish --min 1h later\n1")
            until(
                lambda: len(one.world.outbox_messages("dead")) == len(one.expectations.expected_words) - 1,
                20,
                "giving up",
            )
            silent = "%%notify_on_finish --min 1h later\n1"
            until(lambda: "could not be delivered: given up after 26 h" in kernel.run(silent).text, 10, "a word of it")
            one.slack.accept_connections()
            one.end_fault()
            one.world.execute("cwnotify", "outbox", "retry", "--all")
            return one.finish()


def age_outbox(world: World, seconds: float) -> None:
    """Let all that is in the outbox have happened so many seconds earlier."""
    with closing(sqlite3.connect(world.state_dir / "outbox.sqlite3")) as db, db:
        db.execute(
            "UPDATE messages SET created = created - ?1, due = due - ?1, leased_until = max(leased_until - ?1, 0), "
            "attempts = attempts + 30",
            (seconds,),
        )


FAULTS: dict[str, FaultRunner] = {
    "Slack refuses connections": refused_connections,
    "away until the kernel is gone": outage_until_kernel_exit,
    "away for more than a day, then outbox retry": outage_over_a_day,
    **{name: partial(transient_error, name, answer) for name, answer in TRANSIENT_ANSWERS.items()},
    "400 invalid_blocks": rejected_blocks,
    **{name: partial(permanent_error, name, answer) for name, answer in PERMANENT_ANSWERS.items()},
    "TLS fails": untrusted_certificate,
    "DNS fails": dns_failure,
}
