"""Read an alarm's state change from the three forms that AWS sends. Pure. Never raises.

- CloudWatch publishes to SNS: ``AlarmName``, ``NewStateValue``, ``Trigger``.
- EventBridge sends ``detail`` with ``state``, ``previousState``, ``configuration``.
- An alarm's Lambda action gets the same, named ``alarmData``.

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch-and-eventbridge.html and
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-actions-Lambda.html
"""

from __future__ import annotations

from cwnotify.alerts.events.alarms import AlarmState, AlarmStateChange, ChildAlarm, Dimension, Tag, WatchedMetric
from cwnotify.alerts.light_dataclass import frozen
from cwnotify.alerts.parsing.alarm_queries import find_log_lines, parse_alarm_query
from cwnotify.alerts.parsing.lenient_json import (
    JsonObject,
    as_json_object,
    as_json_objects,
    first_number,
    first_positive_int,
    first_text,
    first_timestamp,
    parse_dimensions,
)
from cwnotify.alerts.parsing.state_reason import parse_child_alarms, parse_state_reason
from cwnotify.alerts.regions import Arn, parse_arn, parse_region_code, partition_of_region
from cwnotify.alerts.text_limits import REDACTION_MARGIN

# A message with one of these keys is an alarm's change, and not just something with a name.
_SNS_KEYS = {"newstatevalue", "newstatereason", "oldstatevalue", "statechangetime", "trigger", "alarmrule"}
# Only SNS writes these in capitals.
_STATISTIC_NAMES = {
    "AVERAGE": "Average",
    "SUM": "Sum",
    "MINIMUM": "Minimum",
    "MAXIMUM": "Maximum",
    "SAMPLE_COUNT": "SampleCount",
    "SAMPLECOUNT": "SampleCount",
}

# AWS allows 50 tags for an alarm, and 10 metrics and 20 queries.
_MAX_TAGS = 50
_MAX_TAG_LENGTH = 256
_MAX_METRICS = 100

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    T = TypeVar("T")


@frozen
class EnvelopeContext:
    """Facts from the envelopes around a message. They fill the gaps of the message itself."""

    id: str = ""
    topic_arn: str = ""
    subject: str = ""
    at: float | None = None
    region: str = ""
    error: str = ""


@frozen
class _AlarmFields:
    """The fields that the forms spell differently. The rest of an alarm is in `config`, which they share."""

    name: str
    after: str
    before: str
    at: float | None
    reason: str
    reason_data: object
    description: str
    arn: str
    account: str
    region: str
    config: JsonObject
    mute: JsonObject
    rule: str
    contributor: tuple[Dimension, ...]
    contributor_id: str
    children: tuple[ChildAlarm, ...] = ()
    held_back: str = ""
    before_since: float | None = None
    suppression_ended: str = ""
    tags: tuple[Tag, ...] = ()
    evaluation_state: str = ""
    log_lines: tuple[str, ...] = ()


def parse_alarm_state_change(message: JsonObject, context: EnvelopeContext) -> AlarmStateChange | None:
    """Return an alarm's change; None if `message` (with keys in lower case) is something else."""
    if "alarmdata" in message:
        fields = _parse_event_form(message, as_json_object(message["alarmdata"]), context)
    elif "detail-type" in message:
        # A change of an alarm's configuration looks the same, but its state did not change.
        if not first_text(message["detail-type"]).lower().endswith("state change"):
            return None
        fields = _parse_event_form(message, as_json_object(message.get("detail")), context)
    elif isinstance(message.get("state"), dict) and "operation" not in message:
        fields = _parse_event_form({}, message, context)
    elif message.keys() & _SNS_KEYS:
        fields = _parse_sns_form(message, context)
    else:
        return None
    if not fields.name:
        return None
    return _build_event(fields, context, is_from_rule="detail-type" in message and not context.topic_arn)


def _parse_sns_form(message: JsonObject, context: EnvelopeContext) -> _AlarmFields:
    arn = first_text(message.get("alarmarn"))
    return _AlarmFields(
        name=first_text(message.get("alarmname"), parse_arn(arn).alarm_name),
        after=_parse_state(message.get("newstatevalue")),
        before=_parse_state(message.get("oldstatevalue")),
        at=_first_time(first_timestamp(message.get("statechangetime")), context.at),
        reason=first_text(message.get("newstatereason")),
        reason_data=message.get("newstatereasondata"),
        description=first_text(message.get("alarmdescription")),
        arn=arn,
        account=first_text(message.get("awsaccountid")),
        region=first_text(message.get("region")),
        config=as_json_object(message.get("trigger")),
        mute=as_json_object(message.get("mutedetail")),
        rule=first_text(message.get("alarmrule")),
        contributor=parse_dimensions(message.get("alarmcontributorattributes")),
        contributor_id=first_text(message.get("alarmcontributorid")),
        children=parse_child_alarms(message.get("triggeringchildren")),
        tags=_parse_tags(message.get("alarmtags"), message.get("tags")),
        evaluation_state=first_text(
            message.get("evaluationstate"), as_json_object(message.get("trigger")).get("evaluationstate")
        ),
        log_lines=find_log_lines(message, as_json_object(message.get("trigger"))),
    )


