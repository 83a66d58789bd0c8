"""The server of the AWS stand-in: ministack behind a check of every request's signature.

ministack itself takes several well-known keys for root (``test``, any account number, no key at all), and a port on
127.0.0.1 is open to every user of the machine and to every page in its browser. What passes here is signed (AWS
Signature Version 4) with this stand-in's own random key, or with a key that the stand-in issued since.

Runs as a program in ministack's environment, where cwnotify is not installed: the standard library, hypercorn and
ministack only. The listening socket and the key are inherited, so no other process can take the port first.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import os
import re
import secrets
import sys
from collections.abc import Awaitable, Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, unquote_plus

AsgiMessage = dict[str, Any]
AsgiReceive = Callable[[], Awaitable[AsgiMessage]]
AsgiSend = Callable[[AsgiMessage], Awaitable[None]]
# The secret of an access key, by the key and the session token sent with it; raises RefusedError.
SecretLookup = Callable[[str, str], str]

MAX_REQUEST_BYTES = 64 << 20  # bytes; the deployed function's bundle has less than 1 MB
MAX_CLOCK_SKEW = timedelta(minutes=15)  # as AWS has it
_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([\w+=,.@-]+)/(\d{8}/[\w-]+/([\w-]+)/aws4_request), *"
    r"SignedHeaders=([a-z0-9;_-]+), *Signature=([0-9a-f]{64})",
    re.ASCII,
)
# A browser adds them to what a page of another origin sends; no AWS client does.
_BROWSERS = ("origin", "sec-fetch-site", "sec-fetch-mode", "sec-fetch-dest")


class RejectedRequestError(Exception):
    """A request that the account never sees.

    Parameters
    ----------
    code
        AWS's own word for the reason.
    """

    def __init__(self, code: str, why: str) -> None:
        super().__init__(why)
        self.code = code


class SignatureMiddleware:
    """An ASGI application that passes on to `app` only what is signed.

    Parameters
    ----------
    port
        The one that clients connect to; it is in each request's Host.
    """

    def __init__(
        self, app: Any, port: int, secret_of: SecretLookup, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._app, self._secret_of, self._now = app, secret_of, now
        self._hosts = (f"127.0.0.1:{port}", f"localhost:{port}")

    async def __call__(self, scope: AsgiMessage, receive: AsgiReceive, send: AsgiSend) -> None:
        """Answer one connection's request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] != "http":
            # A refusal; before a WebSocket is accepted, the server answers it with 403.
            await send({"type": "websocket.close", "code": 1008})
        else:
            try:
                body = await self._checked_body(scope, receive)
            except RejectedRequestError as refused:
                await _refuse(refused, scope, send)
            else:
                await self._app(scope, _replay(body, receive), send)

    async def _checked_body(self, scope: AsgiMessage, receive: AsgiReceive) -> bytes:
        headers = join_headers(scope["headers"])
        if headers.get("host", "") not in self._hosts:
            raise RejectedRequestError("AccessDenied", "this server answers to its own address only")
        if any(name in headers for name in _BROWSERS):
            raise RejectedRequestError("AccessDenied", "this server answers no web page")
        match = _AUTHORIZATION.fullmatch(headers.get("authorization", ""))
        if match is None:
            raise RejectedRequestError(
                "MissingAuthenticationToken", "the request is not signed in its Authorization header"
            )
        # Before the body is read: a stranger's may be long.
        secret = self._secret_of(match[1], headers.get("x-amz-security-token", ""))
        body = await _read_body(receive)
        check_signature(scope["method"], scope["raw_path"], scope["query_string"], headers, body, secret, self._now())
        return body


