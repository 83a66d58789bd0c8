"""Identify this EC2 instance, and read its spot notices, from the instance metadata service (IMDSv2).

Imports the standard library, `alerts` and `aws.models`, but never boto3.
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html
"""

from __future__ import annotations

import http.client
import os
import time
from collections.abc import Mapping
from contextlib import closing
from urllib.parse import urlsplit

from cwnotify.alerts.events.alarms import InstanceNotice, NoticeKind
from cwnotify.alerts.parsing.lenient_json import as_json_object, decode_json_text, first_text, first_timestamp
from cwnotify.alerts.regions import partition_of_region, region_of_zone
from cwnotify.aws.models import InstanceIdentity

_IPV4_ENDPOINT = "http://169.254.169.254"
_IPV6_ENDPOINT = "http://[fd00:ec2::254]"
# For all requests of one call, in seconds. In a container the hop limit may drop the response.
_TIMEOUT = 1.0
_MAX_RESPONSE_BYTES = 65536


def fetch_instance_id(environ: Mapping[str, str] | None = None) -> str:
    """Return the ID of this instance; empty outside EC2, or if the service is disabled. Takes up to 1 s."""
    return _fetch(environ, "meta-data/instance-id")["meta-data/instance-id"]


def fetch_instance_identity(environ: Mapping[str, str] | None = None) -> InstanceIdentity:
    """Return the identity of this instance; all fields are empty outside EC2. Takes up to 1 s."""
    document_path, life_cycle_path = "dynamic/instance-identity/document", "meta-data/instance-life-cycle"
    responses = _fetch(environ, document_path, life_cycle_path)
    document = as_json_object(decode_json_text(responses[document_path]))
    zone = first_text(document.get("availabilityzone"))
    if not (instance_id := first_text(document.get("instanceid"))):
        return InstanceIdentity()
    return InstanceIdentity(
        instance_id=instance_id,
        instance_type=first_text(document.get("instancetype")),
        availability_zone=zone,
        region=first_text(document.get("region"), region_of_zone(zone)),
        account_id=first_text(document.get("accountid")),
        is_spot=responses[life_cycle_path].strip() == "spot",
    )


def fetch_spot_notices(
    identity: InstanceIdentity, environ: Mapping[str, str] | None = None
) -> tuple[InstanceNotice, ...]:
    """Return the current interruption notice and rebalance recommendation for this instance. Takes up to 1 s.

    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html and
    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/rebalance-recommendations.html
    """
    action_path, rebalance_path = "meta-data/spot/instance-action", "meta-data/events/recommendations/rebalance"
    if not identity.instance_id:
        return ()
    responses = _fetch(environ, action_path, rebalance_path)
    interruption = as_json_object(decode_json_text(responses[action_path]))
    rebalance = as_json_object(decode_json_text(responses[rebalance_path]))
    notices = []
    if action := first_text(interruption.get("action")):
        notices.append(_build_notice(identity, NoticeKind.INTERRUPTION, interruption.get("time"), action))
    if notice_time := rebalance.get("noticetime"):
        notices.append(_build_notice(identity, NoticeKind.REBALANCE, notice_time))
    return tuple(notices)


def _build_notice(identity: InstanceIdentity, kind: NoticeKind, when: object, action: str = "") -> InstanceNotice:
    return InstanceNotice(
        kind=kind,
        instance=identity.instance_id,
        word=action,
        at=first_timestamp(when),
        account=identity.account_id,
        region=identity.region,
        partition=partition_of_region(identity.region),
    )


def _fetch(environ: Mapping[str, str] | None, *paths: str) -> dict[str, str]:
    """Return the response for each path; empty for a path that gives an error or no response in time."""
    environ = os.environ if environ is None else environ
    responses = dict.fromkeys(paths, "")
    if environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
        return responses
    uses_ipv6 = environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "").lower() == "ipv6"
    endpoint = environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", "").rstrip("/")
    base = f"{endpoint or (_IPV6_ENDPOINT if uses_ipv6 else _IPV4_ENDPOINT)}/latest"
    deadline = time.monotonic() + _TIMEOUT
    try:
        token = _request(f"{base}/api/token", "PUT", {"X-aws-ec2-metadata-token-ttl-seconds": "60"}, deadline)
        for path in paths if token else ():
            responses[path] = _request(f"{base}/{path}", "GET", {"X-aws-ec2-metadata-token": token}, deadline)
    except (OSError, ValueError, http.client.HTTPException):
        pass
    return responses


def _request(url: str, method: str, headers: Mapping[str, str], deadline: float) -> str:
    """Return the body of the response; empty for an HTTP error, such as the 404 for a notice that does not exist.

    Does not use urllib: since Python 3.12 its opener loads the CA certificates, which takes 30 ms a request. Uses no
    proxy, because the service is link-local.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"not the address of a metadata service: {url}")
    connect = http.client.HTTPConnection if parts.scheme == "http" else http.client.HTTPSConnection
    body = b""
    with closing(connect(parts.hostname, parts.port, timeout=_seconds_until(deadline))) as connection:
        connection.request(method, parts.path, headers=dict(headers))
        response = connection.getresponse()
        while len(body) < _MAX_RESPONSE_BYTES and (piece := response.read1(_MAX_RESPONSE_BYTES)):
            body += piece
            _seconds_until(deadline)
        return body.decode() if response.status == http.client.OK else ""


def _seconds_until(deadline: float) -> float:
    """Return the seconds until `deadline`.

    Raises
    ------
    TimeoutError
        If it has passed.
    """
    if (seconds := deadline - time.monotonic()) <= 0:
        raise TimeoutError
    return seconds
