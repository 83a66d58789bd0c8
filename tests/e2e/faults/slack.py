"""Slack rejects, hangs, drips, limits the rate or is down; its name or its certificate is invalid."""

from __future__ import annotations

import socket
import sqlite3
import ssl
import sys
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Self

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
    """Slack fails until an attempt has failed."""
    with open_scenario(name, folder) as scenario:
        scenario.slack.answer = answer
        scenario.run_cells()
        scenario.wait_for_failed_attempt()
        return _recover(scenario)


def _recover(scenario: FaultScenario) -> FaultResult:
    scenario.slack.answer = Answer()
    scenario.end_fault()
    return scenario.finish()


def wait_for_messages(scenario: FaultScenario, state: str, seconds: float) -> None:
    """Wait until every message but the first, which was delivered, has this state."""
    count = len(scenario.expectations.expected_words) - 1
    until(lambda: len(scenario.world.outbox_messages(state)) == count, seconds, f"{count} {state} messages")


def permanent_error(name: str, answer: Answer, folder: Path) -> FaultResult:
    """The alerts are dead with a reason until the user resends them."""
    with open_scenario(name, folder) as scenario:
        scenario.slack.answer = answer
        scenario.run_cells()
        wait_for_messages(scenario, "dead", 20)
        assert all(message.reason for message in scenario.world.outbox_messages("dead"))
        scenario.slack.answer = Answer()
        scenario.end_fault()
        scenario.world.execute("cwnotify", "outbox", "retry", "--all")
        return scenario.finish()


def rejected_blocks(folder: Path) -> FaultResult:
    """400 invalid_blocks."""
    with open_scenario("400 invalid_blocks", folder) as scenario:
        scenario.slack.next_answers += [Answer(400, "invalid_blocks")]
        scenario.run_cells()
        scenario.end_fault()
        return scenario.finish()


def refused_connections(folder: Path) -> FaultResult:
    """Slack refuses connections."""
    with open_scenario("Slack refuses connections", folder) as scenario:
        scenario.slack.refuse_connections()
        scenario.run_cells()
        scenario.wait_for_failed_attempt()
        scenario.slack.accept_connections()
        return _recover(scenario)


def outage_until_kernel_exit(folder: Path) -> FaultResult:
    """Slack is down until the kernel has ended."""
    with open_scenario("away until the kernel is gone", folder) as scenario:
        scenario.slack.refuse_connections()
        scenario.run_cells()
        scenario.wait_for_failed_attempt()
        scenario.kernel.kill()
        scenario.slack.accept_connections()
        return _recover(scenario)


class _TlsSlack(Slack):
    """The stand-in with TLS, as ``slack.test``."""

    def __init__(self, authority: trustme.CA) -> None:
        super().__init__()
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("slack.test", "localhost").configure_cert(self._context)

    def __enter__(self) -> Self:
        super().__enter__()
        return self

    def webhook_at(self, host: str) -> str:
        """Return the webhook with this host name."""
        return self.url.replace("http://127.0.0.1", f"https://{host}")

    def _serve(self, connection: socket.socket) -> None:
        try:
            connection = self._context.wrap_socket(connection, server_side=True)
        except OSError:
            # A client that does not trust the certificate closes the connection.
            connection.close()
            return
        super()._serve(connection)


def untrusted_certificate(folder: Path) -> FaultResult:
    """TLS fails until the certificate authority is trusted."""
    trusted, other, bundle = trustme.CA(), trustme.CA(), folder / "bundle.pem"
    other.cert_pem.write_to_path(bundle)
    with (
        _TlsSlack(trusted) as slack,
        open_scenario("TLS fails", folder, slack.webhook_at("localhost"), REQUESTS_CA_BUNDLE=str(bundle)) as scenario,
    ):
        scenario.slack = slack
        scenario.run_cells()
        scenario.wait_for_failed_attempt()
        trusted.cert_pem.write_to_path(bundle)
        return _recover(scenario)


def dns_failure(folder: Path) -> FaultResult:
    """Slack's name cannot be resolved at first. /etc/hosts changes in a mount namespace."""
    authority, bundle, hosts = trustme.CA(), folder / "bundle.pem", folder / "hosts"
    authority.cert_pem.write_to_path(bundle)
    hosts.write_text("127.0.0.1 localhost\n")
    python = folder / "python"
    inside = f"mount --bind {hosts} /etc/hosts && exec {sys.executable} "
    python.write_text(f'#!/bin/sh\nexec unshare -m sh -c \'{inside}"$@"\' sh "$@"\n')
    python.chmod(0o755)
    with (
        _TlsSlack(authority) as slack,
        open_scenario(
            "DNS fails", folder, slack.webhook_at("slack.test"), python, REQUESTS_CA_BUNDLE=str(bundle)
        ) as scenario,
    ):
        scenario.slack = slack
        scenario.run_cells()
        scenario.wait_for_failed_attempt()
        with hosts.open("a") as file:
            file.write("127.0.0.1 slack.test\n")
        return _recover(scenario)


def outage_over_a_day(folder: Path) -> FaultResult:
    """Slack is down for more than a day, until ``outbox retry``."""
    with open_scenario("away for more than a day, then outbox retry", folder) as scenario:
        scenario.slack.refuse_connections()
        scenario.run_cells()
        scenario.wait_for_failed_attempt()
        wait_for_messages(scenario, "pending", 10)
        kill_kernel_and_sidecar(scenario)
        age_outbox(scenario.world, 26 * 3600)
        with Kernel(scenario.world) as kernel:
            scenario.kernel = kernel
            kernel.run("%load_ext cwnotify")
            kernel.run("%%notify_on_finish --min 1h later\n1")
            wait_for_messages(scenario, "dead", 20)
            quiet_cell = "%%notify_on_finish --min 1h later\n1"
            until(lambda: "given up after 26 h" in kernel.run(quiet_cell).text, 10, "the warning")
            scenario.slack.accept_connections()
            scenario.end_fault()
            scenario.world.execute("cwnotify", "outbox", "retry", "--all")
            return scenario.finish()


def age_outbox(world: World, seconds: float) -> None:
    """Move every message in the outbox `seconds` into the past."""
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
