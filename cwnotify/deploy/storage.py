"""Store the function's code in S3, and the encrypted webhook in Parameter Store. boto3 through `AwsSession`.

Every call names the expected owner, because another account can own a bucket with the name that ours would have.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from cwnotify.aws.session import AwsSession
from cwnotify.errors import AwsError
from cwnotify.settings import Secret

# Bytes of an object that are read to compare it. Our code has less than a hundredth of that.
MAX_CODE_BYTES = 50_000_000
_BUCKET_MISSING = ("404", "NoSuchBucket")
_KEY_MISSING = ("404", "NoSuchKey", "NoSuchBucket")


def has_bucket(aws: AwsSession, bucket: str) -> bool:
    """Return whether this account has the bucket.

    Raises
    ------
    AwsError
        If another account has it, or the request failed.
    """
    try:
        return _call_as_owner(aws, "head_bucket", bucket, _BUCKET_MISSING) is not None
    except AwsError as error:
        if error.code not in ("403", "AccessDenied"):
            raise
        raise AwsError(
            f"bucket {bucket} belongs to another account, or you may not list it (s3:ListBucket); it is not used",
            error.code,
            hint="name a bucket of your own with --bucket",
        ) from None


def create_bucket(aws: AwsSession, bucket: str) -> None:
    """Create a bucket in this region. Its objects belong to this account, are never public, and S3 encrypts them."""
    # us-east-1 must not be named: https://docs.aws.amazon.com/AmazonS3/latest/API/API_CreateBucket.html
    location = {} if aws.region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": aws.region}}
    aws.call("s3", "create_bucket", Bucket=bucket, ObjectOwnership="BucketOwnerEnforced", **location)
    blocks = dict.fromkeys(("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"), True)
    aws.call(
        "s3",
        "put_public_access_block",
        Bucket=bucket,
        PublicAccessBlockConfiguration=blocks,
        ExpectedBucketOwner=aws.account_id,
    )


def delete_bucket(aws: AwsSession, bucket: str) -> None:
    """Delete an empty bucket; do nothing if it does not exist.

    Raises
    ------
    AwsError
        If it contains an object, or the request failed. The bucket then stays.
    """
    try:
        _call_as_owner(aws, "delete_bucket", bucket, _BUCKET_MISSING)
    except AwsError as error:
        if error.code != "BucketNotEmpty":
            raise
        raise AwsError(
            f"bucket {bucket} holds something that is not ours, and stays",
            error.code,
            hint=f"list it with: aws s3 ls {bucket}",
        ) from None


def list_object_keys(aws: AwsSession, bucket: str, prefix: str) -> tuple[str, ...]:
    """Return the keys with `prefix`; none if the bucket does not exist."""
    try:
        items = aws.paginate_items(
            "s3", "list_objects_v2", "Contents", Bucket=bucket, Prefix=prefix, ExpectedBucketOwner=aws.account_id
        )
        return tuple(str(item["Key"]) for item in items)
    except AwsError as error:
        if error.code in _BUCKET_MISSING:
            return ()
        raise


def get_object_url(aws: AwsSession, bucket: str, key: str) -> str:
    """Return an object's URL in the form that CloudFormation takes."""
    return f"{aws.client('s3').meta.endpoint_url}/{bucket}/{key}"


def put_object(aws: AwsSession, bucket: str, key: str, body: bytes) -> None:
    """Write an object."""
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
    """Return the SHA-256 of an object's bytes in hexadecimal; empty if the object does not exist.

    It reads the bytes, because the writer of an object also chooses its metadata.
    """
    response = _call_as_owner(aws, "get_object", bucket, _KEY_MISSING, Key=key)
    return hashlib.sha256(response["Body"].read(MAX_CODE_BYTES + 1)).hexdigest() if response else ""


def delete_objects(aws: AwsSession, bucket: str, keys: tuple[str, ...]) -> None:
    """Delete objects; missing ones are no error."""
    for key in keys:
        _call_as_owner(aws, "delete_object", bucket, _KEY_MISSING, Key=key)


def write_webhook_parameter(aws: AwsSession, name: str, webhook: Secret) -> None:
    """Store the webhook, encrypted with AWS's own key for parameters."""
    aws.call(
        "ssm",
        "put_parameter",
        Name=name,
        Value=webhook.reveal(),
        Type="SecureString",
        Description="The Slack webhook of cwnotify; teardown removes it.",
        Overwrite=True,
    )


def delete_webhook_parameter(aws: AwsSession, name: str) -> None:
    """Delete the parameter and its history; do nothing if it does not exist."""
    aws.call_or_none("ssm", "delete_parameter", ("ParameterNotFound",), Name=name)


def _call_as_owner(aws: AwsSession, operation: str, bucket: str, missing: tuple[str, ...], **arguments: object) -> Any:
    return aws.call_or_none("s3", operation, missing, Bucket=bucket, ExpectedBucketOwner=aws.account_id, **arguments)
