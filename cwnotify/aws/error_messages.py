"""What botocore raises -> an `AwsError` that says what happened, why, and what to do next. Imports botocore only."""

from __future__ import annotations

import re
from functools import cache

from botocore import exceptions as b
from botocore.parsers import ResponseParserError
from botocore.session import Session

from cwnotify.errors import AwsError, AwsErrorKind

# https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/CommonErrors.html and
# https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html; each service has its own spelling.
_DENIED = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AuthorizationError", "Forbidden", "403")
_EXPIRED = ("ExpiredToken", "ExpiredTokenException", "RequestExpired")
_UNKNOWN = (
    *("InvalidClientTokenId", "UnrecognizedClientException", "InvalidAccessKeyId", "MissingAuthenticationToken"),
    *("SignatureDoesNotMatch", "InvalidSignatureException", "IncompleteSignature", "AuthFailure"),
)
_CLOCK = ("RequestTimeTooSkewed", "RequestInTheFuture")
_THROTTLED = (
    *("Throttling", "ThrottlingException", "ThrottledException", "RequestThrottled", "RequestThrottledException"),
    *("TooManyRequestsException", "RequestLimitExceeded", "EC2ThrottledException"),
    *("BandwidthLimitExceeded", "SlowDown"),
)
_MISSING = (
    *("ResourceNotFound", "ResourceNotFoundException", "NoSuchEntity"),
    *("InvalidInstanceID.NotFound", "InvalidInstanceID.Malformed"),
)
# What IAM calls otherwise than the API does.
IAM_ACTION_NAMES = {
    "s3:HeadBucket": "s3:ListBucket",
    "s3:ListObjectsV2": "s3:ListBucket",
    "s3:HeadObject": "s3:GetObject",
    "s3:DeleteObjects": "s3:DeleteObject",
    "s3:PutPublicAccessBlock": "s3:PutBucketPublicAccessBlock",
    "lambda:Invoke": "lambda:InvokeFunction",
    "sqs:ChangeMessageVisibilityBatch": "sqs:ChangeMessageVisibility",
}
_SIGNED_OUT = tuple(
    getattr(b, name)
    # boto3 has come to know these one by one.
    for name in ("SSOError", "TokenRetrievalError", "LoginError")
    if hasattr(b, name)
)
_NO_CREDENTIALS = (
    *(b.NoCredentialsError, b.PartialCredentialsError, b.CredentialRetrievalError),
    *(b.ProfileNotFound, b.NoAuthTokenError, b.MetadataRetrievalError),
)
_NO_REGION = (b.NoRegionError, b.InvalidRegionError, b.UnknownRegionError)
_UNREACHED = (b.ConnectionError, b.HTTPClientError)


def to_aws_error(error: Exception, service: str, policy: str = "deployer") -> AwsError:
    """Say what `error` means, which an operation of `service` raised; `policy` would allow all that is asked for."""
    if isinstance(error, b.ClientError):
        return _answered(error, service, policy)
    if isinstance(error, _SIGNED_OUT):
        login = "aws login" if "'aws login'" in str(error) else "aws sso login"
        return AwsError(
            f"you are signed out of AWS ({_said(error)})", kind=AwsErrorKind.EXPIRED, hint=f"sign in again: {login}"
        )
    if isinstance(error, _NO_CREDENTIALS):
        hint = "try: aws configure, or give the instance a role"
        return AwsError(f"no AWS credentials can be used ({_said(error)})", kind=AwsErrorKind.CREDENTIALS, hint=hint)
    if isinstance(error, b.NoRegionError):
        return AwsError(
            "no AWS region is set",
            kind=AwsErrorKind.REGION,
            hint="set AWS_DEFAULT_REGION, or: aws configure set region ap-northeast-2",
        )
    if isinstance(error, _NO_REGION):
        return AwsError(
            f"AWS has no such region ({_said(error)})", kind=AwsErrorKind.REGION, hint="check AWS_DEFAULT_REGION"
        )
    if isinstance(error, _UNREACHED):
        return _unreached(error, service)
    if isinstance(error, ResponseParserError):
        return AwsError(
            f"what answered for AWS ({service}) is not AWS",
            kind=AwsErrorKind.OFFLINE,
            hint="is a proxy or a sign-in page in between?",
        )
    return AwsError(f"AWS ({service}) could not be asked: {error}")


