"""Programs without a notebook: `notify`, ``cwnotify run`` and the other commands, in real processes."""

from __future__ import annotations

import json
import signal
import stat
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.support.kernel import LONG_RUNNING_CODE, Kernel, World, alert_outcome, alert_text, wait_for_alert
from tests.support.slack import WEBHOOK_REMOVED, Answer, Slack
from tests.support.waiting import until


def delivered_texts(world: World, slack: Slack) -> list[str]:
    """Return the texts of all delivered messages, after every sidecar has exited."""
    world.wait_for_sidecars_to_exit()
    return [payload["text"] for payload in slack.payloads]


# notify


@dataclass(frozen=True)
class Program:
    """A Python program, its exit code and its outcome in the alert."""

    code: str
    exit_code: int = 0
    outcome: str = "finished"
    stdout: str = ""
    tracebacks: int = 0


PROGRAMS = {
    "context manager": Program("with notify('train'):\n    print('in it')", stdout="in it\n"),
    "async context manager": Program(
        "import asyncio\nasync def main():\n    async with notify('train'):\n        await asyncio.sleep(0)\n"
        "asyncio.run(main())"
    ),
    "decorator": Program(
        "@notify('train')\ndef f(a, *, b):\n    'doc'\n    return a + b\nprint(f(1, b=2), f.__name__, f.__doc__)",
        stdout="3 f doc\n",
    ),
    "bare decorator": Program("@notify\ndef train():\n    return 7\nprint(train())", stdout="7\n"),
    "async decorator": Program(
        "import asyncio\n@notify('train', min=0)\nasync def f():\n    await asyncio.sleep(0)\n    return 7\n"
        "print(asyncio.iscoroutinefunction(f), asyncio.run(f()))",
        stdout="True 7\n",
    ),
    "exception": Program("with notify('train'):\n    1 / 0", 1, "failed", tracebacks=1),
    "exception in an async function": Program(
        "import asyncio\n@notify('train')\nasync def f():\n    1 / 0\nasyncio.run(f())", 1, "failed", tracebacks=1
    ),
    "sys.exit(0)": Program("import sys\nwith notify('train'):\n    sys.exit(0)"),
    "sys.exit(3)": Program("import sys\nwith notify('train'):\n    sys.exit(3)", 3, "failed"),
    "interrupt": Program(
        "with notify('train'):\n    raise KeyboardInterrupt", -signal.SIGINT, "interrupted", tracebacks=1
    ),
    "os._exit": Program("import os\nwith notify('train'):\n    os._exit(5)", 5, "lost"),
    "SIGKILL": Program("import os\nwith notify('train'):\n    os.kill(os.getpid(), 9)", -signal.SIGKILL, "lost"),
    "a child that leaves the block too": Program(
        "import os\nwith notify('train'):\n    pid = os.fork()\nif pid:\n    print(os.waitpid(pid, 0)[1])", stdout="0\n"
    ),
    "a child that fails": Program(
        "import os\nwith notify('train'):\n    pid = os.fork()\n    if not pid:\n        1 / 0\n"
        "    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))",
        stdout="1\n",
        tracebacks=1,
    ),
    "a pool": Program(
        "import multiprocessing\nwith notify('train'), multiprocessing.get_context('fork').Pool(2) as pool:\n"
        "    print(pool.map(abs, [-1, -2]))",
        stdout="[1, 2]\n",
    ),
    "waiting for all children": Program(
        "import os\nwith notify('train'):\n    try:\n        os.wait()\n    except ChildProcessError as error:\n"
        "        print('none')",
        stdout="none\n",
    ),
}


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_notify_reports_outcome_once_and_changes_nothing(program: Program, world: World, slack: Slack) -> None:
    result = world.execute("python", "-c", f"from cwnotify import notify\n{program.code}")

    assert (result.returncode, result.stdout) == (program.exit_code, program.stdout)
    assert result.stderr.count("Traceback (most recent call last)") == program.tracebacks
    (text,) = delivered_texts(world, slack)
    assert "*train* " in text
    assert alert_outcome(slack.payloads[0]) == program.outcome