def _parse_event_form(event: JsonObject, detail: JsonObject, context: EnvelopeContext) -> _AlarmFields:
    resources = event.get("resources")
    arn = first_text(event.get("alarmarn"), detail.get("alarmarn"), *(resources if isinstance(resources, list) else ()))
    state, config = as_json_object(detail.get("state")), as_json_object(detail.get("configuration"))
    previous, contributor = as_json_object(detail.get("previousstate")), as_json_object(detail.get("alarmcontributor"))
    at = _first_time(first_timestamp(state.get("timestamp"), event.get("time")), context.at)
    return _AlarmFields(
        name=first_text(detail.get("alarmname"), parse_arn(arn).alarm_name),
        after=_parse_state(state.get("value")),
        before=_parse_state(previous.get("value")),
        at=at,
        reason=first_text(state.get("reason")),
        reason_data=state.get("reasondata"),
        description=first_text(config.get("description")),
        arn=arn,
        account=first_text(event.get("account"), event.get("accountid")),
        region=first_text(event.get("region")),
        config=config,
        mute=as_json_object(detail.get("mutedetail")),
        rule=first_text(config.get("alarmrule")),
        contributor=parse_dimensions(contributor.get("attributes")),
        contributor_id=first_text(contributor.get("id")),
        held_back=first_text(state.get("actionssuppressedreason"), state.get("actionssuppressedby")),
        before_since=_unless_later(first_timestamp(previous.get("timestamp")), at),
        suppression_ended=_find_ended_suppression(previous, state, config),
        tags=_parse_tags(detail.get("alarmtags"), event.get("alarmtags"), config.get("alarmtags"), config.get("tags")),
        evaluation_state=first_text(
            state.get("evaluationstate"), detail.get("evaluationstate"), config.get("evaluationstate")
        ),
        log_lines=find_log_lines(detail, state, event, config),
    )


def _build_event(fields: _AlarmFields, context: EnvelopeContext, is_from_rule: bool) -> AlarmStateChange:
    alarm = _build_alarm(fields, context)
    # An alarm that was never in ALARM has no contributor that returns to OK.
    if is_from_rule and alarm.is_summary and AlarmState.ALARM in (alarm.after, alarm.before):
        return AlarmStateChange(**{**vars(alarm), "contributors_follow": True})
    return alarm


def _build_alarm(fields: _AlarmFields, context: EnvelopeContext) -> AlarmStateChange:
    config = fields.config
    comparison = first_text(config.get("comparisonoperator"))
    reason = parse_state_reason(
        fields.reason, fields.reason_data, fields.after, comparison, first_number(config.get("threshold"))
    )
    query = parse_alarm_query(config)
    arn = _complete_arn(fields, context)
    metrics = _parse_metrics(config, arn.account)
    metric = _choose_compared(metrics)
    n = first_positive_int(config.get("evaluationperiods"), query.evaluation_periods)
    return AlarmStateChange(
        name=fields.name,
        after=fields.after,
        before=fields.before,
        at=fields.at,
        description=fields.description,
        reason=fields.reason,
        arn=fields.arn if arn.alarm_name else "",
        account=arn.account,
        region=arn.region,
        partition=arn.partition,
        value=reason.value,
        threshold=reason.threshold,
        comparison=reason.comparison,
        lower=reason.lower,
        upper=reason.upper,
        datapoints_to_alarm=first_positive_int(
            config.get("datapointstoalarm"), query.datapoints_to_alarm, reason.datapoints_to_alarm, n
        ),
        evaluation_periods=first_positive_int(n, reason.evaluation_periods),
        # Older messages contain a line of the mail: "- TreatMissingData:          missing".
        treat_missing_data=first_text(config.get("treatmissingdata")).rpartition(":")[2].strip(),
        metric=metric.name or query.aggregation,
        namespace=metric.namespace,
        dimensions=metric.dimensions,
        statistic=metric.statistic or ("" if metric.expression else reason.statistic),
        period=metric.period or reason.period or query.period,
        unit=metric.unit,
        instance=next((item.value for item in metric.dimensions if item.name == "InstanceId"), ""),
        metrics=metrics if any(item.expression or item.account for item in metrics) else (),
        rule=fields.rule,
        children=fields.children or reason.children,
        contributor=fields.contributor,
        contributor_id=fields.contributor_id,
        held_back=fields.held_back,
        muted_by=_find_mute_rule(fields.mute),
        muted_until=first_timestamp(fields.mute.get("mutewindowend")),
        before_since=fields.before_since,
        recent=reason.recent,
        no_data=reason.no_data,
        suppression_ended=fields.suppression_ended,
        tags=fields.tags,
        query=query.text,
        log_groups=query.log_groups,
        log_lines=fields.log_lines,
        pending_period=query.pending_period,
        recovery_period=query.recovery_period,
        evaluation_state=fields.evaluation_state,
    )


