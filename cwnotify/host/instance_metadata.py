"""Which EC2 instance is this, and is it about to go? The instance metadata service, version 2. No boto3.

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

_ENDPOINT = "http://169.254.169.254"
_ENDPOINT_6 = "http://[fd00:ec2::254]"
# In a container the hop limit can keep the answer away: nobody should wait for it.
_PATIENCE = 1.0
_MOST_BYTES = 65536


def fetch_instance_id(environ: Mapping[str, str] | None = None) -> str:
    """This instance's id; empty where the machine is none, or may not be asked."""
    return _read(environ, "meta-data/instance-id")["meta-data/instance-id"]


def fetch_instance_identity(environ: Mapping[str, str] | None = None) -> InstanceIdentity:
    """Which instance this machine is; all empty where it is none, or may not be asked. Takes a second at most."""
    document, life = "dynamic/instance-identity/document", "meta-data/instance-life-cycle"
    told = _read(environ, document, life)
    known = as_json_object(decode_json_text(told[document]))
    zone = first_text(known.get("availabilityzone"))
    if not (instance := first_text(known.get("instanceid"))):
        return InstanceIdentity()
    return InstanceIdentity(
        instance_id=instance,
        instance_type=first_text(known.get("instancetype")),
        availability_zone=zone,
        region=first_text(known.get("region"), region_of_zone(zone)),
        account_id=first_text(known.get("accountid")),
        is_spot=told[life].strip() == "spot",
    )


def fetch_spot_notices(
    identity: InstanceIdentity, environ: Mapping[str, str] | None = None
) -> tuple[InstanceNotice, ...]:
    """What EC2 has to say to this instance, should it be about to take it back. Takes a second at most.

    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/spot-instance-termination-notices.html and
    https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/rebalance-recommendations.html
    """
    action, rebalance = "meta-data/spot/instance-action", "meta-data/events/recommendations/rebalance"
    if not identity.instance_id:
        return ()
    told = {path: as_json_object(decode_json_text(said)) for path, said in _read(environ, action, rebalance).items()}
    found = []
    if word := first_text(told[action].get("action")):
        found.append(_notice(identity, NoticeKind.INTERRUPTION, told[action].get("time"), word))
    if when := told[rebalance].get("noticetime"):
        found.append(_notice(identity, NoticeKind.REBALANCE, when))
    return tuple(found)


def _notice(identity: InstanceIdentity, kind: NoticeKind, when: object, word: str = "") -> InstanceNotice:
    return InstanceNotice(
        kind=kind,
        instance=identity.instance_id,
        word=word,
        at=first_timestamp(when),
        account=identity.account_id,
        region=identity.region,
        partition=partition_of_region(identity.region),
    )


def _read(environ: Mapping[str, str] | None, *paths: str) -> dict[str, str]:
    """What the service says under each path; empty where it says nothing, or not in time."""
    environ = os.environ if environ is None else environ
    told = dict.fromkeys(paths, "")
    if environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
        return told
    usual = _ENDPOINT_6 if environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "").lower() == "ipv6" else _ENDPOINT
    base = f"{environ.get('AWS_EC2_METADATA_SERVICE_ENDPOINT', '').rstrip('/') or usual}/latest"
    until = time.monotonic() + _PATIENCE
    try:
        token = _ask(f"{base}/api/token", "PUT", {"X-aws-ec2-metadata-token-ttl-seconds": "60"}, until)
        for path in paths if token else ():
            told[path] = _ask(f"{base}/{path}", "GET", {"X-aws-ec2-metadata-token": token}, until)
    except (OSError, ValueError, http.client.HTTPException):
        pass
    return told


def _ask(url: str, method: str, headers: Mapping[str, str], until: float) -> str:
    """The service's answer; empty for an error, as the 404 for most of what could be there.

    Without urllib: since Python 3.12 its opener loads the CA certificates, which takes 30 ms a request. And without a
    proxy, because none is between a machine and itself.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(f"not the address of a metadata service: {url}")
    connect = http.client.HTTPConnection if parts.scheme == "http" else http.client.HTTPSConnection
    said = b""
    with closing(connect(parts.hostname, parts.port, timeout=_left(until))) as service:
        service.request(method, parts.path, headers=dict(headers))
        answer = service.getresponse()
        while len(said) < _MOST_BYTES and (piece := answer.read1(_MOST_BYTES)):
            said += piece
            _left(until)
        return said.decode() if answer.status == http.client.OK else ""


def _left(until: float) -> float:
    """How many seconds are left.

    Raises
    ------
    TimeoutError
        If none are.
    """
    if (left := until - time.monotonic()) <= 0:
        raise TimeoutError
    return left
