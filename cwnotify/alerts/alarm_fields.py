"""The three shapes in which AWS tells that an alarm changed -> `AlarmChanged`. Pure, and total: never raises.

- what CloudWatch publishes to SNS (``AlarmName``, ``NewStateValue``, ``Trigger``);
- what EventBridge carries (``detail`` with ``state``, ``previousState``, ``configuration``);
- what an alarm's Lambda action is given (the same, called ``alarmData``).

https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/cloudwatch-and-eventbridge.html and
https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-actions-Lambda.html
"""

from __future__ import annotations

from cwnotify.alerts.alarm_events import AlarmChanged, AlarmState, ChildAlarm, Dimension, WatchedMetric
from cwnotify.alerts.frozen import frozen
from cwnotify.alerts.loose import Node, count, dimensions, moment, node, nodes, number, text
from cwnotify.alerts.reasons import child_alarms, evidence
from cwnotify.alerts.regions import Arn, partition_of, read_arn, region_code

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

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeVar

    T = TypeVar("T")


@frozen
class Carrier:
    """What the envelopes around a message tell, for what the message itself leaves out."""

    id: str = ""
    topic_arn: str = ""
    subject: str = ""
    at: float | None = None


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
    config: Node
    mute: Node
    rule: str
    contributor: tuple[Dimension, ...]
    contributor_id: str
    children: tuple[ChildAlarm, ...] = ()
    held_back: str = ""


def read_alarm(message: Node, carrier: Carrier) -> AlarmChanged | None:
    """Read an alarm's change; None if `message` (its keys in lower case) is none."""
    if "alarmdata" in message:
        told = _told_by_event(message, node(message["alarmdata"]), carrier)
    elif "detail-type" in message:
        # A change of an alarm's configuration looks the same, but nothing happened to what it watches.
        if not text(message["detail-type"]).lower().endswith("state change"):
            return None
        told = _told_by_event(message, node(message.get("detail")), carrier)
    elif isinstance(message.get("state"), dict) and "operation" not in message:
        told = _told_by_event({}, message, carrier)
    elif message.keys() & _PUBLISHED:
        told = _published(message, carrier)
    else:
        return None
    return _alarm(told, carrier) if told.name else None


def _published(message: Node, carrier: Carrier) -> _Told:
    arn = text(message.get("alarmarn"))
    return _Told(
        name=text(message.get("alarmname"), read_arn(arn).alarm),
        after=_state(message.get("newstatevalue")),
        before=_state(message.get("oldstatevalue")),
        at=_first(moment(message.get("statechangetime")), carrier.at),
        reason=text(message.get("newstatereason")),
        reason_data=message.get("newstatereasondata"),
        description=text(message.get("alarmdescription")),
        arn=arn,
        account=text(message.get("awsaccountid")),
        region=text(message.get("region")),
        config=node(message.get("trigger")),
        mute=node(message.get("mutedetail")),
        rule=text(message.get("alarmrule")),
        contributor=dimensions(message.get("alarmcontributorattributes")),
        contributor_id=text(message.get("alarmcontributorid")),
        children=child_alarms(message.get("triggeringchildren")),
    )


def _told_by_event(event: Node, detail: Node, carrier: Carrier) -> _Told:
    resources = event.get("resources")
    arn = text(event.get("alarmarn"), detail.get("alarmarn"), *(resources if isinstance(resources, list) else ()))
    state, config = node(detail.get("state")), node(detail.get("configuration"))
    contributor = node(detail.get("alarmcontributor"))
    return _Told(
        name=text(detail.get("alarmname"), read_arn(arn).alarm),
        after=_state(state.get("value")),
        before=_state(node(detail.get("previousstate")).get("value")),
        at=_first(moment(state.get("timestamp"), event.get("time")), carrier.at),
        reason=text(state.get("reason")),
        reason_data=state.get("reasondata"),
        description=text(config.get("description")),
        arn=arn,
        account=text(event.get("account"), event.get("accountid")),
        region=text(event.get("region")),
        config=config,
        mute=node(detail.get("mutedetail")),
        rule=text(config.get("alarmrule")),
        contributor=dimensions(contributor.get("attributes")),
        contributor_id=text(contributor.get("id")),
        held_back=text(state.get("actionssuppressedreason"), state.get("actionssuppressedby")),
    )


