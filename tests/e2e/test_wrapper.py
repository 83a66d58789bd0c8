"""``cwnotify run`` compared with ``env``: a command notices no difference, with and without a terminal."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pexpect
import pytest

from tests.support.kernel import ROOT, World, alert_outcome, alert_text, wait_for_alert
from tests.support.slack import Slack
from tests.support.waiting import until

RUN = [sys.executable, str(ROOT / "cwnotify" / "__main__.py"), "run"]
WRAPPERS = {"run": [*RUN, "--"], "run --tail": [*RUN, "--tail", "3", "--"]}


@pytest.fixture(scope="module")
def slack() -> Iterator[Slack]:
    with Slack() as slack:
        yield slack


@pytest.fixture(scope="module")
def world(slack: Slack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with World(tmp_path_factory.mktemp("world"), slack.url) as world:
        for name, text in {
            "noshebang": 'echo "$0" "$@"\n',
            "bin/searched": 'echo "$0" "$@"\n',
            "bad": "#!/no/such/program\n",
            "plain": "echo never\n",
            "denied/searched2": "echo never\n",
        }.items():
            path = world.home / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
            path.chmod(0o644 if name in ("plain", "denied/searched2") else 0o755)
        world.environ["PATH"] = f"{world.home}/denied:{world.home}/bin:{world.environ['PATH']}"
        yield world


# Shell scripts in which "$@" is the wrapper.
SIGNALS_OF_CHILD = "grep -E 'Sig(Blk|Ign)' /proc/self/status"
SCRIPTS = {
    "signals": f'"$@" {SIGNALS_OF_CHILD}',
    "ignored signals": f'trap "" HUP INT QUIT USR1; "$@" {SIGNALS_OF_CHILD}',
    "SIGPIPE ignored by a shell": f'trap "" PIPE; "$@" {SIGNALS_OF_CHILD}; :',
    "nohup": f'nohup "$@" {SIGNALS_OF_CHILD} 2>&1',
    "in the background": f'"$@" {SIGNALS_OF_CHILD} & wait $!',
    "in a session of its own": f'setsid -w "$@" {SIGNALS_OF_CHILD}',
    "SIGCHLD ignored": "env --ignore-signal=CHLD \"$@\" sh -c 'grep SigIgn /proc/$$/status; exit 7'",
    "a blocked signal": 'env --block-signal=USR1 "$@" grep SigBlk /proc/self/status',
    "descriptors": '"$@" ls /proc/self/fd | wc -l',
    "process substitution": '"$@" cat <(echo hello)',
    "a descriptor above 2": "\"$@\" sh -c 'echo x >&3' 3>three; cat three",
    "stdin": 'echo data | "$@" cat',
    "stdin closed": '"$@" ls -l /proc/self/fd/0 <&- 2>&1 | grep -c "No such"',
    "stdout closed": "\"$@\" sh -c 'ls /proc/$$/fd/1 >&2' >&- 2>err; grep -c 'No such' err",
    "stderr closed": '"$@" sh -c \'ls /proc/$$/fd/2 >out 2>&1; grep -c "No such" out\' 2>&-',
    "all closed": "\"$@\" sh -c 'ls /proc/$$/fd/[012]; exit 9' <&- >&- 2>&-",
    "environment": '"$@" env | grep -v ^_= | sort',
    "environment in the C locale": 'env -i CWNOTIFY_STATE_DIR="$CWNOTIFY_STATE_DIR" PATH="$PATH" '
    'CWNOTIFY_WEBHOOK_URL="$CWNOTIFY_WEBHOOK_URL" "$@" env | sort',
    "limits, umask, folder": "umask 027; ulimit -n 500; cd bin; \"$@\" sh -c 'ulimit -a; umask; pwd'",
    "process group": '"$@" sh -c \'ps -o pgid= -p $$ | tr -d " "\' | grep -cx $$',
    "a script without an interpreter's line": '"$@" ./noshebang a "b c"',
    "such a script on the PATH": '"$@" searched a',
    "an empty PATH entry": 'PATH=":/bin:/usr/bin" "$@" noshebang a',
    "a script whose interpreter is missing": '"$@" ./bad 2>/dev/null',
    "a folder": '"$@" ./bin 2>/dev/null',
    "a file that is no program": '"$@" ./plain 2>/dev/null',
    "no permission on the PATH": '"$@" searched2 2>/dev/null',
    "a file as a folder": '"$@" plain/x 2>/dev/null',
    "nothing of that name": '"$@" no-such-program 2>/dev/null',
    "an empty name": '"$@" "" 2>/dev/null',
    "exit code": "\"$@\" sh -c 'exit 255'",
    "SIGPIPE": '"$@" yes | head -1; echo "${PIPESTATUS[@]}"',
    "SIGPIPE, later": '"$@" sh -c \'echo a; sleep 0.2; echo b; echo never >&2\' | head -1; echo "${PIPESTATUS[@]}"',
    "a full disk": '"$@" seq 100000 2>&1 >/dev/full',
    "the order of both streams": '"$@" sh -c "for i in 1 2 3 4 5 6 7 8 9; do echo o$i; echo e$i >&2; done" 2>&1 | cat',
    "what a daemon prints later": "\"$@\" sh -c '(sleep 0.6; echo later) & echo first' | cat",
    "a daemon that never stops": '"$@" sh -c "yes & echo \\$!" | head -1000 | tail -1',
    "killed": "\"$@\" sh -c 'kill -9 $$'",
    "terminated": "\"$@\" sh -c 'kill -TERM $$' 2>/dev/null",
    "crashed": "\"$@\" sh -c 'kill -SEGV $$' 2>/dev/null",
    "an alarm clock of the caller's": 'python3 -c "import os, signal, sys; signal.alarm(1); os.execvp(sys.argv[1], '
    'sys.argv[1:])" "$@" sleep 10',
    "timeout": 'timeout 0.7 "$@" sleep 10',
    "make's job server": "printf 'a b: ; @:\\n' >inner; printf 'all:\\n\\t+@'\"$*\"' make -f inner a b\\n' >outer; "
    "make -j2 -f outer 2>&1 | grep -c 'jobserver unavailable'",
}


def run_script(world: World, script: str, wrapper: list[str]) -> tuple[str, int]:
    """Run a script in bash. Return its standard output and exit code."""
    result = world.execute("bash", "-c", script, "bash", *wrapper, stdin=subprocess.DEVNULL)
    return result.stdout, result.returncode


@pytest.mark.parametrize("script", SCRIPTS.values(), ids=SCRIPTS)
def test_command_sees_no_wrapper(script: str, world: World) -> None:
    bare = run_script(world, script, ["env"])

    for name, wrapper in WRAPPERS.items():
        assert run_script(world, script, wrapper) == bare, name


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&-", "<&- 2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("options", ["", "--tail 2"])
def test_run_with_closed_streams_is_reported(closed: str, options: str, world: World, slack: Slack) -> None:
    name = f"closed{closed}{options}".translate(str.maketrans("<>&- ", "iodxy"))
    assert run_script(world, f'"$@" {options} --name {name} -- sleep 0.1 {closed}', RUN)[1] == 0

    assert alert_outcome(wait_for_alert(slack, name, 30)) == "finished"


# The last lines


@pytest.mark.parametrize("target", ["> log", ">> log", "2>&1 | cat", "> /dev/null", "> log 2>&1"])
def test_tail_is_sent_wherever_output_goes(target: str, world: World, slack: Slack) -> None:
    (world.home / "log").write_text("old\n")
    name = f"lines{'-'.join(re.findall('[a-z]+|>+', target))}".replace(">", "to")
    run_script(
        world, f"\"$@\" --tail 2 --name {name} -- sh -c 'echo one; echo two >&2; sleep 0.1; echo three' {target}", RUN
    )

    text = alert_text(wait_for_alert(slack, name, 30))
    assert "three" in text
    # The order of lines that go to two targets is undefined.
    assert "2>&1" not in target or "one" not in text
    assert "old" not in text


def test_daemon_does_not_delay_alert(world: World, slack: Slack) -> None:
    began = time.monotonic()
    running = world.launch(*RUN, "--tail", "2", "--name", "daemon", "--", "sh", "-c", "sleep 20 & echo main")

    assert alert_outcome(wait_for_alert(slack, "daemon", 15)) == "finished"
    assert running.wait(10) == 0
    assert time.monotonic() - began < 15


# Signals

RECORDER = """
import os, signal, sys, time
names = "INT TERM HUP QUIT USR1 USR2 WINCH CONT ABRT ALRM TSTP PIPE".split()
for number in [*(signal.Signals["SIG" + name] for name in names), signal.SIGRTMIN + 3]:
    signal.signal(number, lambda number, frame: os.write(1, b"%d\\n" % number))
