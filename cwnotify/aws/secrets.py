"""Read the webhook from Parameter Store or Secrets Manager. boto3 through `AwsSession`."""

from __future__ import annotations

from cwnotify.aws.session import AwsSession
from cwnotify.errors import AwsError, SettingsError
from cwnotify.settings import REFERENCE_PREFIXES, Secret, parse_webhook


def read_ssm_webhook(aws: AwsSession, name: str) -> Secret | None:
    """Return a parameter's value; None if it does not exist."""
    response = aws.call_or_none("ssm", "get_parameter", ("ParameterNotFound",), Name=name, WithDecryption=True)
    return Secret(response["Parameter"]["Value"]) if response else None


def resolve_webhook_reference(aws: AwsSession, reference: str) -> Secret:
    """Return the webhook that is stored under ``ssm:/name`` or ``secretsmanager:name``.

    Raises
    ------
    AwsError
        If the request failed, or nothing of that name exists in this region.
    SettingsError
        If the stored value is not a webhook.
    """
    store, _, name = reference.partition(":")
    if store == "ssm":
        response = aws.call_or_none("ssm", "get_parameter", ("ParameterNotFound",), Name=name, WithDecryption=True)
        text = response["Parameter"]["Value"] if response else None
        hint = f"put it there with: aws ssm put-parameter --type SecureString --name {name} --value …"
    else:
        missing = ("ResourceNotFoundException",)
        response = aws.call_or_none("secretsmanager", "get_secret_value", missing, SecretId=name)
        text = (response.get("SecretString") or response.get("SecretBinary", "")) if response else None
        hint = f"put it there with: aws secretsmanager create-secret --name {name} --secret-string …"
    if text is None:
        raise AwsError(f"{aws.region} has nothing of this name", hint=hint)
    webhook = parse_webhook(text, reference, allow_missing_scheme=True)
    if webhook.reveal().startswith(REFERENCE_PREFIXES):
        raise SettingsError(
            f"{reference} holds the name of another place instead of a webhook", hint="store the webhook's URL there"
        )
    return webhook