def _alarm(told: _Told, carrier: Carrier) -> AlarmChanged:
    config, seen = told.config, evidence(told.reason, told.reason_data)
    metrics = _metrics(config)
    metric = _compared(metrics)
    place = _place(told, carrier)
    n = count(config.get("evaluationperiods"), seen.evaluation_periods)
    return AlarmChanged(
        name=told.name,
        after=told.after,
        before=told.before,
        at=told.at,
        description=told.description,
        reason=told.reason,
        arn=told.arn if place.alarm else "",
        account=place.account,
        region=place.region,
        partition=place.partition,
        value=seen.value,
        threshold=number(config.get("threshold"), seen.threshold),
        comparison=text(config.get("comparisonoperator"), seen.comparison),
        lower=seen.lower,
        upper=seen.upper,
        datapoints_to_alarm=count(config.get("datapointstoalarm"), seen.datapoints_to_alarm, n),
        evaluation_periods=n,
        # Older messages hold a line of the mail: "- TreatMissingData:          missing".
        treat_missing_data=text(config.get("treatmissingdata")).rpartition(":")[2].strip(),
        metric=metric.name,
        namespace=metric.namespace,
        dimensions=metric.dimensions,
        statistic=metric.statistic or ("" if metric.expression else seen.statistic),
        period=metric.period or seen.period,
        unit=metric.unit,
        instance=next((one.value for one in metric.dimensions if one.name == "InstanceId"), ""),
        metrics=metrics if any(one.expression for one in metrics) else (),
        rule=told.rule,
        children=told.children or seen.children,
        contributor=told.contributor,
        contributor_id=told.contributor_id,
        held_back=told.held_back,
        muted_by=_muted_by(told.mute),
        muted_until=moment(told.mute.get("mutewindowend")),
    )


def _place(told: _Told, carrier: Carrier) -> Arn:
    """The alarm's ARN, its gaps filled from the topic's, then from what the message says in words."""
    arn, topic = read_arn(told.arn), read_arn(carrier.topic_arn)
    region = arn.region or topic.region or region_code(told.region)
    return Arn(
        partition=arn.partition or topic.partition or partition_of(region),
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


def _metrics(config: Node) -> tuple[WatchedMetric, ...]:
    """One metric told by the configuration itself, or those that it lists."""
    if text(config.get("metricname")):
        return (_metric({"metricstat": {**config, "metric": config}}),)
    return tuple(_metric(one) for one in nodes(config.get("metrics")))


def _metric(query: Node) -> WatchedMetric:
    stat = node(query.get("metricstat"))
    metric = node(stat.get("metric"))
    statistic = text(stat.get("stat"), stat.get("extendedstatistic"), stat.get("statistic"))
    return WatchedMetric(
        id=text(query.get("id")),
        name=text(metric.get("metricname"), metric.get("name")),
        namespace=text(metric.get("namespace")),
        dimensions=dimensions(metric.get("dimensions")),
        statistic=_STATISTICS.get(statistic, statistic),
        period=number(stat.get("period"), query.get("period")),
        unit=text(stat.get("unit")),
        expression=text(query.get("expression")),
        label=text(query.get("label")),
        compared=query.get("returndata") is not False,
    )


def _state(value: object) -> str:
    """A state as CloudWatch spells it; an unknown word stays what it is."""
    word = text(value)
    return AlarmState(word.upper()) if word.upper() in AlarmState.__members__ else word


def _muted_by(mute: Node) -> str:
    """The mute rule's name: the end of ``arn:...:alarm-mute-rule:NAME``."""
    arn = text(mute.get("mutedbyarn"))
    return read_arn(arn).resource.partition(":")[2] or arn


def _first(*values: float | None) -> float | None:
    return next((value for value in values if value is not None), None)
