"""KMS keys that may encrypt the stack's topic: their names, and whether a key's policy lets CloudWatch use it.

CloudWatch publishes to an encrypted topic only if the key's own policy allows it, so AWS's own key alias/aws/sns cannot
serve: nobody can change its policy.
https://repost.aws/knowledge-center/cloudwatch-configure-alarm-sns
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from cwnotify.aws.session import AwsSession
from cwnotify.errors import UsageError

CLOUDWATCH_PRINCIPAL = "cloudwatch.amazonaws.com"
REQUIRED_KMS_ACTIONS = ("kms:Decrypt", "kms:GenerateDataKey")
# What the key's owner has to add to its policy, in one line.
KEY_POLICY_HINT = f"the key's policy has to allow {CLOUDWATCH_PRINCIPAL} kms:Decrypt and kms:GenerateDataKey*"
_ID = r"(?:[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}|mrk-[0-9a-f]{32})"
_ALIAS = r"alias/[A-Za-z0-9/_-]{1,250}"
_ARN = rf"arn:(aws[a-z-]*):kms:([a-z0-9-]+):\d{{12}}:(?:key/{_ID}|{_ALIAS})"


def validate_kms_key(key: str, partition: str, region: str) -> None:
    """Reject what cannot be the key of a topic in this region.

    Raises
    ------
    UsageError
        If `key` is neither a key's id, its ARN, nor an alias; or is a key of AWS's own, or of another region.
    """
    arn = re.fullmatch(_ARN, key)
    if not (arn or re.fullmatch(f"{_ID}|{_ALIAS}", key)):
        raise UsageError(f"--kms-key takes a key's id, its ARN, or alias/NAME, not {key!r}", hint="none removes it")
    if "alias/aws/" in key:
        raise UsageError(f"--kms-key {key}: CloudWatch may not use AWS's own keys", hint="name a customer managed key")
    if arn and (arn[1], arn[2]) != (partition, region):
        raise UsageError(f"--kms-key {key}: a topic in {region} needs a key in {region}")


def fetch_key_policy(aws: AwsSession, key: str) -> dict[str, Any]:
    """Return a key's policy.

    Raises
    ------
    AwsError
        If it cannot be read, as that of another account's key.
    """
    # GetKeyPolicy takes no alias.
    arn = aws.call("kms", "describe_key", KeyId=key)["KeyMetadata"]["Arn"]
    policy: dict[str, Any] = json.loads(aws.call("kms", "get_key_policy", KeyId=arn, PolicyName="default")["Policy"])
    return policy


def allows_cloudwatch(policy: Mapping[str, Any]) -> bool:
    """Return whether a key's policy lets CloudWatch's alarms use the key. Conditions are not evaluated."""
    statements = _listed(policy.get("Statement"))
    allowed = [one for one in statements if one.get("Effect") == "Allow" and _is_for_cloudwatch(one.get("Principal"))]
    actions = [str(action).lower() for one in allowed for action in _listed(one.get("Action"))]
    return all(any(fnmatchcase(needed.lower(), action) for action in actions) for needed in REQUIRED_KMS_ACTIONS)


def _is_for_cloudwatch(principal: object) -> bool:
    if isinstance(principal, Mapping):
        return "*" in _listed(principal.get("AWS")) or CLOUDWATCH_PRINCIPAL in _listed(principal.get("Service"))
    return principal == "*"


def _listed(value: Any) -> Iterable[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]
