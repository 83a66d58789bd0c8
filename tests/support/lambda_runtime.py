"""AWS Lambda on this machine: awslambdaric in its own virtual environment, with our own Runtime API.

https://docs.aws.amazon.com/lambda/latest/dg/runtimes-api.html
"""

from __future__ import annotations

import json
import os
import subprocess
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from types import TracebackType
from typing import Any

from tests.support.environments import venv_python

FUNCTION_ARN = "arn:aws:lambda:ap-northeast-2:123456789012:function:cwnotify"


@dataclass(frozen=True)
class InvocationResult:
    """The outcome of an invocation: `result`, or the type and message of the error."""

    result: Any = None
    error: str = ""
    message: str = ""


class LambdaFunction:
    """A function as AWS runs it: one process that stays warm between calls; a context manager.

    Parameters
    ----------
    task
        The folder with the unpacked zip.
    environ
        Environment variables of the function.
    """

    def __init__(self, task: Path, environ: Mapping[str, str]) -> None:
        self._events: Queue[tuple[str, bytes, float]] = Queue()
        self._results: Queue[InvocationResult] = Queue()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self._events, self._results))
        self._thread = Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._log = task.with_suffix(".log")
        self._task = task
        self._environ = {
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self._server.server_port}",
            "AWS_LAMBDA_FUNCTION_NAME": "cwnotify",
            "AWS_REGION": "ap-northeast-2",
            "LAMBDA_TASK_ROOT": str(task),
            "PATH": os.environ["PATH"],
            **environ,
        }

    def __enter__(self) -> LambdaFunction:
        self._thread.start()
        python = venv_python("lambda", locked=True, with_project=False)
        command = [str(python), "-m", "awslambdaric", "lambda_function.lambda_handler"]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, cwd=self._task, env=self._environ, stdout=log, stderr=log)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._server.shutdown()
        self._server.server_close()

    def invoke(self, event: object, seconds: float = 10.0) -> InvocationResult:
        """Call the function and return its result, or AWS's timeout error if it takes longer than `seconds`."""
        self._events.put((str(uuid.uuid4()), json.dumps(event).encode(), time.time() + seconds))
        try:
            return self._results.get(timeout=seconds + 5.0)
        except Empty:
            return InvocationResult(error="Sandbox.Timedout", message=self.log)

    @property
    def log(self) -> str:
        """Everything the function has printed."""
        return self._log.read_text(errors="replace")


def _handler(events: Queue[tuple[str, bytes, float]], results: Queue[InvocationResult]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            id, body, deadline = events.get()
            headers = {
                "Lambda-Runtime-Aws-Request-Id": id,
                "Lambda-Runtime-Deadline-Ms": str(int(deadline * 1000)),
                "Lambda-Runtime-Invoked-Function-Arn": FUNCTION_ARN,
                # The client crashes without these two. AWS always sends them.
                "Lambda-Runtime-Trace-Id": "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700",
                "Content-Type": "application/json",
            }
            self._reply(200, body, headers)

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])) or "null")
            if self.path.endswith("/error"):
                results.put(InvocationResult(error=body["errorType"], message=body["errorMessage"]))
            else:
                results.put(InvocationResult(result=body))
            self._reply(202, b"{}", {})

        def log_message(self, format: str, *args: object) -> None:
            pass

        def _reply(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

    return Handler
