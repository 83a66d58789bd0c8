"""KMS keys for the stack's topic: check a key's name, and whether its policy lets CloudWatch use it.

CloudWatch publishes to an encrypted topic only if the key's own policy allows it. The policy of AWS's own key
alias/aws/sns cannot be changed, so that key does not work:
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
KEY_POLICY_HINT = f"the key's policy has to allow {CLOUDWATCH_PRINCIPAL} kms:Decrypt and kms:GenerateDataKey*"
_ID = r"(?:[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}|mrk-[0-9a-f]{32})"
_ALIAS = r"alias/[A-Za-z0-9/_-]{1,250}"
_ARN = rf"arn:(aws[a-z-]*):kms:([a-z0-9-]+):\d{{12}}:(?:key/{_ID}|{_ALIAS})"


def validate_kms_key(key: str, partition: str, region: str) -> None:
    """Reject a key that a topic in this region cannot use.

    Raises
    ------
    UsageError
        If `key` is neither a key's ID, its ARN nor an alias, or is one of AWS's own keys, or of another region.
    """
    arn = re.fullmatch(_ARN, key)
    if not (arn or re.fullmatch(f"{_ID}|{_ALIAS}", key)):
        raise UsageError(
            f"--kms-key {key!r} is not a key's id, its ARN, or alias/NAME", hint="to remove the key, use none"
        )
    if "alias/aws/" in key:
        raise UsageError(f"--kms-key {key}: CloudWatch may not use AWS's own keys", hint="name a customer managed key")
    if arn and (arn[1], arn[2]) != (partition, region):
        raise UsageError(f"--kms-key {key} is in another region", hint=f"a topic in {region} needs a key in {region}")


def fetch_key_policy(aws: AwsSession, key: str) -> dict[str, Any]:
    """Return a key's policy.

    Raises
    ------
    AwsError
        If it cannot be read, for example because another account owns the key.
    """
    # GetKeyPolicy takes no alias.
    arn = aws.call("kms", "describe_key", KeyId=key)["KeyMetadata"]["Arn"]
    policy: dict[str, Any] = json.loads(aws.call("kms", "get_key_policy", KeyId=arn, PolicyName="default")["Policy"])
    return policy


def allows_cloudwatch(policy: Mapping[str, Any]) -> bool:
    """Return whether a key's policy lets CloudWatch's alarms use the key. Conditions are not evaluated."""
    statements = [
        statement
        for statement in _to_list(policy.get("Statement"))
        if statement.get("Effect") == "Allow" and _includes_cloudwatch(statement.get("Principal"))
    ]
    actions = [str(action).lower() for statement in statements for action in _to_list(statement.get("Action"))]
    return all(any(fnmatchcase(required.lower(), action) for action in actions) for required in REQUIRED_KMS_ACTIONS)


def _includes_cloudwatch(principal: object) -> bool:
    if isinstance(principal, Mapping):
        return "*" in _to_list(principal.get("AWS")) or CLOUDWATCH_PRINCIPAL in _to_list(principal.get("Service"))
    return principal == "*"


def _to_list(value: Any) -> Iterable[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]