def test_notify_shows_values_and_error_place(world: World, slack: Slack) -> None:
    script = world.home / "train.py"
    script.write_text(
        "from cwnotify import notify\nloss = 0.25\n"
        "with notify(show=lambda: {'loss': loss, 'epoch': 3}, mention='@here', lang='en'):\n    [][loss > 0]\n"
    )
    world.execute("python", script)

    payload = wait_for_alert(slack, "train.py")
    assert payload["text"].endswith("`IndexError` <!here>")
    assert "train.py, line 4, in <module>\n    [][loss > 0]" in alert_text(payload)
    assert "0.25" in alert_text(payload)


def test_notify_respects_min_and_on(world: World, slack: Slack) -> None:
    world.execute(
        "python",
        "-c",
        "from cwnotify import notify\n"
        "with notify('short', min='1h'): pass\n"
        "with notify('fine', on='error'): pass\n"
        "with notify('kept', on='finish'): pass\n",
    )

    assert [text.split("*")[1] for text in delivered_texts(world, slack)] == ["kept"]


def test_notify_rejects_invalid_options_at_once(world: World, slack: Slack) -> None:
    result = world.execute("python", "-c", "from cwnotify import notify\nnotify(min='soon')\nprint('never')")

    assert (result.returncode, result.stdout) == (1, "")
    assert "UsageError: 'soon' is not a duration" in result.stderr


# A job of several processes

LAUNCHER = """
import os, subprocess, sys
_, script, rank, size = sys.argv
ranks = [
    subprocess.Popen([sys.executable, script], env={**os.environ, rank: str(number), size: "3"}) for number in range(3)
]
print(*[rank.wait() for rank in ranks])
"""
TORCH = ("RANK", "WORLD_SIZE")
SLURM = ("SLURM_PROCID", "SLURM_NTASKS")
MPI = ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE")


def launch(world: World, variables: tuple[str, str], code: str) -> str:
    """Run `code` on three ranks under one launcher. Return their exit codes."""
    script = world.home / "train.py"
    script.write_text(f"import os, time\nfrom cwnotify import notify\nrank = os.environ[{variables[0]!r}]\n{code}")
    launcher = world.home / "launcher.py"
    launcher.write_text(LAUNCHER)
    return world.execute("python", launcher, script, *variables).stdout.strip()


@pytest.mark.parametrize("variables", [TORCH, SLURM, MPI], ids=["torchrun", "SLURM", "MPI"])
def test_only_first_rank_sends_alert(variables: tuple[str, str], world: World, slack: Slack) -> None:
    assert launch(world, variables, "with notify('job'):\n    pass") == "0 0 0"
    assert len(delivered_texts(world, slack)) == 1
    assert alert_outcome(slack.payloads[0]) == "finished"


def test_failure_on_any_rank_is_reported_once(world: World, slack: Slack) -> None:
    # Rank 2 fails. Rank 0 notices, as in a collective operation, and fails too.
    code = (
        "with notify('job'):\n"
        "    if rank == '2':\n"
        "        open('failed', 'w').close()\n"
        "        raise ValueError('no memory left on device')\n"
        "    while not os.path.exists('failed'):\n"
        "        time.sleep(0.01)\n"
        "    if rank == '0':\n"
        "        raise RuntimeError('another rank is gone')\n"
    )

    assert launch(world, TORCH, code) == "1 0 1"
    assert len(delivered_texts(world, slack)) == 1
    assert alert_outcome(slack.payloads[0]) == "failed"


def test_failure_of_other_rank_names_rank(world: World, slack: Slack) -> None:
    code = "with notify('job'):\n    if rank == '2':\n        raise ValueError('bad batch')\n"

    assert launch(world, TORCH, code) == "0 0 1"
    assert sorted(map(alert_outcome, slack.wait_for(2))) == ["failed", "finished"]
    assert any("ValueError: [rank 2] bad batch" in alert_text(payload) for payload in slack.payloads)


def test_single_rank_is_not_distributed(world: World, slack: Slack) -> None:
    result = world.execute(
        "python",
        "-c",
        "from cwnotify import notify\nwith notify('alone'): pass",
        env={"SLURM_PROCID": "0", "SLURM_NTASKS": "1"},
    )

    assert result.returncode == 0
    assert alert_outcome(wait_for_alert(slack, "alone")) == "finished"


# cwnotify run

BYTES = "import sys\nsys.stdout.buffer.write(bytes(range(256)) * 300)\nsys.stderr.buffer.write(b'\\xff\\x00no end')"


