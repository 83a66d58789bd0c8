"""Translate botocore's errors into `AwsError`: what happened, why, and what to do. Imports botocore only."""

from __future__ import annotations

import re
from functools import cache

from botocore import exceptions as b
from botocore.parsers import ResponseParserError
from botocore.session import Session

from cwnotify.errors import AwsError, AwsErrorKind

# Each service spells the codes differently:
# https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/CommonErrors.html
# https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
_DENIED_CODES = (
    "AccessDenied",
    "AccessDeniedException",
    "UnauthorizedOperation",
    "AuthorizationError",
    "Forbidden",
    "403",
)
_EXPIRED_CODES = ("ExpiredToken", "ExpiredTokenException", "RequestExpired")
_UNKNOWN_CREDENTIALS_CODES = (
    *("InvalidClientTokenId", "UnrecognizedClientException", "InvalidAccessKeyId", "MissingAuthenticationToken"),
    *("SignatureDoesNotMatch", "InvalidSignatureException", "IncompleteSignature", "AuthFailure"),
)
_CLOCK_CODES = ("RequestTimeTooSkewed", "RequestInTheFuture")
_THROTTLED_CODES = (
    *("Throttling", "ThrottlingException", "ThrottledException", "RequestThrottled", "RequestThrottledException"),
    *("TooManyRequestsException", "RequestLimitExceeded", "EC2ThrottledException"),
    *("BandwidthLimitExceeded", "SlowDown"),
)
_MISSING_CODES = (
    *("ResourceNotFound", "ResourceNotFoundException", "NoSuchEntity"),
    *("InvalidInstanceID.NotFound", "InvalidInstanceID.Malformed"),
)
# IAM's names of actions that are not named like the API's operations.
IAM_ACTION_NAMES = {
    "s3:HeadBucket": "s3:ListBucket",
    "s3:ListObjectsV2": "s3:ListBucket",
    "s3:HeadObject": "s3:GetObject",
    "s3:DeleteObjects": "s3:DeleteObject",
    "s3:PutPublicAccessBlock": "s3:PutBucketPublicAccessBlock",
    "lambda:Invoke": "lambda:InvokeFunction",
    "sqs:ChangeMessageVisibilityBatch": "sqs:ChangeMessageVisibility",
}
_SIGNED_OUT_ERRORS = tuple(
    getattr(b, name)
    # Older versions of botocore lack some of these.
    for name in ("SSOError", "TokenRetrievalError", "LoginError")
    if hasattr(b, name)
)
_CREDENTIALS_ERRORS = (
    *(b.NoCredentialsError, b.PartialCredentialsError, b.CredentialRetrievalError),
    *(b.ProfileNotFound, b.NoAuthTokenError, b.MetadataRetrievalError),
)
_REGION_ERRORS = (b.NoRegionError, b.InvalidRegionError, b.UnknownRegionError)
_CONNECTION_ERRORS = (b.ConnectionError, b.HTTPClientError)


def to_aws_error(error: Exception, service: str, policy: str = "deployer") -> AwsError:
    """Return an `AwsError` for an error of botocore.

    Parameters
    ----------
    service
        The service whose operation raised it.
    policy
        The policy of `cwnotify policy` that allows the operation.
    """
    if isinstance(error, b.ClientError):
        return _translate_response(error, service, policy)
    if isinstance(error, _SIGNED_OUT_ERRORS):
        login = "aws login" if "'aws login'" in str(error) else "aws sso login"
        return AwsError(
            f"you are signed out of AWS ({_format(error)})", kind=AwsErrorKind.EXPIRED, hint=f"sign in again: {login}"
        )
    if isinstance(error, _CREDENTIALS_ERRORS):
        hint = "try: aws configure, or give the instance a role"
        return AwsError(f"no AWS credentials can be used ({_format(error)})", kind=AwsErrorKind.CREDENTIALS, hint=hint)
    if isinstance(error, b.NoRegionError):
        return AwsError(
            "no AWS region is set",
            kind=AwsErrorKind.REGION,
            hint="set AWS_DEFAULT_REGION, or: aws configure set region ap-northeast-2",
        )
    if isinstance(error, _REGION_ERRORS):
        return AwsError(
            f"AWS has no such region ({_format(error)})", kind=AwsErrorKind.REGION, hint="check AWS_DEFAULT_REGION"
        )
    if isinstance(error, _CONNECTION_ERRORS):
        return _translate_connection_error(error, service)
    if isinstance(error, ResponseParserError):
        return AwsError(
            f"the response for AWS ({service}) did not come from AWS",
            kind=AwsErrorKind.OFFLINE,
            hint="check for a proxy or a sign-in page in between",
        )
    return AwsError(f"the request to AWS ({service}) failed: {error}", hint="check the AWS settings: cwnotify doctor")