os.write(1, b"ready\\n")
while True:
    time.sleep(0.05)
"""
SENT = [
    *(
        signal.Signals[f"SIG{name}"]
        for name in ["INT", "TERM", "HUP", "QUIT", "USR1", "USR2", "WINCH", "CONT", "ABRT", "ALRM", "TSTP", "PIPE"]
    ),
    signal.SIGRTMIN + 3,
]


def signal_each_process(group: int, number: int) -> None:
    """Signal each process of the group, as service managers and batch systems do."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if os.getpgid(int(folder.name)) == group:
                os.kill(int(folder.name), number)
        except ProcessLookupError:
            continue


SIGNAL_TARGETS: dict[str, Callable[[int, int], None]] = {
    "to the wrapper alone": os.kill,
    "to the whole group": os.killpg,
    "to each process in turn": signal_each_process,
}


@pytest.mark.parametrize("target", SIGNAL_TARGETS)
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_signal_reaches_command_once(wrapper: str, target: str, world: World) -> None:
    running = world.launch(
        *WRAPPERS[wrapper], sys.executable, "-c", RECORDER, stdin=subprocess.DEVNULL, start_new_session=True
    )
    assert running.stdout
    assert running.stdout.readline() == "ready\n"
    for number in SENT:
        SIGNAL_TARGETS[target](running.pid, number)
        # Send them one by one, because pending signals arrive in any order.
        assert running.stdout.readline() == f"{int(number)}\n"
    os.killpg(running.pid, signal.SIGKILL)

    assert running.communicate(timeout=20)[0] == ""


