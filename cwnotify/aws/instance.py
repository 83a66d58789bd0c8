"""Which EC2 instance is this? The instance metadata service, version 2. Standard library only.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instancedata-data-retrieval.html
"""

from __future__ import annotations

import os
import urllib.error
import urllib.request
from collections.abc import Mapping

_ENDPOINT = "http://169.254.169.254"
# In a container the hop limit can keep the answer away: nobody should wait for it.
_PATIENCE = 1.0


def this_instance(environ: Mapping[str, str] | None = None) -> str:
    """This instance's id; empty where the machine is none, or may not be asked."""
    environ = os.environ if environ is None else environ
    if environ.get("AWS_EC2_METADATA_DISABLED", "").lower() == "true":
        return ""
    base = environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT", "").rstrip("/") or _ENDPOINT
    try:
        token = _ask(f"{base}/latest/api/token", "PUT", {"X-aws-ec2-metadata-token-ttl-seconds": "60"})
        return _ask(f"{base}/latest/meta-data/instance-id", "GET", {"X-aws-ec2-metadata-token": token})
    except (OSError, ValueError):
        return ""


def _ask(url: str, method: str, headers: Mapping[str, str]) -> str:
    # No proxy stands between a machine and itself.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(urllib.request.Request(url, headers=dict(headers), method=method), timeout=_PATIENCE) as answer:
        return str(answer.read(1024).decode())
