"""A real kernel, controlled as Jupyter does, in an isolated environment.

::

    with World(tmp_path, slack.url) as world, Kernel(world) as kernel:
        kernel.run("%load_ext cwnotify")
        cell = kernel.submit_cell(f"%%notify_on_finish x\\n{LONG_RUNNING_CODE}")
        cell.wait_for_output("begun")
        kernel.kill()
        assert cell.result().status == "dead"
"""

from __future__ import annotations

import html
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import zmq
from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import KernelManager

from cwnotify.store.outbox import Outbox
from cwnotify.store.schema import OpenRun, OutboxMessage
from tests.support.slack import Payload, Slack
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]
# Variables of the machine that must not reach a test.
_FOREIGN_VARIABLES = re.compile(
    r"PYTEST_|CWNOTIFY_|SLACK_|AWS_|JUPYTER|IPYTHON|JPY_|XDG_|PYTHON|SLURM_|OMPI_|PMI_|TORCHELASTIC|(LOCAL_)?RANK$|WORLD_SIZE$"
    r"|(HTTPS?|ALL|NO)_PROXY$",
    re.IGNORECASE,
)
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
# Runs for a minute, in short sleeps: Python handles an interrupt that arrives just before a sleep only after it.
ONE_MINUTE_SLEEP = "import time\nfor _ in range(1200):\n    time.sleep(0.05)"
LONG_RUNNING_CODE = f"print('begun', flush=True)\n{ONE_MINUTE_SLEEP}"