def run(world: World, *arguments: str, **more: object) -> subprocess.CompletedProcess[str]:
    return world.execute("cwnotify", "run", *arguments, **more)


@pytest.mark.parametrize("code", [0, 1, 3, 42, 255])
def test_exit_code_is_passed_on(code: int, world: World, slack: Slack) -> None:
    result = run(world, "--name", "train", "--", "sh", "-c", f"exit {code}")

    assert (result.returncode, result.stdout, result.stderr) == (code, "", "")
    (text,) = delivered_texts(world, slack)
    assert alert_outcome(slack.payloads[0]) == ("failed" if code else "finished")
    assert (f"`exit code {code}`" in text) == (code != 0)


@pytest.mark.parametrize("options", [[], ["--tail", "1"]], ids=["plain", "with --tail"])
def test_output_is_unchanged_to_the_byte(options: list[str], world: World, slack: Slack) -> None:
    bare = world.execute("python", "-c", BYTES, text=False)
    result = run(world, *options, "--", "python3", "-c", BYTES, text=False)

    assert (result.stdout, result.stderr) == (bare.stdout, bare.stderr)
    assert len(result.stdout) == 256 * 300
    assert [alert_outcome(payload) for payload in slack.wait_for(1)] == ["finished"]


def test_command_reads_its_input(world: World) -> None:
    assert run(world, "--", "cat", input="a line\n").stdout == "a line\n"


def test_options_after_command_belong_to_command(world: World, slack: Slack) -> None:
    result = run(world, "--name", "echo", "echo", "--name", "x", "--tail", "3")

    assert result.stdout == "--name x --tail 3\n"
    assert alert_outcome(wait_for_alert(slack, "echo")) == "finished"


@pytest.mark.parametrize("wrong", [["--nonsense"], ["--min", "soon"], ["--on", "never"], ["--mim", "5m"]])
def test_invalid_option_starts_nothing(wrong: list[str], world: World, slack: Slack) -> None:
    result = run(world, *wrong, "--", "echo", "ran")

    assert (result.returncode, result.stdout) == (2, "")
    assert "Usage: " in result.stderr
    assert delivered_texts(world, slack) == []


@pytest.mark.parametrize(
    ("number", "why"), [(signal.SIGKILL, "was killed by SIGKILL"), (signal.SIGSEGV, "crashed with SIGSEGV")]
)
def test_signal_is_named(number: signal.Signals, why: str, world: World, slack: Slack) -> None:
    result = run(world, "--name", "train", "--", "sh", "-c", f"kill -{number.value} $$")

    assert result.returncode == -number
    (text,) = delivered_texts(world, slack)
    assert "*train* was lost after" in text
    assert why in text


@pytest.mark.parametrize(("program", "code"), [("./no-such-program", 127), ("./not-executable", 126)])
def test_missing_command_exits_as_in_shell(program: str, code: int, world: World, slack: Slack) -> None:
    (world.home / "not-executable").write_text("#!/bin/sh\n")
    result = run(world, "--name", "train", "--", program)

    assert result.returncode == code
    assert program in result.stderr
    assert [alert_outcome(payload) for payload in slack.wait_for(1)] == ["failed"]


def test_name_without_option_gets_hint(world: World, slack: Slack) -> None:
    result = run(world, "nightly", "--", "sh", "-c", "exit 0")

    assert result.returncode == 127
    assert "to name the run: cwnotify run --name nightly -- sh -c 'exit 0'" in result.stderr


def test_tail_of_command_is_sent(world: World, slack: Slack) -> None:
    run(world, "--name", "train", "--tail", "2", "--", "sh", "-c", "echo one; echo two; echo three; exit 1")

    assert "two\nthree" in alert_text(wait_for_alert(slack, "train"))
    assert "one\n" not in alert_text(wait_for_alert(slack, "train"))


TRAPS = "trap 'echo caught; exit 9' {0}; echo begun; while :; do sleep 0.05; done"


@pytest.mark.parametrize("name", ["TERM", "INT", "HUP", "USR1"])
def test_signals_are_forwarded_and_exit_status_counts(name: str, world: World, slack: Slack) -> None:
    running = world.launch(
        "cwnotify", "run", "--name", "train", "--", "sh", "-c", TRAPS.format(name), stdin=subprocess.DEVNULL
    )
    assert running.stdout
    assert running.stdout.readline() == "begun\n"
    running.send_signal(signal.Signals[f"SIG{name}"])
    out, _ = running.communicate(timeout=20)

    assert (running.returncode, out) == (9, "caught\n")
    assert [alert_outcome(payload) for payload in slack.wait_for(1)] == ["failed"]
    assert len(delivered_texts(world, slack)) == 1


