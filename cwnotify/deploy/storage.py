"""Where things are kept: the function's code in S3, the webhook in Parameter Store, encrypted."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from cwnotify.aws.session import AwsSession
from cwnotify.errors import AwsError
from cwnotify.settings import Secret

# Bytes of an object that are read to compare it; our code has less than a hundredth of that.
MAX_CODE_BYTES = 50_000_000
_NO_BUCKET = ("404", "NoSuchBucket")
_NO_KEY = ("404", "NoSuchKey", "NoSuchBucket")


def has_bucket(aws: AwsSession, bucket: str) -> bool:
    """Whether this account has the bucket.

    Raises
    ------
    AwsError
        Also if another account has it.
    """
    try:
        return _ask_own(aws, "head_bucket", bucket, _NO_BUCKET) is not None
    except AwsError as error:
        if error.code not in ("403", "AccessDenied"):
            raise
        what = f"bucket {bucket} belongs to another account, or you may not list it (s3:ListBucket)"
        raise AwsError(f"{what}", error.code, hint="it is not used. Name a bucket of your own with --bucket") from None


def create_bucket(aws: AwsSession, bucket: str) -> None:
    """Make a bucket here: its objects are this account's, never public, and encrypted (which is S3's default)."""
    # The oldest region is the one that must not be named.
    where = {} if aws.region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": aws.region}}
    aws.call("s3", "create_bucket", Bucket=bucket, ObjectOwnership="BucketOwnerEnforced", **where)
    closed = dict.fromkeys(("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True)
    aws.call(
        "s3",
        "put_public_access_block",
        Bucket=bucket,
        PublicAccessBlockConfiguration=closed,
        ExpectedBucketOwner=aws.account_id,
    )


def delete_bucket(aws: AwsSession, bucket: str) -> None:
    """Remove an empty bucket; one that holds something else stays, which is an error."""
    try:
        _ask_own(aws, "delete_bucket", bucket, _NO_BUCKET)
    except AwsError as error:
        if error.code != "BucketNotEmpty":
            raise
        message = f"bucket {bucket} holds something that is not ours, and stays; look into it with: aws s3 ls {bucket}"
        raise AwsError(message, error.code) from None


def list_object_keys(aws: AwsSession, bucket: str, prefix: str) -> tuple[str, ...]:
    """The keys that begin with `prefix`; none where there is no such bucket."""
    try:
        found = aws.paginate_items(
            "s3", "list_objects_v2", "Contents", Bucket=bucket, Prefix=prefix, ExpectedBucketOwner=aws.account_id
        )
        return tuple(str(item["Key"]) for item in found)
    except AwsError as error:
        if error.code in _NO_BUCKET:
            return ()
        raise


def get_object_url(aws: AwsSession, bucket: str, key: str) -> str:
    """An object's URL, as CloudFormation takes it."""
    return f"{aws.client('s3').meta.endpoint_url}/{bucket}/{key}"


def put_object(aws: AwsSession, bucket: str, key: str, body: bytes) -> None:
    """Write an object."""
    # The owner is named because another account can own a bucket that is called as ours would be.
    aws.call(
        "s3",
        "put_object",
        Bucket=bucket,
        Key=key,
        Body=body,
        ChecksumSHA256=base64.b64encode(hashlib.sha256(body).digest()).decode(),
        ExpectedBucketOwner=aws.account_id,
    )


def read_object_sha256(aws: AwsSession, bucket: str, key: str) -> str:
    """The SHA-256 of an object's bytes, in hexadecimal; empty if there is no such object.

    The bytes are read: whoever writes an object also chooses what its metadata says.
    """
    answer = _ask_own(aws, "get_object", bucket, _NO_KEY, Key=key)
    return hashlib.sha256(answer["Body"].read(MAX_CODE_BYTES + 1)).hexdigest() if answer else ""


def delete_objects(aws: AwsSession, bucket: str, keys: tuple[str, ...]) -> None:
    """Remove objects; those that are gone already are no error."""
    for key in keys:
        _ask_own(aws, "delete_object", bucket, _NO_KEY, Key=key)


def write_webhook_parameter(aws: AwsSession, name: str, webhook: Secret) -> None:
    """Keep the webhook, encrypted with AWS's own key for parameters."""
    described = "The Slack webhook of cwnotify; teardown removes it."
    aws.call(
        "ssm",
        "put_parameter",
        Name=name,
        Value=webhook.reveal(),
        Type="SecureString",
        Description=described,
        Overwrite=True,
    )


def delete_webhook_parameter(aws: AwsSession, name: str) -> None:
    """Remove the parameter, its history with it."""
    aws.call_or_none("ssm", "delete_parameter", ("ParameterNotFound",), Name=name)


def _ask_own(aws: AwsSession, operation: str, bucket: str, missing: tuple[str, ...], **arguments: object) -> Any:
    return aws.call_or_none("s3", operation, missing, Bucket=bucket, ExpectedBucketOwner=aws.account_id, **arguments)
