"""AWS on this machine: ministack, in a virtual environment of its own, with its rights enforced.

Nothing that runs with `Ministack.environ` can reach AWS itself: the endpoint is this machine's, the key is random, and
the user's boto3 configuration is not read. Requests without that key are rejected (see `cwnotify.demo.aws_gateway`).
"""

from __future__ import annotations

import fcntl
import http.client
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any

REGION = "ap-northeast-2"
# `make lock` writes it; ministack and the boto3 that its functions need, as on AWS, with all that they need.
MINISTACK_LOCK_FILE = Path(__file__).with_name("ministack.txt")
MINISTACK_ENVIRONMENT_DIR = Path(".matrix/ministack")
_GUARD = Path(__file__).with_name("aws_gateway.py")
_PATIENCE = 30.0


def ensure_virtual_environment(
    folder: Path, *pins: str, lock: Path | None = None, modules: Sequence[Path] = ()
) -> Path:
    """Return the Python of the virtual environment in `folder`, in which `pins` are installed, and what they need.

    It is made when it is missing, and kept while the pins stay. Several that want it at once wait for the first. What
    will be installed is printed first.

    Parameters
    ----------
    lock
        A file of requirements with hashes, all that is needed, in place of `pins`. Only wheels are installed from it,
        so that nothing runs while they are.
    modules
        Folders where it finds further ones, after its own; what is installed there is not installed again.
    """
    python, made = folder.resolve() / "bin" / "python", folder / "made"
    locked = lock.read_text() if lock else ""
    names = pins or tuple(re.findall(r"^\S+==[^\s;]+", locked, re.MULTILINE))
    wanted = "\n".join((sys.version, *pins, locked, *map(str, modules)))
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f"{folder.name}.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not made.exists() or made.read_text() != wanted:
            print(
                f"Installing {', '.join(names)} into {folder.resolve()}, from PyPI or the index that pip is configured "
                f"with{', checked by their hashes' * bool(lock)}. This happens once and takes half a minute.",
                flush=True,
            )
            # This Python's pip serves there too: one of its own would take longer to make than the rest.
            subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", folder], check=True)
            own = next(folder.glob("lib/python*/site-packages"))
            (own / "further.pth").write_text("".join(f"{one}\n" for one in modules))
            pip = [sys.executable, "-m", "pip", "--python", str(python), "--quiet", "--disable-pip-version-check"]
            what = ["--require-hashes", "--only-binary", ":all:", "--requirement", str(lock)] if lock else [*pins]
            subprocess.run([*pip, "install", *what], check=True, stdout=subprocess.PIPE)
            made.write_text(wanted)
    return python


class Ministack:
    """An empty account; a context manager.

    Parameters
    ----------
    folder
        For its log and the files that it makes.
    environment
        The folder of its virtual environment.
    """

    def __init__(self, folder: Path, environment: Path = MINISTACK_ENVIRONMENT_DIR) -> None:
        self._folder, self._environment = folder, environment
        # The server inherits it: a port that is free until it starts could be taken by another user.
        self._socket = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._port: int = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"
        self._key = f"AKIA{secrets.token_hex(8).upper()}"
        self._secret = secrets.token_urlsafe(30)

    def __enter__(self) -> Ministack:
        programs = ensure_virtual_environment(self._environment, lock=MINISTACK_LOCK_FILE).parent
        environ = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "HOME": str(self._folder),
            "TMPDIR": str(self._folder),
            "AWS_ACCESS_KEY_ID": self._key,
            "AWS_SECRET_ACCESS_KEY": self._secret,
            "GATEWAY_PORT": str(self._port),
            "MINISTACK_REGION": REGION,
            "AUTH": "true",
            "LAMBDA_ASYNC_RETRY_BASE_SECONDS": "0.05",
            "LAMBDA_ASYNC_RETRY_MAX_SECONDS": "0.1",
        }
        with (self._folder / "ministack.log").open("wb") as log:
            # A session of its own, so that the functions' processes can be ended with it.
            self._process = subprocess.Popen(
                [programs / "python", "-I", _GUARD, str(self._socket.fileno())],
                env=environ,
                cwd=self._folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=[self._socket.fileno()],
            )
        self._socket.close()
        try:
            self._wait()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def environ(self, key: str | None = None, secret: str | None = None) -> dict[str, str]:
        """What a program needs to be this account's root, or the user whose key it is."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": self._key if key is None else key,
            "AWS_SECRET_ACCESS_KEY": self._secret if secret is None else secret,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "NO_PROXY": "127.0.0.1",
        }

    def client(self, service: str) -> Any:
        """boto3's own, as root."""
        import boto3

        make: Any = boto3.client
        return make(
            service,
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id=self._key,
            aws_secret_access_key=self._secret,
        )

    def run_instance(self, **how: Any) -> str:
        """Start one instance, `how` being what EC2's RunInstances takes; gives its id."""
        made = self.client("ec2").run_instances(**{"ImageId": "ami-12345678", "MinCount": 1, "MaxCount": 1, **how})
        return str(made["Instances"][0]["InstanceId"])

    def list_resources(self) -> dict[str, Any]:
        """All that a deployment could leave, or change."""
        alarms = self.client("cloudwatch").describe_alarms()["MetricAlarms"]
        return {
            "stacks": [one["StackName"] for one in self.client("cloudformation").describe_stacks()["Stacks"]],
            "topics": self.client("sns").list_topics()["Topics"],
            "subscriptions": self.client("sns").list_subscriptions()["Subscriptions"],
            "functions": [one["FunctionName"] for one in self.client("lambda").list_functions()["Functions"]],
            "sources": self.client("lambda").list_event_source_mappings()["EventSourceMappings"],
            "roles": [one["RoleName"] for one in self.client("iam").list_roles()["Roles"]],
            "logs": [one["logGroupName"] for one in self.client("logs").describe_log_groups()["logGroups"]],
            "queues": self.client("sqs").list_queues().get("QueueUrls", []),
            "rules": [one["Name"] for one in self.client("events").list_rules()["Rules"]],
            "buckets": [one["Name"] for one in self.client("s3").list_buckets()["Buckets"]],
            "parameters": [one["Name"] for one in self.client("ssm").describe_parameters()["Parameters"]],
            "alarms": [{k: v for k, v in one.items() if not isinstance(v, datetime)} for one in alarms],
        }

    def _wait(self) -> None:
        deadline = time.monotonic() + _PATIENCE
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"ministack did not start: {(self._folder / 'ministack.log').read_text()}")
            time.sleep(0.02)

    def _answers(self) -> bool:
        probe = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_PATIENCE)
        try:
            probe.request("GET", "/")
            return probe.getresponse().status == HTTPStatus.FORBIDDEN
        except OSError:
            return False
        finally:
            probe.close()


def remove_account_variables(environ: Mapping[str, str]) -> dict[str, str]:
    """`environ` without what names an account of AWS or Slack, or sets cwnotify."""
    owners = ("AWS_", "CWNOTIFY_", "SLACK_")
    return {name: value for name, value in environ.items() if not name.startswith(owners)}