class World:
    """A home, a state directory and a webhook. On exit it kills every process started in it.

    Parameters
    ----------
    folder
        A folder of the test.
    webhook
        The value of ``CWNOTIFY_WEBHOOK_URL``, which is unset if this is empty.
    more
        Further environment variables.
    """

    def __init__(self, folder: Path, webhook: str = "", **more: str) -> None:
        self.home = folder / "home"
        self.state_dir = folder / "state"
        self.home.mkdir(parents=True, exist_ok=True)
        self.environ = {name: value for name, value in os.environ.items() if not _FOREIGN_VARIABLES.match(name)}
        self.environ |= {
            "HOME": str(self.home),
            "IPYTHONDIR": str(self.home / "ipython"),
            "JUPYTER_CONFIG_DIR": str(self.home / "jupyter"),
            "JUPYTER_DATA_DIR": str(self.home / "jupyter"),
            "JUPYTER_RUNTIME_DIR": str(self.home / "jupyter" / "runtime"),
            "JUPYTER_PLATFORM_DIRS": "1",
            "CWNOTIFY_STATE_DIR": str(self.state_dir),
            **({"CWNOTIFY_WEBHOOK_URL": webhook} if webhook else {}),
            **more,
        }

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        def kill_all() -> bool:
            pids = self.process_ids()
            for pid in pids:
                _kill(pid)
            return not pids

        until(kill_all, 10, f"the end of the processes {self.process_ids()}")

    def execute(self, *arguments: str | Path, **more: Any) -> subprocess.CompletedProcess[str]:
        """Run a program to its end. ``cwnotify`` and ``python`` are those of the tests."""
        return subprocess.run(
            _argv(arguments),
            env=self.environ | more.pop("env", {}),
            cwd=more.pop("cwd", self.home),
            capture_output=True,
            text=more.pop("text", True),
            timeout=more.pop("timeout", 60),
            check=False,
            **more,
        )

    def launch(self, *arguments: str | Path, **more: Any) -> subprocess.Popen[str]:
        """Start a program and return its process."""
        return subprocess.Popen(
            _argv(arguments),
            env=self.environ | more.pop("env", {}),
            cwd=self.home,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **more,
        )

    def process_ids(self, program: str = "") -> list[int]:
        """Return the live processes of this world whose command line contains `program`."""
        pids = []
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit() or int(folder.name) == os.getpid():
                continue
            try:
                is_ours = f"CWNOTIFY_STATE_DIR={self.state_dir}\0".encode() in (folder / "environ").read_bytes()
                if is_ours and program in (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode():
                    pids.append(int(folder.name))
            except OSError:
                # The process ended meanwhile.
                continue
        return pids

    def sidecar_ids(self) -> list[int]:
        """Return the pids of this world's sidecars, ascending.

        The shell that starts a sidecar has the same words in its command line, and is left out.
        """
        return sorted(pid for pid in self.process_ids("sidecar/__main__.py") if not _is_shell(pid))

    def outbox_messages(self, *states: str) -> list[OutboxMessage]:
        """Return the messages in the outbox."""
        with self._outbox() as outbox:
            return outbox.list_messages(*states) if outbox else []

    def open_runs(self) -> list[OpenRun]:
        """Return the open runs in the outbox."""
        with self._outbox() as outbox:
            return outbox.list_open_runs() if outbox else []

    def wait_for_sidecars_to_exit(self, seconds: float = 15.0) -> None:
        """Wait until every sidecar has delivered its alerts and exited."""
        # Includes the shell that is about to start one.
        until(lambda: not self.process_ids("sidecar/__main__.py"), seconds, "the exit of the sidecars")

    @contextmanager
    def _outbox(self) -> Iterator[Outbox | None]:
        path = self.state_dir / "outbox.sqlite3"
        if not path.exists():
            yield None
            return
        outbox = Outbox(path)
        try:
            yield outbox
        finally:
            outbox.close()


def _is_shell(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().startswith(b"/bin/sh\0")
    except OSError:
        return True


def _argv(arguments: Sequence[str | Path]) -> list[str]:
    program, *rest = map(str, arguments)
    # The path of the start file, because an installed script may be outdated.
    programs = {"python": [sys.executable], "cwnotify": [sys.executable, str(ROOT / "cwnotify" / "__main__.py")]}
    return [*programs.get(program, [program]), *rest]


def _kill(pid: int, number: int = signal.SIGKILL) -> None:
    try:
        os.kill(pid, number)
        os.waitpid(pid, os.WNOHANG)
    except (ProcessLookupError, ChildProcessError):
        pass


@dataclass(frozen=True)
class CellError:
    """A traceback as the front end shows it, without colors."""

    name: str
    message: str
    traceback: str


@dataclass(frozen=True)
class CellResult:
    """What a front end receives from a cell that ended.

    Parameters
    ----------
    status
        ``ok``, ``error``, ``aborted`` (the kernel did not run it), or ``dead`` (the kernel ended first).
    outputs
        As in a notebook's file, in order, with joined streams.
    pager_text
        What ``?`` shows in the pager.
    """

    status: str
    execution_count: int | None = None
    outputs: tuple[dict[str, Any], ...] = ()
    pager_text: str = ""

    def _streams(self, *names: str) -> str:
        return "".join(
            output["text"] for output in self.outputs if output["output_type"] == "stream" and output["name"] in names
        )

    @property
    def stdout(self) -> str:
        """The standard output."""
        return self._streams("stdout")

    @property
    def stderr(self) -> str:
        """The standard error."""
        return self._streams("stderr")

    @property
    def text(self) -> str:
        """Both streams."""
        return self._streams("stdout", "stderr")

    @property
    def values(self) -> list[str]:
        """The values displayed after ``Out[N]``."""
        return [_plain(output) for output in self.outputs if output["output_type"] == "execute_result"]

    @property
    def displays(self) -> list[str]:
        """The outputs of `display`."""
        return [_plain(output) for output in self.outputs if output["output_type"] == "display_data"]

    @property
    def errors(self) -> list[CellError]:
        """The tracebacks."""
        return [
            CellError(output["ename"], output["evalue"], _ANSI.sub("", "\n".join(output["traceback"])))
            for output in self.outputs
            if output["output_type"] == "error"
        ]

    @property
    def error(self) -> CellError:
        """The only traceback. An assertion fails if there are none or several."""
        errors = self.errors
        assert len(errors) == 1, f"{len(errors)} tracebacks"
        return errors[0]


def _plain(output: dict[str, Any]) -> str:
    return str(output["data"].get("text/plain", ""))


@dataclass
class Cell:
    """A cell that was sent to the kernel."""

    kernel: Kernel
    id: str
    messages: list[dict[str, Any]] = field(default_factory=list)

    def wait_for_output(self, text: str, seconds: float = 15.0) -> None:
        """Wait until the cell has printed `text`. An assertion fails if it ends first."""
        kernel = self.kernel
        kernel.receive_until(lambda: self._has(text) or self._ended or not kernel.is_alive(), seconds, f"{text!r}")
        if not self._has(text):
            kernel.receive_remaining()
        assert self._has(text), f"the cell ended without {text!r}: {kernel.replies.get(self.id)}"

    def _has(self, text: str) -> bool:
        return text in self._result("running").stdout

    def result(self, seconds: float = 30.0) -> CellResult:
        """Wait for the end of the cell, or of the kernel."""
        kernel = self.kernel
        kernel.receive_until(lambda: self._ended or not kernel.is_alive(), seconds, "the end of the cell")
        if not self._ended:
            kernel.receive_remaining()
        if self.id not in kernel.replies:
            return self._result("dead")
        reply = kernel.replies[self.id]
        pages = [page["data"]["text/plain"] for page in reply.get("payload", []) if page["source"] == "page"]
        return self._result(reply["status"], reply.get("execution_count"), _ANSI.sub("", "".join(pages)))

    @property
    def _ended(self) -> bool:
        reply = self.kernel.replies.get(self.id)
        # An aborted cell may have no busy and idle messages.
        return reply is not None and (reply["status"] == "aborted" or self.id in self.kernel.idle_cells)

    def _result(self, status: str, count: int | None = None, help: str = "") -> CellResult:
        outputs: list[dict[str, Any]] = []
        for kind, content in self.kernel.outputs[self.id]:
            output = {"output_type": kind, **content}
            last = outputs[-1] if outputs else {}
            if kind == "stream" and (last.get("output_type"), last.get("name")) == (kind, output["name"]):
                outputs[-1] = {**last, "text": last["text"] + output["text"]}
            else:
                outputs.append(output)
        return CellResult(status, count, tuple(outputs), help)


class _OwnKernelSpec(KernelSpecManager):
    """The ipykernel of the Python at `python`."""

    python = sys.executable

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        argv = [self.python, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=argv, display_name="test", language="python")


class Kernel:
    """A kernel; a context manager.

    Attributes
    ----------
    input_requests
        The prompts of cells, and whether the input is hidden.
    shutdown_timeout
        Seconds that `shut_down` waits before it kills the kernel.

    Parameters
    ----------
    world
        Its environment. The sidecar outlives the kernel and ends with the world.
    python
        The Python that runs the kernel; the one of the tests by default.
    """

    def __init__(self, world: World, python: str | Path = sys.executable) -> None:
        self.world = world
        self.input_requests: list[tuple[str, bool]] = []
        self.shutdown_timeout = 5.0
        self._typed = ""
        self.outputs: dict[str, list[tuple[str, dict[str, Any]]]] = defaultdict(list)
        self.replies: dict[str, dict[str, Any]] = {}
        self.idle_cells: set[str] = set()
        spec = _OwnKernelSpec()
        spec.python = str(python)
        self._manager = KernelManager(kernel_spec_manager=spec)
        # Named sockets, because two test processes may choose the same free port.
        self._sockets = tempfile.TemporaryDirectory(prefix="kernel-")
        self._manager.transport = "ipc"
        self._manager.ip = f"{self._sockets.name}/zmq"
        number = len(list(world.home.glob("kernel-*.json")))
        self._manager.connection_file = str(world.home / f"kernel-{os.getpid()}-{number}-{time.monotonic_ns()}.json")
        self._client: BlockingKernelClient | None = None

    def __enter__(self) -> Kernel:
        self._manager.start_kernel(env=self.world.environ, cwd=str(self.world.home))
        self._connect()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._disconnect()
        if self._manager.has_kernel:
            self._manager.shutdown_kernel(now=True)
        self._sockets.cleanup()

    @property
    def pid(self) -> int:
        """The kernel's process."""
        pid = getattr(self._manager.provisioner, "pid", None)
        assert isinstance(pid, int)
        return pid

    def run(self, code: str, seconds: float = 30.0) -> CellResult:
        """Run a cell to its end."""
        return self.submit_cell(code).result(seconds)

    def submit_cell(self, code: str, input_text: str | None = None) -> Cell:
        """Send a cell without waiting. Several cells wait in a queue, as with Run All.

        Parameters
        ----------
        input_text
            What the user types if the cell requests input. Without it, input is not allowed.
        """
        assert self._client
        self._typed = input_text or ""
        return Cell(self, self._client.execute(code, allow_stdin=input_text is not None, stop_on_error=True))

    def complete(self, line: str) -> list[str]:
        """Return the completions at the end of `line`."""
        assert self._client
        reply = self._client.complete(line, reply=True, timeout=30)
        return list(reply["content"]["matches"])

    def run_all(self, *cells: str) -> list[CellResult]:
        """Send all cells without waiting, as Run All does, and return their results."""
        return [cell.result() for cell in [self.submit_cell(code) for code in cells]]

    def interrupt(self) -> None:
        """Interrupt the kernel as the stop button does."""
        self._manager.interrupt_kernel()

    @contextmanager
    def debugger(self) -> Iterator[Callable[..., dict[str, Any]]]:
        """Provide a function that sends a debug adapter command and returns its reply."""
        client = self._client
        assert client

        def send(command: str, **arguments: Any) -> dict[str, Any]:
            request = {"type": "request", "seq": 1, "command": command, "arguments": arguments}
            client.control_channel.send(client.session.msg("debug_request", request))
            reply: dict[str, Any] = client.get_control_msg(timeout=20)["content"]
            return reply

        client.control_channel.start()
        yield send

    def kill(self, number: int = signal.SIGKILL) -> float:
        """Send a signal to the kernel only. Return when, in Unix seconds."""
        at = time.time()
        os.kill(self.pid, number)
        return at

    def shut_down(self) -> None:
        """Shut down as Jupyter does: interrupt, request the shutdown, kill after the timeout."""
        self._manager.shutdown_wait_time = self.shutdown_timeout
        self._manager.shutdown_kernel()
        self._disconnect()

    def restart(self) -> None:
        """Restart as the restart button does."""
        self._manager.restart_kernel()
        self._disconnect()
        self._connect()

    def is_alive(self) -> bool:
        """Return whether the kernel runs. The exit status stays available to Jupyter."""
        try:
            return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None
        except (ChildProcessError, AttributeError, AssertionError):
            return False

    def receive_until(self, enough: Any, seconds: float, what: str) -> None:
        """Receive messages until `enough` returns True."""
        deadline = time.monotonic() + seconds
        while not enough():
            assert time.monotonic() < deadline, f"{what} did not arrive within {seconds:g} s, only {self.outputs}"
            self._receive(50)

    def receive_remaining(self) -> None:
        """Receive the remaining messages of a dead kernel."""
        while self._receive(50):
            pass

    def _connect(self) -> None:
        self._client = self._manager.blocking_client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=60)

    def _disconnect(self) -> None:
        if self._client:
            self._client.stop_channels()
            self._client = None

    def _receive(self, milliseconds: int) -> bool:
        """Receive messages, waiting at most `milliseconds`. Return whether there were any."""
        if self._client is None:
            return False
        shell, iopub, stdin = self._client.shell_channel, self._client.iopub_channel, self._client.stdin_channel
        poller = zmq.Poller()
        for channel in (shell, iopub, stdin):
            poller.register(channel.socket, zmq.POLLIN)
        ready = dict(poller.poll(milliseconds))
        if shell.socket in ready:
            message = shell.get_msg(timeout=0)
            self.replies[message["parent_header"].get("msg_id", "")] = message["content"]
        if stdin.socket in ready:
            content = stdin.get_msg(timeout=0)["content"]
            self.input_requests.append((content["prompt"], content["password"]))
            self._client.input(self._typed)
        if iopub.socket in ready:
            message = iopub.get_msg(timeout=0)
            id, content = message["parent_header"].get("msg_id", ""), message["content"]
            if message["msg_type"] == "status" and content["execution_state"] == "idle":
                self.idle_cells.add(id)
            elif message["msg_type"] in ("stream", "display_data", "execute_result", "error"):
                self.outputs[id].append((message["msg_type"], content))
        return bool(ready)


# Alerts

OUTCOME_WORDS = {"finished", "failed", "interrupted", "lost"}


def delivered_alerts(slack: Slack, name: str) -> list[Payload]:
    """Return the delivered alerts about the run `name`."""
    return [payload for payload in slack.payloads if f"*{name}*" in payload["text"]]


def wait_for_alert(slack: Slack, name: str, seconds: float = 10.0) -> Payload:
    """Wait for the alert about the run `name`. An assertion fails if there are several."""
    slack.wait_for(lambda _: delivered_alerts(slack, name), seconds)
    (payload,) = delivered_alerts(slack, name)
    return payload


def alert_outcome(payload: Payload) -> str:
    """Return the word in an alert's text that states how the run ended."""
    words = OUTCOME_WORDS & set(re.findall(r"[a-z]+", payload["text"]))
    assert len(words) == 1, f"no single outcome in {payload['text']!r}"
    return words.pop()


def alert_text(payload: Payload) -> str:
    """Return every text in an alert, one per line."""
    texts: list[str] = []

    def collect(value: object) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                if key in ("text", "alt_text") and isinstance(inner, str):
                    texts.append(inner)
                else:
                    collect(inner)
        elif isinstance(value, list):
            for inner in value:
                collect(inner)

    collect(payload)
    return html.unescape("\n".join(texts))
