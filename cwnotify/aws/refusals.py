"""What botocore raises -> an `AwsError` that says what happened, why, and what to do next. Imports botocore only."""

from __future__ import annotations

import re

from botocore import exceptions as b

from cwnotify.errors import AwsError

_DENIED = ("AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "AuthorizationError", "Forbidden", "403")
_EXPIRED = ("ExpiredToken", "ExpiredTokenException", "RequestExpired")
_UNKNOWN = ("InvalidClientTokenId", "UnrecognizedClientException", "SignatureDoesNotMatch", "AuthFailure")
# What IAM calls otherwise than the API does.
ACTIONS = {
    "s3:HeadBucket": "s3:ListBucket",
    "s3:ListObjectsV2": "s3:ListBucket",
    "s3:HeadObject": "s3:GetObject",
    "s3:DeleteObjects": "s3:DeleteObject",
    "lambda:Invoke": "lambda:InvokeFunction",
}
_NO_CREDENTIALS = (
    b.NoCredentialsError,
    b.PartialCredentialsError,
    b.CredentialRetrievalError,
    b.ProfileNotFound,
    b.TokenRetrievalError,
    b.UnauthorizedSSOTokenError,
    b.SSOTokenLoadError,
)


def refusal(error: Exception, service: str) -> AwsError:
    """Say what `error`, which an operation of `service` raised, means."""
    if isinstance(error, b.ClientError):
        return _answered(error, service)
    if isinstance(error, _NO_CREDENTIALS):
        return AwsError(f"no AWS credentials can be used ({error}); try: aws configure, or give the instance a role")
    if isinstance(error, b.NoRegionError):
        return AwsError("no AWS region is set; set AWS_REGION, or: aws configure set region ap-northeast-2")
    if isinstance(error, b.EndpointConnectionError | b.ConnectionError | b.HTTPClientError):
        return AwsError(f"AWS ({service}) could not be reached: {error}")
    return AwsError(f"AWS ({service}) could not be asked: {error}")


def denied_action(error: b.ClientError, service: str) -> str:
    """The IAM action that is missing: as AWS names it, else as it follows from what was asked."""
    named = re.search(r"perform:? '?([a-z0-9-]+:\w+)", str(error.response.get("Error", {}).get("Message", "")))
    asked = f"{service}:{error.operation_name}"
    return named[1] if named else ACTIONS.get(asked, asked)


def _answered(error: b.ClientError, service: str) -> AwsError:
    detail = error.response.get("Error", {})
    code, said = str(detail.get("Code", "")), str(detail.get("Message", ""))
    if code in _DENIED:
        action = denied_action(error, service)
        return AwsError(f"AWS denies {action}; have it added to your policy: cwnotify policy deployer", code)
    if code in _EXPIRED:
        return AwsError(f"the AWS credentials have expired ({code}); sign in again", code)
    if code in _UNKNOWN:
        return AwsError(f"AWS does not know these credentials ({code}); check AWS_PROFILE or try: aws configure", code)
    return AwsError(f"AWS refused {service}:{error.operation_name}: {said or code}", code)