def test_descriptors_before_command_are_kept(world: World) -> None:
    running = world.launch(*WRAPPERS["run"], "sleep", "30", stdin=subprocess.DEVNULL)
    until(lambda: _blocks_sigterm(running.pid), 20, "its start")
    running.send_signal(signal.SIGTERM)

    assert running.wait(20) == -signal.SIGTERM


def _blocks_sigterm(pid: int) -> bool:
    status = Path(f"/proc/{pid}/status").read_text()
    return bool(int(status.partition("SigBlk:")[2].split()[0], 16) >> (signal.SIGTERM - 1) & 1)


def test_self_stopped_command_is_waited_for(world: World, slack: Slack) -> None:
    code = "import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(1.5)"
    running = world.launch(*RUN, "--name", "paused", "--", sys.executable, "-c", code)
    assert running.stdout
    child = int(running.stdout.readline())
    os.kill(child, signal.SIGSTOP)
    until(lambda: _state(running.pid) == "T", 10, "our stopping")
    os.kill(child, signal.SIGCONT)

    assert running.wait(20) == 0
    assert alert_outcome(wait_for_alert(slack, "paused", 20)) == "finished"


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


# On a terminal

PROMPT = "prompt> "


class Terminal:
    """An interactive bash."""

    def __init__(self, world: World, wrapper: list[str]) -> None:
        environ = world.environ | {"PS1": PROMPT, "TERM": "dumb", "W": " ".join(wrapper)}
        self.bash = pexpect.spawn(
            "bash", ["--norc", "-i"], env=environ, cwd=str(world.home), encoding="utf-8", timeout=20, echo=False
        )
        self.bash.expect_exact(PROMPT)

    def send(self, line: str) -> None:
        self.bash.sendline(line)

    def press(self, key: str) -> None:
        self.bash.sendcontrol(key)

    def until_prompt(self) -> str:
        """Return the output up to the next prompt."""
        self.bash.expect_exact(PROMPT)
        return re.sub(r"\s+", " ", self.bash.before or "").strip()