def test_interrupted_program_is_interrupted(world: World, slack: Slack) -> None:
    running = world.launch(
        "cwnotify", "run", "--name", "train", "--", "python3", "-c", LONG_RUNNING_CODE, stdin=subprocess.DEVNULL
    )
    assert running.stdout
    assert running.stdout.readline() == "begun\n"
    running.send_signal(signal.SIGINT)
    running.communicate(timeout=20)

    assert running.returncode == -signal.SIGINT
    assert [alert_outcome(payload) for payload in slack.wait_for(1)] == ["interrupted"]


def test_killed_wrapper_reports_lost_run(world: World, slack: Slack) -> None:
    running = world.launch("cwnotify", "run", "--name", "train", "--", "sh", "-c", "echo begun; exec sleep 60")
    assert running.stdout
    assert running.stdout.readline() == "begun\n"
    running.kill()
    running.wait()

    assert alert_outcome(wait_for_alert(slack, "train")) == "lost"
    assert len(delivered_texts(world, slack)) == 1


def test_program_runs_without_webhook(tmp_path: Path) -> None:
    with World(tmp_path) as world:
        result = run(world, "--", "sh", "-c", "echo out; exit 4")

        assert (result.returncode, result.stdout) == (4, "out\n")
        assert "cwnotify login" in result.stderr


# From no webhook to a working one


class Session:
    """A world without a webhook in its environment, and the output of every command run in it."""

    def __init__(self, world: World, slack: Slack) -> None:
        self.world = world
        self.slack = slack
        self.output = ""

    def __call__(self, *arguments: str, typed: str = "") -> subprocess.CompletedProcess[str]:
        result = self.world.execute("cwnotify", *arguments, input=typed)
        self.output += result.stdout + result.stderr
        return result

    def files_with_secret(self) -> list[Path]:
        """Return every file of this world that contains the webhook's secret part."""
        secret = self.slack.canary.encode()
        files = [path for path in self.world.home.parent.rglob("*") if path.is_file()]
        return [path for path in files if secret in path.read_bytes()]


@pytest.fixture
def session(tmp_path: Path, slack: Slack) -> Iterator[Session]:
    with World(tmp_path) as world:
        yield Session(world, slack)


def test_secret_stays_in_its_file(session: Session, slack: Slack) -> None:
    # Without a webhook, a command says what to do next.
    failure = session("test")
    assert failure.returncode == 1
    assert "no Slack webhook is configured" in failure.stderr
    assert "cwnotify login" in failure.stderr

    # `login` tries the webhook before it stores it.
    login = session("login", "--stdin", typed=f"{slack.url}\n")
    webhook = session.world.home / ".config" / "cwnotify" / "webhook"
    assert login.returncode == 0
    assert slack.wait_for(1)[0]["text"].startswith(":wave: Hello, World!")
    assert webhook.read_text() == f"{slack.url}\n"
    assert stat.S_IMODE(webhook.stat().st_mode) == 0o600
    assert stat.S_IMODE(webhook.parent.stat().st_mode) == 0o700

    # A test, a run and a resent alert use it.
    assert session("test", "--lang", "ko").returncode == 0
    assert "안녕하세요" in slack.wait_for(2)[1]["text"]
    slack.next_answers += [WEBHOOK_REMOVED]
    assert session("run", "--name", "unheard", "--", "true").returncode == 0
    until(lambda: session.world.outbox_messages("dead"), 10, "giving up")
    (entry,) = json.loads(session("outbox", "list", "--json").stdout)
    assert (entry["state"], entry["for_this_webhook"]) == ("dead", True)
    assert session("outbox", "retry", "--all").returncode == 0
    assert alert_outcome(wait_for_alert(slack, "unheard")) == "finished"

    # The secret is in no other file and in no output.
    session.world.wait_for_sidecars_to_exit()
    assert slack.canary not in session.output
    assert session.files_with_secret() == [webhook]