def _complete_arn(fields: _AlarmFields, context: EnvelopeContext) -> Arn:
    """Return the alarm's ARN. The topic's ARN and then the message's texts fill its gaps."""
    arn, topic = parse_arn(fields.arn), parse_arn(context.topic_arn)
    region = arn.region or topic.region or parse_region_code(fields.region) or context.region
    return Arn(
        partition=arn.partition or topic.partition or partition_of_region(region),
        region=region or fields.region,
        account=fields.account or arn.account or topic.account,
        resource=arn.resource,
    )


def _choose_compared(metrics: tuple[WatchedMetric, ...]) -> WatchedMetric:
    """Return the metric that is compared. An expression gets its label, and what all its metrics have in common."""
    # A statistic comes before the band that it is compared with.
    ranked = sorted(metrics, key=lambda metric: (not metric.compared, bool(metric.expression)))
    if not ranked:
        return WatchedMetric()
    first, parts = ranked[0], [metric for metric in metrics if not metric.expression]
    if not first.expression:
        return first
    return WatchedMetric(
        name=first.label or first.expression,
        expression=first.expression,
        namespace=_common_value([part.namespace for part in parts]) or "",
        dimensions=_common_value([part.dimensions for part in parts]) or (),
        period=first.period or _common_value([part.period for part in parts]),
    )


def _common_value(values: list[T]) -> T | None:
    return values[0] if values and all(value == values[0] for value in values) else None


def _parse_metrics(config: JsonObject, own_account: str) -> tuple[WatchedMetric, ...]:
    """Return the configuration's own metric, or those that it lists."""
    if first_text(config.get("metricname")):
        return (_parse_metric({"metricstat": {**config, "metric": config}}, own_account),)
    return tuple(_parse_metric(query, own_account) for query in as_json_objects(config.get("metrics"))[:_MAX_METRICS])


def _parse_metric(query: JsonObject, own_account: str) -> WatchedMetric:
    stat = as_json_object(query.get("metricstat"))
    metric = as_json_object(stat.get("metric"))
    statistic = first_text(stat.get("stat"), stat.get("extendedstatistic"), stat.get("statistic"))
    account = first_text(query.get("accountid"))
    return WatchedMetric(
        id=first_text(query.get("id")),
        name=first_text(metric.get("metricname"), metric.get("name")),
        namespace=first_text(metric.get("namespace")),
        dimensions=parse_dimensions(metric.get("dimensions")),
        statistic=_STATISTIC_NAMES.get(statistic, statistic),
        period=first_number(stat.get("period"), query.get("period")),
        unit=first_text(stat.get("unit")),
        expression=first_text(query.get("expression")),
        label=first_text(query.get("label")),
        compared=query.get("returndata") is not False,
        account="" if account == own_account else account,
    )


def _parse_tags(*values: object) -> tuple[Tag, ...]:
    """Return an alarm's tags from the first value that has any: a dict, or a list of ``{Key, Value}``."""
    for value in values:
        pairs: list[tuple[object, object]] = [
            (item.get("key", item.get("name")), item.get("value")) for item in as_json_objects(value)
        ]
        if isinstance(value, dict):
            pairs = list(value.items())
        tags = tuple(
            Tag(
                first_text(key)[: _MAX_TAG_LENGTH + REDACTION_MARGIN],
                first_text(content)[: _MAX_TAG_LENGTH + REDACTION_MARGIN],
            )
            for key, content in pairs[:_MAX_TAGS]
            if first_text(key)
        )
        if tags:
            return tags
    return ()


def _find_ended_suppression(previous: JsonObject, state: JsonObject, config: JsonObject) -> str:
    """Return what suppressed the alarm's actions until this event, if nothing else changed."""
    suppressor = first_text(previous.get("actionssuppressedby"))
    is_same_state = _parse_state(previous.get("value")) == _parse_state(state.get("value"))
    if not suppressor or not is_same_state or first_text(state.get("actionssuppressedby")):
        return ""
    if suppressor.lower() != "alarm":
        return suppressor
    alarm = first_text(config.get("actionssuppressor"))
    return parse_arn(alarm).alarm_name or alarm or suppressor


def _unless_later(since: float | None, at: float | None) -> float | None:
    """Return `since`, unless it is later than the change `at`."""
    return None if since is not None and at is not None and since > at else since


def _parse_state(value: object) -> str:
    """Return a state as CloudWatch spells it. An unknown one stays unchanged."""
    state = first_text(value)
    return AlarmState(state.upper()) if state.upper() in AlarmState.__members__ else state


def _find_mute_rule(mute: JsonObject) -> str:
    """Return the mute rule's name, the end of ``arn:...:alarm-mute-rule:NAME``."""
    arn = first_text(mute.get("mutedbyarn"))
    return parse_arn(arn).resource.partition(":")[2] or arn


def _first_time(*values: float | None) -> float | None:
    return next((value for value in values if value is not None), None)
