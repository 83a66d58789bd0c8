"""The AWS stand-in serves only who has its key: not another user of the machine, not a page in its browser."""

from __future__ import annotations

import hashlib
import http.client
import io
import json
import multiprocessing
import os
import socket
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.support.ministack import REGION, Ministack

NOBODY = 65534
CODE = "import pathlib\ndef handler(event, context):\n    pathlib.Path({marker!r}).write_text('ran')\n    return 'ran'\n"


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ministack]:
    with Ministack(tmp_path_factory.mktemp("ministack")) as running:
        trust = {"Statement": {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "*"}}
        running.client("iam").create_role(RoleName="any", AssumeRolePolicyDocument=json.dumps(trust))
        yield running


def code(marker: Path) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("code.py", CODE.format(marker=str(marker)))
    return packed.getvalue()


def run_code(function: Any, marker: Path, name: str) -> str:
    """Create a function that writes `marker`, and invoke it with `function`, a client of Lambda."""
    function.create_function(
        FunctionName=name,
        Runtime="python3.12",
        Role="arn:aws:iam::000000000000:role/any",
        Handler="code.handler",
        Code={"ZipFile": code(marker)},
    )
    return str(function.invoke(FunctionName=name)["StatusCode"])


def strangers_client(url: str, key: str, secret: str, token: str | None, service: str) -> Any:
    import boto3
    from botocore.config import Config

    make: Any = boto3.session.Session().client
    return make(
        service,
        endpoint_url=url,
        region_name=REGION,
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        aws_session_token=token,
        config=Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=20),
    )


def as_nobody(attack: Callable[[], object], answers: Any) -> None:
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    try:
        answers.put(f"done: {attack()}")
    except BaseException as error:
        answers.put(f"{type(error).__name__}: {error}")


def another_user(attack: Callable[[], object]) -> str:
    """What came of `attack` in a process of the user nobody."""
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    process = context.Process(target=as_nobody, args=(attack, answers))
    process.start()
    process.join(60)
    assert process.exitcode == 0
    return str(answers.get())


# Root of ministack, if nothing is in front of it: its default key, any account's number, and no key that it knows.
KEYS = ["test", "000000000000", "123456789012", "AKIAIOSFODNN7EXAMPLE"]


@pytest.mark.parametrize("key", KEYS)
def test_another_user_runs_no_code(aws: Ministack, key: str, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    function = strangers_client(aws.url, key, "test", None, "lambda")
    # What boto3 imports for its first call, nobody may not read.
    aws.client("lambda").list_functions()
    "x".encode("idna")

    outcome = another_user(partial(run_code, function, marker, f"stranger-{key}"))

    assert not marker.exists(), outcome
    assert "UnrecognizedClientException" in outcome
    assert f"stranger-{key}" not in str(aws.inventory())