@pytest.fixture(params=["env", *WRAPPERS])
def terminal(request: pytest.FixtureRequest, world: World) -> Iterator[Terminal]:
    terminal = Terminal(world, WRAPPERS.get(request.param, ["env"]))
    yield terminal
    terminal.bash.close(force=True)


@pytest.mark.parametrize("stdin", ["", "</dev/null"])
def test_keys_reach_command_once(stdin: str, terminal: Terminal, world: World) -> None:
    (world.home / "recorder.py").write_text(RECORDER)
    terminal.send(f"$W {sys.executable} recorder.py {stdin}")
    terminal.bash.expect_exact("ready")
    terminal.press("c")
    terminal.bash.expect_exact("2\r\n")
    terminal.bash.setwinsize(30, 90)
    terminal.bash.expect_exact(f"{int(signal.SIGWINCH)}\r\n")
    terminal.press("z")
    terminal.bash.expect_exact(f"{int(signal.SIGTSTP)}\r\n")
    terminal.press("\\")

    assert terminal.bash.expect_exact([f"{int(signal.SIGQUIT)}\r\n", PROMPT]) == 0
    assert terminal.bash.expect([r"\d", pexpect.TIMEOUT], timeout=0.5) == 1


def test_interrupt_ends_shell_loop(terminal: Terminal) -> None:
    terminal.send("for i in 1 2; do $W sh -c 'echo begun; exec sleep 20'; echo again; done")
    terminal.bash.expect_exact("begun")
    terminal.press("c")

    assert "again" not in terminal.until_prompt()


def test_job_can_be_stopped_and_continued(terminal: Terminal) -> None:
    # A single process, because a shell that is stopped during a fork may wait forever.
    terminal.send("$W sh -c 'echo begun; exec sleep 1'")
    terminal.bash.expect_exact("begun")
    terminal.press("z")
    assert "Stopped" in terminal.until_prompt()
    terminal.send("echo stopped $?; fg; echo left $?")
    terminal.bash.expect_exact("stopped 148")
    terminal.bash.expect_exact("left 0")


def test_command_that_stops_itself_stops_job(terminal: Terminal) -> None:
    terminal.send("$W sh -c 'kill -STOP $$; echo on'")
    assert "Stopped" in terminal.until_prompt()
    terminal.send("echo stopped $?; fg; echo left $?")
    terminal.bash.expect_exact("stopped 147")
    terminal.bash.expect_exact("on\r\n")
    terminal.bash.expect_exact("left 0")


@pytest.mark.parametrize(("prefix", "lives"), [("nohup ", True), ("", False)])
@pytest.mark.parametrize("wrapper", ["env", *WRAPPERS])
def test_only_nohup_keeps_command_after_hangup(wrapper: str, prefix: str, lives: bool, world: World) -> None:
    marker = world.home / f"marker-{wrapper}-{lives}"
    terminal = Terminal(world, WRAPPERS.get(wrapper, ["env"]))
    script = f"echo begun >{marker}; sleep 1.5; echo ended >>{marker}".replace(" --tail", "")
    marker = Path(str(marker).replace(" --tail", ""))
    marker.unlink(missing_ok=True)
    terminal.send(f"{prefix}$W sh -c '{script}' >/dev/null 2>&1 </dev/null & echo pid $!")
    terminal.bash.expect(r"pid (\d+)")
    assert terminal.bash.match
    pid = int(terminal.bash.match[1])
    until(lambda: marker.exists() and marker.read_text(), 20, "its beginning")
    terminal.bash.close(force=True)
    until(lambda: not Path(f"/proc/{pid}").exists(), 20, "its end")

    assert ("ended" in marker.read_text()) is lives
