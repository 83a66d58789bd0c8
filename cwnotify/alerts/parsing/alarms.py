"""The three shapes in which AWS tells that an alarm changed -> `AlarmStateChange`. Pure, and total: never raises.

- what CloudWatch publishes to SNS (``AlarmName``, ``NewStateValue``, ``Trigger``);
- what EventBridge carries (``detail`` with ``state``, ``previousState``, ``configuration``);
- what an alarm's Lambda action is given (the same, called ``alarmData``).

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

# One of these, beside a name, makes a mapping an alarm's change and not just something with a name.
_PUBLISHED = {"newstatevalue", "newstatereason", "oldstatevalue", "statechangetime", "trigger", "alarmrule"}
# SNS alone writes these in capitals.
_STATISTICS = {
    "AVERAGE": "Average",
    "SUM": "Sum",
    "MINIMUM": "Minimum",
    "MAXIMUM": "Maximum",
    "SAMPLE_COUNT": "SampleCount",
    "SAMPLECOUNT": "SampleCount",
}

# AWS allows 50 tags, and 10 metrics and 20 queries, for an alarm.
_MAX_TAGS = 50
_MAX_TAG = 256  # characters
_MAX_METRICS = 100

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    T = TypeVar("T")


@frozen
class EnvelopeContext:
    """What the envelopes around a message tell, for what the message itself leaves out."""

    id: str = ""
    topic_arn: str = ""
    subject: str = ""
    at: float | None = None
    region: str = ""
    error: str = ""


@frozen
class _Told:
    """What the shapes spell differently; the rest of an alarm is read from `config`, which they share."""

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


def parse_alarm_state_change(message: JsonObject, carrier: EnvelopeContext) -> AlarmStateChange | None:
    """Read an alarm's change; None if `message` (its keys in lower case) is none."""
    if "alarmdata" in message:
        told = _told_by_event(message, as_json_object(message["alarmdata"]), carrier)
    elif "detail-type" in message:
        # A change of an alarm's configuration looks the same, but nothing happened to what it watches.
        if not first_text(message["detail-type"]).lower().endswith("state change"):
            return None
        told = _told_by_event(message, as_json_object(message.get("detail")), carrier)
    elif isinstance(message.get("state"), dict) and "operation" not in message:
        told = _told_by_event({}, message, carrier)
    elif message.keys() & _PUBLISHED:
        told = _published(message, carrier)
    else:
        return None
    return _alarm(told, carrier, by_rule="detail-type" in message and not carrier.topic_arn) if told.name else None


def _published(message: JsonObject, carrier: EnvelopeContext) -> _Told:
    arn = first_text(message.get("alarmarn"))
    return _Told(
        name=first_text(message.get("alarmname"), parse_arn(arn).alarm_name),
        after=_state(message.get("newstatevalue")),
        before=_state(message.get("oldstatevalue")),
        at=_first(first_timestamp(message.get("statechangetime")), carrier.at),
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
        tags=_tags(message.get("alarmtags"), message.get("tags")),
        evaluation_state=first_text(
            message.get("evaluationstate"), as_json_object(message.get("trigger")).get("evaluationstate")
        ),
        log_lines=find_log_lines(message, as_json_object(message.get("trigger"))),
    )


def _told_by_event(event: JsonObject, detail: JsonObject, carrier: EnvelopeContext) -> _Told:
    resources = event.get("resources")
    arn = first_text(event.get("alarmarn"), detail.get("alarmarn"), *(resources if isinstance(resources, list) else ()))
    state, config = as_json_object(detail.get("state")), as_json_object(detail.get("configuration"))
    previous, contributor = as_json_object(detail.get("previousstate")), as_json_object(detail.get("alarmcontributor"))
    at = _first(first_timestamp(state.get("timestamp"), event.get("time")), carrier.at)
    return _Told(
        name=first_text(detail.get("alarmname"), parse_arn(arn).alarm_name),
        after=_state(state.get("value")),
        before=_state(previous.get("value")),
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
        before_since=_earlier(first_timestamp(previous.get("timestamp")), at),
        suppression_ended=_suppression_ended(previous, state, config),
        tags=_tags(detail.get("alarmtags"), event.get("alarmtags"), config.get("alarmtags"), config.get("tags")),
        evaluation_state=first_text(
            state.get("evaluationstate"), detail.get("evaluationstate"), config.get("evaluationstate")
        ),
        log_lines=find_log_lines(detail, state, event, config),
    )


