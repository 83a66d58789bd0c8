"""A real kernel, started and spoken to as Jupyter does, in a world of its own.

::

    with World(tmp_path, slack.url) as world, Kernel(world) as kernel:
        kernel.run("%load_ext cwnotify")
        cell = kernel.start(f"%%notify_on_finish x\\n{BUSY}")
        cell.prints("begun")
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
from typing import Any

import zmq
from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from jupyter_client.manager import KernelManager

from cwnotify.store.outbox import Outbox
from cwnotify.store.schema import OpenRun, OutboxMessage
from tests.support.slack import Payload, Slack
from tests.support.waiting import until

ROOT = Path(__file__).parents[2]
# What may reach a test from the machine that it runs on, and must not.
_STRANGE = re.compile(
    r"PYTEST_|CWNOTIFY_|SLACK_|AWS_|JUPYTER|IPYTHON|JPY_|XDG_|PYTHON|SLURM_|OMPI_|PMI_|TORCHELASTIC|(LOCAL_)?RANK$|WORLD_SIZE$"
    r"|(HTTPS?|ALL|NO)_PROXY$",
    re.IGNORECASE,
)
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
# A cell for a minute. In short sleeps: Python hears of an interrupt between two steps of its own, so one that comes
# just before a sleep, as on a busy machine, is heard after it.
ONE_MINUTE_SLEEP = "import time\nfor _ in range(1200):\n    time.sleep(0.05)"
LONG_RUNNING_CODE = f"print('begun', flush=True)\n{ONE_MINUTE_SLEEP}"


class World:
    """A home, a state directory and a webhook; a context manager that ends every process in it.

    Parameters
    ----------
    folder
        A folder of the test's own.
    webhook
        What ``CWNOTIFY_WEBHOOK_URL`` is; without one it is not set.
    more
        Further variables of the environment.
    """

    def __init__(self, folder: Path, webhook: str = "", **more: str) -> None:
        self.home = folder / "home"
        self.state_dir = folder / "state"
        self.home.mkdir(parents=True, exist_ok=True)
        self.environ = {name: value for name, value in os.environ.items() if not _STRANGE.match(name)}
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

    def __enter__(self) -> World:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        def all_gone() -> bool:
            pids = self.process_ids()
            for pid in pids:
                _kill(pid)
            return not pids

        until(all_gone, 10, f"the end of the processes {self.process_ids()}")

    def execute(self, *arguments: str | Path, **more: Any) -> subprocess.CompletedProcess[str]:
        """Run a program to its end, in this world; ``cwnotify`` and ``python`` are those of the tests."""
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
        """Start a program in this world."""
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
        """The live processes that were started in this world, and those with `program` in their command line."""
        found = []
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit() or int(folder.name) == os.getpid():
                continue
            try:
                ours = f"CWNOTIFY_STATE_DIR={self.state_dir}\0".encode() in (folder / "environ").read_bytes()
                if ours and program in (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode():
                    found.append(int(folder.name))
            except OSError:
                # It ended while we looked.
                continue
        return found

    def sidecar_ids(self) -> list[int]:
        """The sidecars of this world, in the order of their pids."""
        return sorted(self.process_ids("sidecar/__main__.py"))

    def outbox_messages(self, *states: str) -> list[OutboxMessage]:
        """What the outbox holds."""
        with self._outbox() as outbox:
            return outbox.list_messages(*states) if outbox else []

    def open_runs(self) -> list[OpenRun]:
        """The runs that the outbox holds open."""
        with self._outbox() as outbox:
            return outbox.list_open_runs() if outbox else []

    def wait_for_sidecars_to_exit(self, seconds: float = 15.0) -> None:
        """Wait until every sidecar has left, having told all that there was to tell."""
        until(lambda: not self.sidecar_ids(), seconds, "the sidecar's leaving")

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


def _argv(arguments: Sequence[str | Path]) -> list[str]:
    program, *rest = map(str, arguments)
    # By the path to cwnotify's own start file, so that no installed script has to be fresh.
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
    """A traceback as the front end shows it, without its colours."""

    name: str
    message: str
    traceback: str


@dataclass(frozen=True)
class CellResult:
    """What a front end knows of a cell that ended.

    Parameters
    ----------
    status
        ``ok``, ``error`` or ``aborted`` (the kernel did not run it); ``dead`` if the kernel went away instead.
    outputs
        As in a notebook's file: streams joined, in the order in which they came.
    help
        What ``?`` shows in the pager.
    """

    status: str
    execution_count: int | None = None
    outputs: tuple[dict[str, Any], ...] = ()
    pager_text: str = ""

    def _streams(self, *names: str) -> str:
        return "".join(one["text"] for one in self.outputs if one["output_type"] == "stream" and one["name"] in names)

    @property
    def stdout(self) -> str:
        """What was printed."""
        return self._streams("stdout")

    @property
    def stderr(self) -> str:
        """What went to the error stream."""
        return self._streams("stderr")

    @property
    def text(self) -> str:
        """Both streams."""
        return self._streams("stdout", "stderr")

    @property
    def values(self) -> list[str]:
        """What stands beside ``Out[N]``."""
        return [_plain(one) for one in self.outputs if one["output_type"] == "execute_result"]

    @property
    def displays(self) -> list[str]:
        """What `display` showed."""
        return [_plain(one) for one in self.outputs if one["output_type"] == "display_data"]

    @property
    def errors(self) -> list[CellError]:
        """The tracebacks."""
        found = [one for one in self.outputs if one["output_type"] == "error"]
        return [CellError(one["ename"], one["evalue"], _ANSI.sub("", "\n".join(one["traceback"]))) for one in found]

    @property
    def error(self) -> CellError:
        """The one traceback; an assertion fails if there is none, or more."""
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
        """Wait until the cell has printed `text`; an assertion fails if it ends without."""
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
        # A cell that is aborted may go without busy and idle.
        return reply is not None and (reply["status"] == "aborted" or self.id in self.kernel.idle_cells)

    def _result(self, status: str, count: int | None = None, help: str = "") -> CellResult:
        outputs: list[dict[str, Any]] = []
        for kind, content in self.kernel.outputs[self.id]:
            one = {"output_type": kind, **content}
            last = outputs[-1] if outputs else {}
            if kind == "stream" and (last.get("output_type"), last.get("name")) == (kind, one["name"]):
                outputs[-1] = {**last, "text": last["text"] + one["text"]}
            else:
                outputs.append(one)
        return CellResult(status, count, tuple(outputs), help)


class _Spec(KernelSpecManager):
    """One kernel: ipykernel of the Python at `python`."""

    python = sys.executable

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        argv = [self.python, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        return KernelSpec(argv=argv, display_name="test", language="python")


class Kernel:
    """A kernel; a context manager.

    Attributes
    ----------
    asked
        The prompts that cells asked the user with, and whether what was typed is hidden.
    patience
        How long `shut_down` waits before it kills, in seconds.

    Parameters
    ----------
    world
        Where it lives. Its sidecar outlives the kernel and ends with the world.
    python
        The Python that runs it; that of the tests by default.
    """

    def __init__(self, world: World, python: str | Path = sys.executable) -> None:
        self.world = world
        self.input_requests: list[tuple[str, bool]] = []
        self.shutdown_timeout = 5.0
        self._typed = ""
        self.outputs: dict[str, list[tuple[str, dict[str, Any]]]] = defaultdict(list)
        self.replies: dict[str, dict[str, Any]] = {}
        self.idle_cells: set[str] = set()
        spec = _Spec()
        spec.python = str(python)
        self._manager = KernelManager(kernel_spec_manager=spec)
        # Named sockets: of the ports that are free, two test processes may choose the same.
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
        pid = self._manager.provisioner.pid
        assert isinstance(pid, int)
        return pid

    def run(self, code: str, seconds: float = 30.0) -> CellResult:
        """Run a cell to its end."""
        return self.submit_cell(code).result(seconds)

    def submit_cell(self, code: str, input_text: str | None = None) -> Cell:
        """Send a cell, and do not wait; several stand in a queue, as with Run All.

        Parameters
        ----------
        typed
            What the user types where the cell asks for input; without it there is nobody to ask.
        """
        assert self._client
        self._typed = input_text or ""
        return Cell(self, self._client.execute(code, allow_stdin=input_text is not None, stop_on_error=True))

    def complete(self, line: str) -> list[str]:
        """What the Tab key offers at the end of `line`."""
        assert self._client
        reply = self._client.complete(line, reply=True, timeout=30)
        return list(reply["content"]["matches"])

    def run_all(self, *cells: str) -> list[CellResult]:
        """Send the cells one after the other without waiting, as Run All does; gives how each ended."""
        return [cell.result() for cell in [self.submit_cell(code) for code in cells]]

    def interrupt(self) -> None:
        """As the stop button does."""
        self._manager.interrupt_kernel()

    @contextmanager
    def debugger(self) -> Iterator[Callable[..., dict[str, Any]]]:
        """Speak the debug adapter protocol, by a function that sends a command and returns the reply."""
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
        """Send the kernel, and nobody else, a signal; gives the time at which it was sent, in Unix seconds."""
        at = time.time()
        os.kill(self.pid, number)
        return at

    def shut_down(self) -> None:
        """In good order, as Jupyter does: it interrupts first, then asks, and kills when its patience ends."""
        self._manager.shutdown_wait_time = self.shutdown_timeout
        self._manager.shutdown_kernel()
        self._disconnect()

    def restart(self) -> None:
        """In good order, as the restart button does."""
        self._manager.restart_kernel()
        self._disconnect()
        self._connect()

    def is_alive(self) -> bool:
        """Whether it runs. Jupyter fetches an exit status only every few seconds, so it is left where it is."""
        try:
            return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None
        except (ChildProcessError, AttributeError, AssertionError):
            return False

    def receive_until(self, enough: Any, seconds: float, what: str) -> None:
        """Take what the kernel says until `enough` holds."""
        deadline = time.monotonic() + seconds
        while not enough():
            assert time.monotonic() < deadline, f"{what} did not come within {seconds:g} s, only {self.outputs}"
            self._take(50)

    def receive_remaining(self) -> None:
        """Take what a kernel that is dead had said."""
        while self._take(50):
            pass

    def _connect(self) -> None:
        self._client = self._manager.blocking_client()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=60)

    def _disconnect(self) -> None:
        if self._client:
            self._client.stop_channels()
            self._client = None

    def _take(self, milliseconds: int) -> bool:
        """Take what has come, or wait so long for it; tells whether there was anything."""
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


# What came of it in Slack

OUTCOME_WORDS = {"finished", "failed", "interrupted", "lost"}


def delivered_alerts(slack: Slack, name: str) -> list[Payload]:
    """What was delivered about the run called `name`."""
    return [payload for payload in slack.payloads if f"*{name}*" in payload["text"]]


def wait_for_alert(slack: Slack, name: str, seconds: float = 10.0) -> Payload:
    """Wait for the alert about the run called `name`; an assertion fails where there is a second one."""
    slack.wait_for(lambda _: delivered_alerts(slack, name), seconds)
    (one,) = delivered_alerts(slack, name)
    return one


def alert_outcome(payload: Payload) -> str:
    """The one word of an alert's sentence that says how the run ended."""
    found = OUTCOME_WORDS & set(re.findall(r"[a-z]+", payload["text"]))
    assert len(found) == 1, f"no single outcome in {payload['text']!r}"
    return found.pop()


def alert_text(payload: Payload) -> str:
    """Every text in an alert, a line each, as a person reads it."""
    found: list[str] = []

    def collect(value: object) -> None:
        if isinstance(value, dict):
            for key, inner in value.items():
                if key in ("text", "alt_text") and isinstance(inner, str):
                    found.append(inner)
                else:
                    collect(inner)
        elif isinstance(value, list):
            for inner in value:
                collect(inner)

    collect(payload)
    return html.unescape("\n".join(found))