def get_iam_action(service: str, operation: str) -> str:
    """Return IAM's action for an operation of the API."""
    return IAM_ACTION_NAMES.get(f"{service}:{operation}", f"{service}:{operation}")


def find_denied_action(error: b.ClientError, service: str) -> str:
    """Return the missing IAM action: the one in AWS's message, or else that of the operation."""
    message = str(error.response.get("Error", {}).get("Message", ""))
    match = re.search(r"perform:? '?([a-z0-9-]+:\w+)", message)
    return match[1] if match else get_iam_action(service, error.operation_name)


def _translate_connection_error(error: Exception, service: str) -> AwsError:
    """Translate an error without a response: the network is down, or the region and so the host do not exist."""
    region = re.search(r"\.([a-z]{2}(?:-[a-z]+)+-\d+)\.amazonaws\.", str(error))
    if isinstance(error, b.EndpointConnectionError) and region and region[1] not in _list_regions():
        return AwsError(
            f"AWS has no region {region[1]} that we know of", kind=AwsErrorKind.REGION, hint="check AWS_DEFAULT_REGION"
        )
    if isinstance(error, b.ConnectTimeoutError | b.ReadTimeoutError):
        return AwsError(
            f"AWS ({service}) does not answer ({_format(error)})",
            kind=AwsErrorKind.OFFLINE,
            hint="check for a firewall in between",
        )
    return AwsError(
        f"AWS ({service}) could not be reached ({_format(error)})", kind=AwsErrorKind.OFFLINE, hint="check the network"
    )


@cache
def _list_regions() -> frozenset[str]:
    """Return all regions that this botocore knows."""
    session = Session()
    partitions = session.get_available_partitions()
    return frozenset(name for partition in partitions for name in session.get_available_regions("ec2", partition))


def _translate_response(error: b.ClientError, service: str, policy: str) -> AwsError:
    fields = error.response.get("Error", {})
    code, message = str(fields.get("Code", "")), str(fields.get("Message", ""))
    operation = f"{service}:{error.operation_name}"
    if code in _DENIED_CODES:
        action = find_denied_action(error, service)
        hint = f"have it added to your policy: cwnotify policy {policy}"
        return AwsError(f"AWS denies {action}", code, AwsErrorKind.DENIED, action, hint=hint)
    if credentials_error := _translate_credentials_error(code, message):
        return credentials_error
    if code == "OptInRequired":
        return AwsError(
            f"this account has not opted in to {service} in this region",
            code,
            AwsErrorKind.REGION,
            hint="check AWS_DEFAULT_REGION",
        )
    if code in _THROTTLED_CODES:
        return AwsError(
            f"AWS throttles {operation}, because this account sends it too often",
            code,
            AwsErrorKind.THROTTLED,
            hint="wait; cwnotify repeats it more slowly",
        )
    if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0) >= 500:
        return AwsError(
            f"AWS ({service}) has an internal error: {message or code}",
            code,
            AwsErrorKind.OFFLINE,
            hint="try again later",
        )
    kind = AwsErrorKind.MISSING if code in _MISSING_CODES else AwsErrorKind.OTHER
    # AWS's own message says what to do, if anything.
    return AwsError(f"AWS rejected {operation}: {message or code}", code, kind)


def _translate_credentials_error(code: str, message: str) -> AwsError | None:
    if code in _CLOCK_CODES or (code in _UNKNOWN_CREDENTIALS_CODES and re.search(r"expired|not yet current", message)):
        return AwsError(
            f"this machine's clock is wrong ({message or code})",
            code,
            AwsErrorKind.CLOCK,
            hint="set the clock",
        )
    if code in _EXPIRED_CODES:
        return AwsError(f"the AWS credentials have expired ({code})", code, AwsErrorKind.EXPIRED, hint="sign in again")
    if code in _UNKNOWN_CREDENTIALS_CODES:
        return AwsError(
            f"AWS does not know these credentials ({code})",
            code,
            AwsErrorKind.CREDENTIALS,
            hint="check AWS_PROFILE or try: aws configure",
        )
    return None


def _format(error: Exception) -> str:
    return str(error).rstrip(". ")
