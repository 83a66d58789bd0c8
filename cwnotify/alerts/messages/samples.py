"""Create a sample alarm, for a preview of its message. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cwnotify.alerts.events.alarms import AlarmState, AlarmStateChange, Dimension
from cwnotify.alerts.locale import translate

# From the examples in AWS's documentation.
SAMPLE_ACCOUNT_ID, SAMPLE_INSTANCE_ID = "123456789012", "i-0123456789abcdef0"


def sample_alarm(lang: str, at: float, instance: str = "") -> AlarmStateChange:
    """Return a change of ``cwnotify deploy``'s ``off`` alarm: low CPU load shows that a training ended.

    Parameters
    ----------
    at
        When the alarm changes (Unix seconds).
    instance
        The instance's id; by default `SAMPLE_INSTANCE_ID`.
    """
    instance = instance or SAMPLE_INSTANCE_ID
    name = f"sample-{instance}-off"
    moment = datetime.fromtimestamp(at, UTC)
    points = ", ".join(f"{value} ({moment - ago:%d/%m/%y %H:%M:%S})" for value, ago in _POINTS)
    return AlarmStateChange(
        name=name,
        after=AlarmState.ALARM,
        before=AlarmState.OK,
        at=at,
        description=translate(lang, "alarm.sample"),
        reason=f"Threshold Crossed: 2 out of the last 3 datapoints [{points}] were less than the threshold (10.0) "
        "(minimum 2 datapoints for OK -> ALARM transition).",
        arn=f"arn:aws:cloudwatch:us-east-1:{SAMPLE_ACCOUNT_ID}:alarm:{name}",
        account=SAMPLE_ACCOUNT_ID,
        region="us-east-1",
        value=_POINTS[0][0],
        threshold=10.0,
        comparison="LessThanThreshold",
        datapoints_to_alarm=2,
        evaluation_periods=3,
        treat_missing_data="breaching",
        metric="CPUUtilization",
        namespace="AWS/EC2",
        dimensions=(Dimension("InstanceId", instance),),
        statistic="Average",
        period=300.0,
        instance=instance,
        recent=tuple(value for value, _ in reversed(_POINTS)),
    )


_POINTS = tuple((value, timedelta(minutes=minutes)) for value, minutes in ((3.2, 5), (4.7, 10), (96.1, 15)))
