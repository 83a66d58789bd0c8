"""The server of the AWS stand-in: ministack behind a check of every request's signature.

ministack itself accepts well-known keys as root (``test``, any account number, no key at all), and every user of the
machine and every page in its browser can connect to a port on 127.0.0.1. The gateway passes only requests that are
signed (AWS Signature Version 4) with this stand-in's random key, or with a key that the stand-in issued later.

Runs as a program in ministack's environment, where cwnotify is not installed. Imports only the standard library,
hypercorn and ministack. It inherits the listening socket and the key, so no other process can take the port first.
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
# Returns the secret for an access key and a session token, or raises RejectedRequestError.
SecretLookup = Callable[[str, str], str]

MAX_REQUEST_BYTES = 64 << 20  # the deployed function's bundle has less than 1 MB
MAX_CLOCK_SKEW = timedelta(minutes=15)  # the same as AWS
_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([\w+=,.@-]+)/(\d{8}/[\w-]+/([\w-]+)/aws4_request), *"
    r"SignedHeaders=([a-z0-9;_-]+), *Signature=([0-9a-f]{64})",
    re.ASCII,
)
# Browsers add these to requests of pages from other origins. AWS clients never send them.
_BROWSER_HEADERS = ("origin", "sec-fetch-site", "sec-fetch-mode", "sec-fetch-dest")


class RejectedRequestError(Exception):
    """A request that is not passed on to the account.

    Parameters
    ----------
    code
        AWS's error code.
    """

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class SignatureMiddleware:
    """An ASGI application that passes only signed requests on to `app`.

    Parameters
    ----------
    port
        The port that clients connect to. It must be in the Host header of each request.
    """

    def __init__(
        self, app: Any, port: int, secret_of: SecretLookup, now: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        self._app, self._secret_of, self._now = app, secret_of, now
        self._hosts = (f"127.0.0.1:{port}", f"localhost:{port}")

    async def __call__(self, scope: AsgiMessage, receive: AsgiReceive, send: AsgiSend) -> None:
        """Handle one connection."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] != "http":
            # Rejects the connection: the server answers 403 if a WebSocket is closed before it is accepted.
            await send({"type": "websocket.close", "code": 1008})
        else:
            try:
                body = await self._read_checked_body(scope, receive)
            except RejectedRequestError as error:
                await _send_error(error, scope, send)
            else:
                await self._app(scope, _replay_body(body, receive), send)

    async def _read_checked_body(self, scope: AsgiMessage, receive: AsgiReceive) -> bytes:
        headers = join_headers(scope["headers"])
        if headers.get("host", "") not in self._hosts:
            raise RejectedRequestError("AccessDenied", "the Host header is not this server's address")
        if any(name in headers for name in _BROWSER_HEADERS):
            raise RejectedRequestError("AccessDenied", "requests from web pages are not accepted")
        match = _AUTHORIZATION.fullmatch(headers.get("authorization", ""))
        if match is None:
            raise RejectedRequestError(
                "MissingAuthenticationToken", "the request is not signed in its Authorization header"
            )
        # Look the key up before reading the body, which may be long.
        secret = self._secret_of(match[1], headers.get("x-amz-security-token", ""))
        body = await _read_body(receive)
        check_signature(scope["method"], scope["raw_path"], scope["query_string"], headers, body, secret, self._now())
        return body