def join_headers(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """By lower-case name; what came on several lines is joined by a comma, as it is signed."""
    joined: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name, value = raw_name.decode("latin-1").lower(), " ".join(raw_value.decode("latin-1").split())
        joined[name] = f"{joined[name]},{value}" if name in joined else value
    return joined


def check_signature(
    method: str, path: bytes, query: bytes, headers: dict[str, str], body: bytes, secret: str, now: datetime
) -> None:
    """Check the Authorization header; https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html

    Parameters
    ----------
    path, query
        As they were sent.
    headers
        As `join_headers` returns them.

    Raises
    ------
    RefusedError
        If the signature is not `secret`'s, leaves out what has to be signed, or is too old.
    """
    match = _AUTHORIZATION.fullmatch(headers.get("authorization", ""))
    if match is None:
        raise RejectedRequestError("IncompleteSignature", "the Authorization header is not AWS4-HMAC-SHA256's")
    _, scope, service, signed_names, signature = match.groups()
    names, date = signed_names.split(";"), headers.get("x-amz-date", "")
    payload_hash = hashlib.sha256(body).hexdigest()
    if "host" not in names or "x-amz-date" not in names or any(name not in headers for name in names):
        raise RejectedRequestError("IncompleteSignature", "Host and X-Amz-Date have to be signed")
    if headers.get("x-amz-content-sha256", payload_hash) != payload_hash:
        raise RejectedRequestError("XAmzContentSHA256Mismatch", "the body is not the one that was signed")
    _check_time(date, scope, now)
    # S3 signs the path as it is sent, all others encode it once more.
    sent = path.decode("latin-1") or "/"
    canonical_path = sent if service == "s3" else quote(sent, safe="/-_.~")
    signed = "".join(f"{name}:{headers[name]}\n" for name in names)
    canonical = "\n".join((method, canonical_path, _canonical_query(query), signed, signed_names, payload_hash))
    text = "\n".join(("AWS4-HMAC-SHA256", date, scope, hashlib.sha256(canonical.encode("latin-1")).hexdigest()))
    key = f"AWS4{secret}".encode()
    for part in (*scope.split("/"), text):
        key = hmac.digest(key, part.encode(), "sha256")
    if not hmac.compare_digest(key.hex(), signature):
        raise RejectedRequestError(
            "SignatureDoesNotMatch", "the signature does not match the request and its key's secret"
        )


def _check_time(date: str, scope: str, now: datetime) -> None:
    try:
        at = datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        raise RejectedRequestError("IncompleteSignature", "X-Amz-Date is not a time") from None
    if abs(now - at) > MAX_CLOCK_SKEW or not scope.startswith(date[:8]):
        raise RejectedRequestError("RequestExpired", "the request was signed too long ago, or for another day")


def _canonical_query(query: bytes) -> str:
    pairs = [pair.partition("=") for pair in query.decode("latin-1").split("&") if pair]
    encoded = sorted((_encode(name), _encode(value)) for name, _, value in pairs)
    return "&".join(f"{name}={value}" for name, value in encoded)


def _encode(text: str) -> str:
    return quote(unquote_plus(text, "latin-1"), safe="-_.~", encoding="latin-1")


async def _read_body(receive: AsgiReceive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RejectedRequestError("RequestTimeout", "the client left before its request was complete")
        body += message.get("body", b"")
        if len(body) > MAX_REQUEST_BYTES:
            raise RejectedRequestError("RequestEntityTooLarge", f"the body has more than {MAX_REQUEST_BYTES} bytes")
        if not message.get("more_body"):
            return bytes(body)


def _replay(body: bytes, receive: AsgiReceive) -> AsgiReceive:
    """Give `body` at once, then what comes after it."""
    pending = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> AsgiMessage:
        return pending.pop() if pending else await receive()

    return replay


async def _refuse(refused: RejectedRequestError, scope: AsgiMessage, send: AsgiSend) -> None:
    """Answer as AWS does, in JSON or XML; never what was sent."""
    sent = dict(scope["headers"])
    if b"json" in sent.get(b"content-type", b"") or scope["raw_path"].startswith(b"/20"):
        kind, body = "application/x-amz-json-1.1", json.dumps({"__type": refused.code, "message": str(refused)})
    else:
        kind = "text/xml"
        body = f"<ErrorResponse><Error><Code>{refused.code}</Code><Message>{refused}</Message></Error></ErrorResponse>"
    headers = {"content-type": kind, "content-length": str(len(body)), "x-amzn-errortype": refused.code}
    # The rest of a body that was not read cannot be told from the next request.
    headers["connection"] = "close"
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": 403, "headers": raw})
    await send({"type": "http.response.body", "body": body.encode()})


def _ministacks_secret_of(key: str, token: str) -> str:
    """The secret of the root key, of a user's key, or of a session's."""
    from ministack.core import iam_evaluator, responses

    if hmac.compare_digest(key, os.environ["AWS_ACCESS_KEY_ID"]):
        return os.environ["AWS_SECRET_ACCESS_KEY"]
    unknown = RejectedRequestError(
        "UnrecognizedClientException", "The security token included in the request is invalid."
    )
    if iam_evaluator.is_root_access_key(key):
        raise unknown
    account = iam_evaluator.find_iam_access_key_account(key) or responses._account_from_sts_session(key)
    found = iam_evaluator.resolve_credential(key, account, token)
    if isinstance(found, iam_evaluator.CredentialResolutionError):
        raise RejectedRequestError(found.code, found.message)
    return str(found.secret_access_key)


def _give_functions_random_keys() -> None:
    """ministack derives a function's key from its name, which other users can guess."""
    from ministack.core import lambda_runtime
    from ministack.services import lambda_svc, sts

    issued: dict[tuple[str, str], dict[str, str]] = {}

    def credentials(config: AsgiMessage) -> dict[str, str]:
        function, role = config["FunctionArn"], config.get("Role", "").rsplit("/", 1)[-1]
        account = function.split(":")[4]
        name = config.get("FunctionName", "function")[:64]
        key = issued.setdefault(
            (function, role),
            {
                "AWS_ACCESS_KEY_ID": f"ASIA{secrets.token_hex(8).upper()}",
                "AWS_SECRET_ACCESS_KEY": secrets.token_urlsafe(30),
                "AWS_SESSION_TOKEN": secrets.token_urlsafe(60),
            },
        )
        session = {
            "Arn": f"arn:aws:sts::{account}:assumed-role/{role}/{name}",
            "UserId": f"{role}:{name}",
            "SecretAccessKey": key["AWS_SECRET_ACCESS_KEY"],
            "SessionToken": key["AWS_SESSION_TOKEN"],
        }
        sts.register_session(key["AWS_ACCESS_KEY_ID"], session)
        return dict(key)

    for module in (lambda_runtime, lambda_svc):
        assert callable(module.execution_credentials)
        module.execution_credentials = credentials


def main() -> None:
    """Serve on the listening socket that is inherited as descriptor ``sys.argv[1]``."""
    from hypercorn.asyncio import serve
    from hypercorn.config import Config
    from ministack.app import app

    _give_functions_random_keys()
    config = Config()
    config.bind = [f"fd://{sys.argv[1]}"]
    config.keep_alive_timeout = 75
    asyncio.run(serve(SignatureMiddleware(app, int(os.environ["GATEWAY_PORT"]), _ministacks_secret_of), config))


if __name__ == "__main__":
    main()