def _alarm(told: _Told, carrier: EnvelopeContext, by_rule: bool) -> AlarmStateChange:
    alarm = _read(told, carrier)
    # An alarm that was never in ALARM has no contributor to return to OK.
    if by_rule and alarm.is_summary and AlarmState.ALARM in (alarm.after, alarm.before):
        return AlarmStateChange(**{**vars(alarm), "contributors_follow": True})
    return alarm


def _read(told: _Told, carrier: EnvelopeContext) -> AlarmStateChange:
    config = told.config
    comparison = first_text(config.get("comparisonoperator"))
    seen = parse_state_reason(
        told.reason, told.reason_data, told.after, comparison, first_number(config.get("threshold"))
    )
    query = parse_alarm_query(config)
    place = _place(told, carrier)
    metrics = _metrics(config, place.account)
    metric = _compared(metrics)
    n = first_positive_int(config.get("evaluationperiods"), query.evaluation_periods)
    return AlarmStateChange(
        name=told.name,
        after=told.after,
        before=told.before,
        at=told.at,
        description=told.description,
        reason=told.reason,
        arn=told.arn if place.alarm_name else "",
        account=place.account,
        region=place.region,
        partition=place.partition,
        value=seen.value,
        threshold=seen.threshold,
        comparison=seen.comparison,
        lower=seen.lower,
        upper=seen.upper,
        datapoints_to_alarm=first_positive_int(
            config.get("datapointstoalarm"), query.datapoints_to_alarm, seen.datapoints_to_alarm, n
        ),
        evaluation_periods=first_positive_int(n, seen.evaluation_periods),
        # Older messages hold a line of the mail: "- TreatMissingData:          missing".
        treat_missing_data=first_text(config.get("treatmissingdata")).rpartition(":")[2].strip(),
        metric=metric.name or query.aggregation,
        namespace=metric.namespace,
        dimensions=metric.dimensions,
        statistic=metric.statistic or ("" if metric.expression else seen.statistic),
        period=metric.period or seen.period or query.period,
        unit=metric.unit,
        instance=next((one.value for one in metric.dimensions if one.name == "InstanceId"), ""),
        metrics=metrics if any(one.expression or one.account for one in metrics) else (),
        rule=told.rule,
        children=told.children or seen.children,
        contributor=told.contributor,
        contributor_id=told.contributor_id,
        held_back=told.held_back,
        muted_by=_muted_by(told.mute),
        muted_until=first_timestamp(told.mute.get("mutewindowend")),
        before_since=told.before_since,
        recent=seen.recent,
        no_data=seen.no_data,
        suppression_ended=told.suppression_ended,
        tags=told.tags,
        query=query.text,
        log_groups=query.log_groups,
        log_lines=told.log_lines,
        pending_period=query.pending_period,
        recovery_period=query.recovery_period,
        evaluation_state=told.evaluation_state,
    )


def _place(told: _Told, carrier: EnvelopeContext) -> Arn:
    """The alarm's ARN, its gaps filled from the topic's, then from what the message says in words."""
    arn, topic = parse_arn(told.arn), parse_arn(carrier.topic_arn)
    region = arn.region or topic.region or parse_region_code(told.region) or carrier.region
    return Arn(
        partition=arn.partition or topic.partition or partition_of_region(region),
        region=region or told.region,
        account=told.account or arn.account or topic.account,
        resource=arn.resource,
    )


