"""Read webhooks from AWS: SSM parameters and Secrets Manager secrets. boto3 through `cwnotify.aws.session`."""

from __future__ import annotations

from cwnotify.aws.session import AwsSession
from cwnotify.errors import AwsError, SettingsError
from cwnotify.settings import REFERENCE_PREFIXES, Secret, parse_webhook


def read_ssm_webhook(aws: AwsSession, name: str) -> Secret | None:
    """What a parameter holds; None where there is none."""
    found = aws.call_or_none("ssm", "get_parameter", ("ParameterNotFound",), Name=name, WithDecryption=True)
    return Secret(found["Parameter"]["Value"]) if found else None


def resolve_webhook_reference(aws: AwsSession, reference: str) -> Secret:
    """The webhook that is kept under ``ssm:/name`` or ``secretsmanager:name``.

    Raises
    ------
    AwsError
        If AWS cannot be asked, or has nothing of that name here.
    SettingsError
        If what is there is no webhook.
    """
    store, _, name = reference.partition(":")
    if store == "ssm":
        found = aws.call_or_none("ssm", "get_parameter", ("ParameterNotFound",), Name=name, WithDecryption=True)
        text = found["Parameter"]["Value"] if found else None
        missing = f"put it there with: aws ssm put-parameter --type SecureString --name {name} --value …"
    else:
        found = aws.call_or_none("secretsmanager", "get_secret_value", ("ResourceNotFoundException",), SecretId=name)
        text = (found.get("SecretString") or found.get("SecretBinary", "")) if found else None
        missing = f"put it there with: aws secretsmanager create-secret --name {name} --secret-string …"
    if text is None:
        raise AwsError(f"{aws.region} has nothing of this name", hint=missing)
    webhook = parse_webhook(text, reference, allow_missing_scheme=True)
    if webhook.reveal().startswith(REFERENCE_PREFIXES):
        raise SettingsError(f"{reference} holds the name of another place instead of a webhook")
    return webhook