def get_iam_action(service: str, operation: str) -> str:
    """The action that IAM has for an operation of the API."""
    return IAM_ACTION_NAMES.get(f"{service}:{operation}", f"{service}:{operation}")


def find_denied_action(error: b.ClientError, service: str) -> str:
    """The IAM action that is missing: as AWS names it, else as it follows from what was asked."""
    named = re.search(r"perform:? '?([a-z0-9-]+:\w+)", str(error.response.get("Error", {}).get("Message", "")))
    return named[1] if named else get_iam_action(service, error.operation_name)


def _unreached(error: Exception, service: str) -> AwsError:
    """No answer came: the network is away, or there is no such host because there is no such region."""
    region = re.search(r"\.([a-z]{2}(?:-[a-z]+)+-\d+)\.amazonaws\.", str(error))
    if isinstance(error, b.EndpointConnectionError) and region and region[1] not in _regions():
        return AwsError(
            f"AWS has no region {region[1]} that we know of", kind=AwsErrorKind.REGION, hint="check AWS_DEFAULT_REGION"
        )
    if isinstance(error, b.ConnectTimeoutError | b.ReadTimeoutError):
        return AwsError(
            f"AWS ({service}) does not answer ({_said(error)})",
            kind=AwsErrorKind.OFFLINE,
            hint="is a firewall in between?",
        )
    return AwsError(
        f"AWS ({service}) could not be reached ({_said(error)})", kind=AwsErrorKind.OFFLINE, hint="check the network"
    )


@cache
def _regions() -> frozenset[str]:
    """All regions that this botocore knows."""
    session = Session()
    partitions = session.get_available_partitions()
    return frozenset(name for one in partitions for name in session.get_available_regions("ec2", one))


def _answered(error: b.ClientError, service: str, policy: str) -> AwsError:
    detail = error.response.get("Error", {})
    code, said = str(detail.get("Code", "")), str(detail.get("Message", ""))
    if code in _DENIED:
        missing = find_denied_action(error, service)
        return AwsError(
            f"AWS denies {missing}",
            code,
            AwsErrorKind.DENIED,
            missing,
            hint=f"have it added to your policy: cwnotify policy {policy}",
        )
    if code in _CLOCK or (code in _UNKNOWN and re.search(r"expired|not yet current", said)):
        return AwsError(
            f"this machine's clock is wrong, AWS says ({said or code})", code, AwsErrorKind.CLOCK, hint="set it"
        )
    if code in _EXPIRED:
        return AwsError(f"the AWS credentials have expired ({code})", code, AwsErrorKind.EXPIRED, hint="sign in again")
    if code in _UNKNOWN:
        return AwsError(
            f"AWS does not know these credentials ({code})",
            code,
            AwsErrorKind.CREDENTIALS,
            hint="check AWS_PROFILE or try: aws configure",
        )
    if code == "OptInRequired":
        return AwsError(
            f"this account has not opted in to {service} in this region",
            code,
            AwsErrorKind.REGION,
            hint="check AWS_DEFAULT_REGION",
        )
    asked = f"{service}:{error.operation_name}"
    if code in _THROTTLED:
        return AwsError(
            f"AWS throttles {asked}, which is asked too often in this account",
            code,
            AwsErrorKind.THROTTLED,
            hint="it is asked again, more slowly",
        )
    if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) >= 500:
        return AwsError(
            f"AWS ({service}) has a fault of its own: {said or code}",
            code,
            AwsErrorKind.OFFLINE,
            hint="try again later",
        )
    return AwsError(
        f"AWS refused {asked}: {said or code}", code, AwsErrorKind.MISSING if code in _MISSING else AwsErrorKind.OTHER
    )


def _said(error: Exception) -> str:
    return str(error).rstrip(". ")