def _compared(metrics: tuple[WatchedMetric, ...]) -> WatchedMetric:
    """What is compared; an expression goes by its label and has what all its metrics have in common."""
    # A statistic comes before the band that it is compared with.
    ranked = sorted(metrics, key=lambda one: (not one.compared, bool(one.expression)))
    if not ranked:
        return WatchedMetric()
    first, parts = ranked[0], [one for one in metrics if not one.expression]
    if not first.expression:
        return first
    return WatchedMetric(
        name=first.label or first.expression,
        expression=first.expression,
        namespace=_common([one.namespace for one in parts]) or "",
        dimensions=_common([one.dimensions for one in parts]) or (),
        period=first.period or _common([one.period for one in parts]),
    )


def _common(values: list[T]) -> T | None:
    return values[0] if values and all(value == values[0] for value in values) else None


def _metrics(config: JsonObject, own: str) -> tuple[WatchedMetric, ...]:
    """The one metric of the configuration itself, or those that it lists; `own` is the alarm's account."""
    if first_text(config.get("metricname")):
        return (_metric({"metricstat": {**config, "metric": config}}, own),)
    return tuple(_metric(one, own) for one in as_json_objects(config.get("metrics"))[:_MAX_METRICS])


def _metric(query: JsonObject, own: str) -> WatchedMetric:
    stat = as_json_object(query.get("metricstat"))
    metric = as_json_object(stat.get("metric"))
    statistic = first_text(stat.get("stat"), stat.get("extendedstatistic"), stat.get("statistic"))
    account = first_text(query.get("accountid"))
    return WatchedMetric(
        id=first_text(query.get("id")),
        name=first_text(metric.get("metricname"), metric.get("name")),
        namespace=first_text(metric.get("namespace")),
        dimensions=parse_dimensions(metric.get("dimensions")),
        statistic=_STATISTICS.get(statistic, statistic),
        period=first_number(stat.get("period"), query.get("period")),
        unit=first_text(stat.get("unit")),
        expression=first_text(query.get("expression")),
        label=first_text(query.get("label")),
        compared=query.get("returndata") is not False,
        account="" if account == own else account,
    )


def _tags(*values: object) -> tuple[Tag, ...]:
    """An alarm's tags from the first value that has any: a mapping, or a list of ``{Key, Value}``."""
    for value in values:
        pairs: list[tuple[object, object]] = [
            (item.get("key", item.get("name")), item.get("value")) for item in as_json_objects(value)
        ]
        if isinstance(value, dict):
            pairs = list(value.items())
        tags = tuple(
            Tag(first_text(key)[: _MAX_TAG + REDACTION_MARGIN], first_text(given)[: _MAX_TAG + REDACTION_MARGIN])
            for key, given in pairs[:_MAX_TAGS]
            if first_text(key)
        )
        if tags:
            return tags
    return ()


def _suppression_ended(previous: JsonObject, state: JsonObject, config: JsonObject) -> str:
    """What held the alarm's actions back until this event, in which nothing else changed."""
    suppressor = first_text(previous.get("actionssuppressedby"))
    same = _state(previous.get("value")) == _state(state.get("value"))
    if not suppressor or not same or first_text(state.get("actionssuppressedby")):
        return ""
    if suppressor.lower() != "alarm":
        return suppressor
    alarm = first_text(config.get("actionssuppressor"))
    return parse_arn(alarm).alarm_name or alarm or suppressor


def _earlier(since: float | None, at: float | None) -> float | None:
    """A time, unless it is later than the change that it came before."""
    return None if since is not None and at is not None and since > at else since


def _state(value: object) -> str:
    """A state as CloudWatch spells it; an unknown word stays what it is."""
    word = first_text(value)
    return AlarmState(word.upper()) if word.upper() in AlarmState.__members__ else word


def _muted_by(mute: JsonObject) -> str:
    """The mute rule's name: the end of ``arn:...:alarm-mute-rule:NAME``."""
    arn = first_text(mute.get("mutedbyarn"))
    return parse_arn(arn).resource.partition(":")[2] or arn


def _first(*values: float | None) -> float | None:
    return next((value for value in values if value is not None), None)
