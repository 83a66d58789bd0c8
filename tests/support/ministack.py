"""AWS on this machine: ministack in an environment of its own, with its rights enforced."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any

import boto3

from tests.support.environments import environment
from tests.support.waiting import until

REGION = "ap-northeast-2"
# ministack pins the botocore that goes with this boto3; the functions that it runs need boto3, as on AWS.
PINS = ("ministack==1.5.33", "boto3==1.43.106")
SECONDS = 30.0


class Ministack:
    """An empty account; a context manager.

    Parameters
    ----------
    folder
        For its log and the files that it makes.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port: int = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"

    def __enter__(self) -> Ministack:
        programs = environment("ministack", *PINS, with_cwnotify=False).parent
        environ = {
            "PATH": f"{programs}:{os.environ['PATH']}",
            "HOME": str(self._folder),
            "TMPDIR": str(self._folder),
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(self._port),
            "MINISTACK_REGION": REGION,
            "AUTH": "true",
            "LAMBDA_ASYNC_RETRY_BASE_SECONDS": "0.05",
            "LAMBDA_ASYNC_RETRY_MAX_SECONDS": "0.1",
        }
        with (self._folder / "ministack.log").open("wb") as log:
            # A session of its own, so that the functions' processes can be ended with it.
            self._process = subprocess.Popen(
                [programs / "ministack"], env=environ, cwd=self._folder, stdout=log, stderr=log, start_new_session=True
            )
        until(self._answers, SECONDS, "ministack")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def environ(self, key: str = "test", secret: str = "test") -> dict[str, str]:
        """What a program needs to be this account's root, or the user whose key it is."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": secret,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def client(self, service: str) -> Any:
        """boto3's own, as root."""
        make: Any = boto3.client
        return make(
            service,
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )

    def _answers(self) -> bool:
        assert self._process.poll() is None, (self._folder / "ministack.log").read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._port)) == 0
