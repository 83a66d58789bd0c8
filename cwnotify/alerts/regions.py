"""Parse ARNs and region names, and link to the console of the right partition. Pure.

The link to an alarm is the one in CloudWatch's own mails (checked on 2026-11-22).
Partitions: https://docs.aws.amazon.com/whitepapers/latest/aws-fault-isolation-boundaries/partitions.html
"""

from __future__ import annotations

import re
from urllib.parse import quote

from cwnotify.alerts.light_dataclass import frozen

_CONSOLE_HOSTS = {
    "aws": "console.aws.amazon.com",
    "aws-cn": "console.amazonaws.cn",
    "aws-us-gov": "console.amazonaws-us-gov.com",
}

# By the last letters of the display name, because its beginning varies: "EU (Ireland)", "Europe (Ireland)".
# The names are from botocore's endpoints.json.
_CODES_BY_ENDING = {
    "capetown": "af-south-1",
    "hongkong": "ap-east-1",
    "taipei": "ap-east-2",
    "tokyo": "ap-northeast-1",
    "seoul": "ap-northeast-2",
    "osaka": "ap-northeast-3",
    "osakalocal": "ap-northeast-3",
    "mumbai": "ap-south-1",
    "hyderabad": "ap-south-2",
    "singapore": "ap-southeast-1",
    "sydney": "ap-southeast-2",
    "jakarta": "ap-southeast-3",
    "melbourne": "ap-southeast-4",
    "malaysia": "ap-southeast-5",
    "newzealand": "ap-southeast-6",
    "thailand": "ap-southeast-7",
    "canadacentral": "ca-central-1",
    "calgary": "ca-west-1",
    "frankfurt": "eu-central-1",
    "zurich": "eu-central-2",
    "stockholm": "eu-north-1",
    "milan": "eu-south-1",
    "spain": "eu-south-2",
    "ireland": "eu-west-1",
    "london": "eu-west-2",
    "paris": "eu-west-3",
    "telaviv": "il-central-1",
    "uae": "me-central-1",
    "bahrain": "me-south-1",
    "mexicocentral": "mx-central-1",
    "saopaulo": "sa-east-1",
    "sopaulo": "sa-east-1",  # São without its non-ASCII letter
    "nvirginia": "us-east-1",
    "northernvirginia": "us-east-1",
    "ohio": "us-east-2",
    "ncalifornia": "us-west-1",
    "northerncalifornia": "us-west-1",
    "oregon": "us-west-2",
    "beijing": "cn-north-1",
    "ningxia": "cn-northwest-1",
    "govclouduseast": "us-gov-east-1",
    "govclouduswest": "us-gov-west-1",
    "govcloudus": "us-gov-west-1",
    "sovereigncloudgermany": "eusc-de-east-1",
}


# A code as AWS spells it, possibly between other words.
_REGION_PATTERN = (
    r"(?<![a-z0-9])((?:af|ap|ca|cn|eu|eusc-de|il|me|mx|sa|us|us-gov|us-iso[a-z]?)-"
    r"(?:north|south|east|west|central|northeast|northwest|southeast|southwest)-[0-9]{1,2})(?![0-9])"
)


@frozen
class Arn:
    """The parts of an ARN. Parts that cannot be parsed are empty."""

    partition: str = ""
    region: str = ""
    account: str = ""
    resource: str = ""

    @property
    def alarm_name(self) -> str:
        """The alarm's name, which may contain colons."""
        kind, _, name = self.resource.partition(":")
        return name if kind == "alarm" else ""


def parse_arn(text: str) -> Arn:
    """Parse an ARN. Placeholders such as ``REGION`` in AWS's own examples count as empty."""
    parts = [part.strip() for part in text.split(":", 5)]
    if len(parts) < 6 or parts[0] != "arn":
        return Arn()
    _, partition, _, region, account, resource = parts
    return Arn(
        partition if re.fullmatch(r"aws[a-z-]{0,20}", partition) else "",
        region if is_region_code(region) else "",
        account if re.fullmatch(r"\d{1,20}", account, re.ASCII) else "",
        resource,
    )


def is_region_code(text: str) -> bool:
    """Return whether `text` has the form of a region code, so that a link may contain it."""
    return re.fullmatch(r"[a-z]{2,4}(-[a-z]{2,12}){1,3}-[0-9]{1,2}", text) is not None


def parse_region_code(text: str) -> str:
    """Return a region's code from any spelling of its code or display name; empty if unknown."""
    name = text[:100].strip().lower()
    if is_region_code(name):
        return name
    # "US-East-2", "us_east_2", "US East 2", "Asia Pacific (Seoul) ap-northeast-2", an availability zone.
    code = re.search(_REGION_PATTERN, re.sub(r"[\s_]+", "-", name)) or re.search(_REGION_PATTERN, name)
    if code:
        return code[1]
    # Names in the secret partitions end like others: "US ISOB East (Ohio)".
    letters = "" if re.search(r"\biso[a-z]?\b", name) else re.sub("[^a-z]", "", name)
    endings = (letters[start:] for start in range(len(letters)))
    return next((_CODES_BY_ENDING[ending] for ending in endings if ending in _CODES_BY_ENDING), "")


def region_of_zone(zone: str) -> str:
    """Return the region of an availability zone (``ap-northeast-2a``) or local zone (``us-west-2-lax-1a``), or ""."""
    match = re.match(r"[a-z]{2,4}(-[a-z]{2,12}){1,3}-[0-9]{1,2}(?=[a-z]|-|$)", zone)
    return match[0] if match else ""


def partition_of_region(region: str) -> str:
    """Return the partition of a region."""
    isolated = re.match("[a-z]{2}-iso([a-z]?)-", region)
    if isolated:
        return f"aws-iso-{isolated[1]}".removesuffix("-")
    partitions = {"cn-": "aws-cn", "us-gov-": "aws-us-gov", "eusc-": "aws-eusc"}
    return next((name for prefix, name in partitions.items() if region.startswith(prefix)), "aws")


def alarm_console_url(name: str, region: str, partition: str) -> str:
    """Return a link to the alarm `name`, or to all alarms if `name` is empty; "" if the partition has no console."""
    anchor = f"alarmsV2:alarm/{_quote(name)}" if name else "alarmsV2:"
    return _make_link(
        "cloudwatch/deeplink.js" if is_region_code(region) else "cloudwatch/home", anchor, region, partition
    )


def instance_console_url(instance: str, region: str, partition: str) -> str:
    """Return a link to an EC2 instance; "" if the partition has no console."""
    return _make_link("ec2/home", f"InstanceDetails:instanceId={_quote(instance)}", region, partition)


def _make_link(path: str, anchor: str, region: str, partition: str) -> str:
    host = _CONSOLE_HOSTS.get(partition, "")
    if not host:
        return ""
    if not is_region_code(region):
        # The console then opens in the region that was used last.
        return f"https://{host}/{path}#{anchor}"
    return f"https://{region}.{host}/{path}?region={region}#{anchor}"


def _quote(text: str) -> str:
    return quote(text, safe="", errors="replace")