def test_no_process_shows_secret_to_other_users(session: Session, slack: Slack) -> None:
    session("login", "--stdin", typed=slack.url)
    slack.answer = Answer(mode="hang")
    testing = session.world.launch("cwnotify", "test")
    running = session.world.launch("cwnotify", "run", "--", "sleep", "0.1")
    until(lambda: len(slack.received) == 3, 10, "two attempts that hang")

    pids = session.world.process_ids()
    arguments = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in pids]
    environments = [Path(f"/proc/{pid}/environ").read_bytes() for pid in pids]
    assert session.world.sidecar_ids()
    assert len(pids) >= 2
    assert not [text for text in arguments + environments if slack.canary.encode() in text]
    for process in (testing, running):
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "must begin with https://"),
        ("hooks.slack.com/services/T/B/{canary}", "must begin with https://"),
        ("http://hooks.slack.com/services/T/B/{canary}", "must begin with https://"),
        ("https://hooks.slack.com/services/T B/{canary}", "holds no spaces"),
        ("https://[hooks/services/T/B/{canary}", "is not a URL"),
        ("https://hooks.slack.com/workflows/T/A/1/{canary}", "is a Slack Workflow webhook"),
        ("SLACK_WEBHOOK_URL='https://hooks.slack-gov.com/triggers/T/1/{canary}'", "cwnotify manifest"),
    ],
)
def test_invalid_webhook_is_neither_stored_nor_repeated(url: str, why: str, session: Session, slack: Slack) -> None:
    result = session("login", "--stdin", typed=url.format(canary=slack.canary))

    assert result.returncode == 1
    assert why in result.stderr
    assert slack.canary not in session.output
    assert session.files_with_secret() == []


@pytest.mark.parametrize(
    "shape", ["'{url}'\n", "\ufeff<{url}>\r\n", "# ours\nexport HOOK={url}\n", '{{\n "a": "x",\n "b": "{url}"\n}}\n']
)
def test_quoted_webhook_is_accepted(session: Session, slack: Slack, shape: str) -> None:
    assert session("login", "--stdin", typed=shape.format(url=slack.url)).returncode == 0
    assert session("test").returncode == 0


def test_removed_webhook_is_not_stored_and_remedy_is_shown(session: Session, slack: Slack) -> None:
    slack.answer = WEBHOOK_REMOVED
    result = session("login", "--stdin", typed=slack.url)

    assert result.returncode == 1
    assert "404 no_service: this webhook was removed; make a new one at https://api.slack.com/apps" in result.stderr
    assert "Traceback" not in result.stderr
    assert session.files_with_secret() == []


def test_unreachable_slack_is_explained(session: Session, slack: Slack) -> None:
    slack.refuse_connections()
    result = session("login", "--stdin", typed=slack.url)

    assert result.returncode == 1
    assert "Slack could not be reached: the connection was refused" in result.stderr
    assert slack.canary not in session.output


def test_webhook_readable_by_others_is_not_used(session: Session, slack: Slack) -> None:
    session("login", "--stdin", typed=slack.url)
    webhook = session.world.home / ".config" / "cwnotify" / "webhook"
    webhook.chmod(0o644)
    result = session("test")

    assert result.returncode == 1
    assert f"chmod 600 {webhook}" in result.stderr
    assert len(slack.received) == 1


def test_manifest_creates_app_with_incoming_webhook(session: Session) -> None:
    result = session("manifest")
    manifest = json.loads(result.stdout)
    link = next(line.strip() for line in result.stderr.splitlines() if "https://" in line)

    assert manifest["oauth_config"]["scopes"]["bot"] == ["incoming-webhook"]
    query = parse_qs(urlsplit(link).query)
    assert query["new_app"] == ["1"]
    assert json.loads(query["manifest_json"][0]) == manifest


def test_notebook_login_hides_and_protects_secret(session: Session, slack: Slack) -> None:
    with Kernel(session.world) as kernel:
        kernel.run("%load_ext cwnotify")
        cell = kernel.submit_cell("%cwnotify login", input_text=slack.url)
        result = cell.result()
        kernel.run("%%notify_on_finish first\n1")
        history = kernel.run("In, Out, dir(), globals()")

        assert kernel.input_requests == [("Slack webhook URL (not shown): ", True)]
        assert "Slack said ok" in result.stdout
        assert alert_outcome(wait_for_alert(slack, "first")) == "finished"
        assert slack.canary not in str(result) + str(history)
    assert [path.name for path in session.files_with_secret()] == ["webhook"]
