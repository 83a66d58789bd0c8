"""The CloudFormation template: built as data, sent as JSON, and read back from the deployed stack. Pure.

Its `Metadata` records the instances and rules of the stack, so the template is also the record of what is deployed. All
other settings are parameters.

The text is ASCII only, because GetTemplate returns a question mark for every other character:
https://github.com/aws-cloudformation/cloudformation-coverage-roadmap/issues/1220
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from cwnotify.deploy.alarm_rules import AlarmRule
from cwnotify.deploy.spec import InstanceWatch
from cwnotify.deploy.template_resources import (
    CONDITIONS,
    OUTPUTS,
    PARAMETERS,
    build_alarm_resources,
    build_rule_resources,
    build_stack_resources,
)

# A longer template must come from a bucket:
# https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cloudformation-limits.html
MAX_TEMPLATE_BODY_BYTES = 51_200
MAX_STACK_RESOURCES = 500
_METADATA_KEY = "cwnotify"
_DESCRIPTION = 'cwnotify: CloudWatch alarms in Slack. Created by "cwnotify deploy"; remove it with "cwnotify teardown".'

Template = Mapping[str, Any]


def build_template(
    watches: Iterable[InstanceWatch], rules: Iterable[AlarmRule] = (), excluded: Sequence[str] = ()
) -> dict[str, Any]:
    """Return the template.

    Parameters
    ----------
    watches
        The instances, and how each is watched.
    rules
        The rules for alarms that existed before the stack.
    excluded
        ARNs of alarms that the fleet's rule does not match, whatever their names.
    """
    watches, rules = tuple(watches), tuple(rules)
    resources = build_stack_resources(excluded)
    for rule in rules:
        resources |= build_rule_resources(rule)
    for watch in watches:
        resources |= build_alarm_resources(watch)
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": _DESCRIPTION,
        "Metadata": {
            _METADATA_KEY: {
                "instances": [_to_metadata(watch) for watch in watches],
                "rules": [{"number": rule.number, "alarms": list(rule.alarms)} for rule in rules],
            }
        },
        "Parameters": PARAMETERS,
        "Conditions": CONDITIONS,
        "Resources": resources,
        "Outputs": OUTPUTS,
    }


def dump_template(template: Template) -> str:
    """Return the template's text: ASCII, compact, and in the same order every time."""
    return json.dumps(template, separators=(",", ":"))


def has_metadata(template: Template) -> bool:
    """Return whether the template records what it deploys. The YAML templates of earlier versions do not."""
    return _METADATA_KEY in template.get("Metadata", {})


def parse_instance_watches(template: Template) -> tuple[InstanceWatch, ...]:
    """Return the instances that a template watches, and how; none if it does not record any."""
    return tuple(
        InstanceWatch(**{**fields, "threshold": float(fields["threshold"]), "idle": float(fields["idle"])})
        for fields in _read_metadata(template).get("instances", ())
    )


def parse_alarm_rules(template: Template) -> tuple[AlarmRule, ...]:
    """Return a template's rules for alarms that existed before the stack; none if it does not record any."""
    rules = _read_metadata(template).get("rules", ())
    return tuple(AlarmRule(rule["number"], tuple(rule["alarms"])) for rule in rules)


def list_changed_resources(old: Template, new: Template) -> tuple[str, ...]:
    """Return the names of the resources that differ between two templates."""
    before, after = old.get("Resources", {}), new.get("Resources", {})
    return tuple(name for name in {**before, **after} if before.get(name) != after.get(name))


def _to_metadata(watch: InstanceWatch) -> dict[str, object]:
    # cfn-lint allows no fractions in Metadata, so percentages are text.
    return {**asdict(watch), "threshold": str(watch.threshold), "idle": str(watch.idle)}


def _read_metadata(template: Template) -> Mapping[str, Any]:
    metadata: Mapping[str, Any] = template.get("Metadata", {}).get(_METADATA_KEY, {})
    return metadata
