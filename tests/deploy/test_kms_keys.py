"""KMS keys: which can encrypt the topic, and which of them CloudWatch may use."""

from __future__ import annotations

from typing import Any

import pytest

from cwnotify.deploy.kms_keys import allows_cloudwatch, validate_kms_key
from cwnotify.errors import UsageError

ID = "12345678-90ab-cdef-1234-567890abcdef"
OWNER = {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::123456789012:root"}, "Action": "kms:*", "Resource": "*"}
SERVICE = {"Service": "cloudwatch.amazonaws.com"}


@pytest.mark.parametrize(
    "key",
    [
        ID,
        "mrk-1234567890abcdef1234567890abcdef",
        "alias/mine",
        "alias/team/topics_2",
        f"arn:aws:kms:ap-northeast-2:123456789012:key/{ID}",
        "arn:aws:kms:ap-northeast-2:210987654321:key/mrk-1234567890abcdef1234567890abcdef",
        "arn:aws:kms:ap-northeast-2:123456789012:alias/mine",
    ],
)
def test_key_of_the_region_is_accepted(key: str) -> None:
    validate_kms_key(key, "aws", "ap-northeast-2")


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("mine", "alias/NAME"),
        ("alias/", "alias/NAME"),
        (ID[:-1], "alias/NAME"),
        (f"{ID}\n", "alias/NAME"),
        (f"key/{ID}", "alias/NAME"),
        (f"arn:aws:kms:ap-northeast-2:1234:key/{ID}", "alias/NAME"),
        ("arn:aws:sns:ap-northeast-2:123456789012:topic", "alias/NAME"),
        ("alias/aws/sns", "customer managed key"),
        ("arn:aws:kms:ap-northeast-2:123456789012:alias/aws/sns", "customer managed key"),
        (f"arn:aws:kms:us-east-1:123456789012:key/{ID}", "needs a key in ap-northeast-2"),
        (f"arn:aws-cn:kms:ap-northeast-2:123456789012:key/{ID}", "needs a key in ap-northeast-2"),
    ],
)
def test_unusable_key_is_rejected(key: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        validate_kms_key(key, "aws", "ap-northeast-2")


@pytest.mark.parametrize(
    ("statement", "is_allowed"),
    [
        ({"Principal": SERVICE, "Action": ["kms:Decrypt", "kms:GenerateDataKey*"]}, True),
        ({"Principal": SERVICE, "Action": "kms:*"}, True),
        ({"Principal": {"Service": ["s3.amazonaws.com", "cloudwatch.amazonaws.com"]}, "Action": "kms:*"}, True),
        ({"Principal": "*", "Action": "*"}, True),
        ({"Principal": SERVICE, "Action": "kms:Decrypt"}, False),
        ({"Principal": {"Service": "sns.amazonaws.com"}, "Action": "kms:*"}, False),
        ({"Principal": SERVICE, "Action": "kms:*", "Effect": "Deny"}, False),
        ({}, False),
    ],
)
def test_policy_allows_cloudwatch_only_with_both_actions(statement: dict[str, Any], is_allowed: bool) -> None:
    policy = {"Statement": [OWNER, {"Effect": "Allow", "Resource": "*", **statement}]}
    assert allows_cloudwatch(policy) == is_allowed
    assert allows_cloudwatch({"Statement": policy["Statement"][1]}) == is_allowed
    assert not allows_cloudwatch({})