def join_headers(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Return headers by lower-case name. Repeated headers are joined by a comma, as they are signed."""
    joined: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name, value = raw_name.decode("latin-1").lower(), " ".join(raw_value.decode("latin-1").split())
        joined[name] = f"{joined[name]},{value}" if name in joined else value
    return joined


def check_signature(
    method: str, path: bytes, query: bytes, headers: dict[str, str], body: bytes, secret: str, now: datetime
) -> None:
    """Check the Authorization header: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html

    Parameters
    ----------
    path, query
        As the client sent them.
    headers
        As `join_headers` returns them.

    Raises
    ------
    RejectedRequestError
        If the signature does not match `secret`, does not cover the required headers, or is too old.
    """
    match = _AUTHORIZATION.fullmatch(headers.get("authorization", ""))
    if match is None:
        raise RejectedRequestError("IncompleteSignature", "the Authorization header is not AWS4-HMAC-SHA256")
    _, scope, service, signed_names, signature = match.groups()
    names, date = signed_names.split(";"), headers.get("x-amz-date", "")
    payload_hash = hashlib.sha256(body).hexdigest()
    if "host" not in names or "x-amz-date" not in names or any(name not in headers for name in names):
        raise RejectedRequestError("IncompleteSignature", "Host and X-Amz-Date must be signed")
    if headers.get("x-amz-content-sha256", payload_hash) != payload_hash:
        raise RejectedRequestError("XAmzContentSHA256Mismatch", "the body differs from the signed one")
    _check_time(date, scope, now)
    # S3 signs the path as sent. All other services encode it again.
    sent_path = path.decode("latin-1") or "/"
    canonical_path = sent_path if service == "s3" else quote(sent_path, safe="/-_.~")
    signed_headers = "".join(f"{name}:{headers[name]}\n" for name in names)
    canonical = "\n".join(
        (method, canonical_path, _build_canonical_query(query), signed_headers, signed_names, payload_hash)
    )
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
        raise RejectedRequestError("RequestExpired", "the signature is too old or for another day")


def _build_canonical_query(query: bytes) -> str:
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
            raise RejectedRequestError(
                "RequestTimeout", "the client closed the connection before the request was complete"
            )
        body += message.get("body", b"")
        if len(body) > MAX_REQUEST_BYTES:
            raise RejectedRequestError("RequestEntityTooLarge", f"the body has more than {MAX_REQUEST_BYTES} bytes")
        if not message.get("more_body"):
            return bytes(body)


def _replay_body(body: bytes, receive: AsgiReceive) -> AsgiReceive:
    """Return a receiver that yields `body`, then the messages that follow it."""
    pending = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> AsgiMessage:
        return pending.pop() if pending else await receive()

    return replay


async def _send_error(error: RejectedRequestError, scope: AsgiMessage, send: AsgiSend) -> None:
    """Respond in JSON or XML, as AWS does. The response contains nothing from the request."""
    request_headers = dict(scope["headers"])
    if b"json" in request_headers.get(b"content-type", b"") or scope["raw_path"].startswith(b"/20"):
        kind, body = "application/x-amz-json-1.1", json.dumps({"__type": error.code, "message": str(error)})
    else:
        kind = "text/xml"
        body = f"<ErrorResponse><Error><Code>{error.code}</Code><Message>{error}</Message></Error></ErrorResponse>"
    headers = {"content-type": kind, "content-length": str(len(body)), "x-amzn-errortype": error.code}
    # Close, because an unread body would be taken for the next request.
    headers["connection"] = "close"
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": 403, "headers": raw})
    await send({"type": "http.response.body", "body": body.encode()})


def _look_up_secret(key: str, token: str) -> str:
    """Return the secret of the root key, of a user's key or of a session's key."""
    from ministack.core import iam_evaluator, responses

    if hmac.compare_digest(key, os.environ["AWS_ACCESS_KEY_ID"]):
        return os.environ["AWS_SECRET_ACCESS_KEY"]
    unknown = RejectedRequestError(
        "UnrecognizedClientException", "The security token included in the request is invalid."
    )
    if iam_evaluator.is_root_access_key(key):
        raise unknown
    account = iam_evaluator.find_iam_access_key_account(key) or responses._account_from_sts_session(key)
    credential = iam_evaluator.resolve_credential(key, account, token)
    if isinstance(credential, iam_evaluator.CredentialResolutionError):
        raise RejectedRequestError(credential.code, credential.message)
    return str(credential.secret_access_key)


def _randomize_function_keys() -> None:
    """Give Lambda functions random keys. ministack derives them from names that other users can guess."""
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
    """Serve on the inherited listening socket, whose descriptor is ``sys.argv[1]``."""
    from hypercorn.asyncio import serve
    from hypercorn.config import Config
    from ministack.app import app

    _randomize_function_keys()
    config = Config()
    config.bind = [f"fd://{sys.argv[1]}"]
    config.keep_alive_timeout = 75
    asyncio.run(serve(SignatureMiddleware(app, int(os.environ["GATEWAY_PORT"]), _look_up_secret), config))


if __name__ == "__main__":
    main()
