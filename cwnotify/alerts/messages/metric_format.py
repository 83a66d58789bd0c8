"""What an alarm measures, in words: a value against its threshold, a metric, an expression. Pure.

Of a value and its threshold the printed relation is true, and they look alike only where they are equal.
"""

from __future__ import annotations

import re

from cwnotify.alerts.events.alarms import AlarmStateChange, WatchedMetric
from cwnotify.alerts.locale import format_duration, translate
from cwnotify.alerts.messages import block_kit as b
from cwnotify.alerts.messages.units import QuantityFormat, choose_quantity_format, join_unit, metric_unit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_SIGNS = {
    "GreaterThanThreshold": ">",
    "GreaterThanOrEqualToThreshold": "≥",
    "LessThanThreshold": "<",
    "LessThanOrEqualToThreshold": "≤",
}
_OPPOSITES = {">": "≤", "≥": "<", "<": "≥", "≤": ">"}
_STATISTICS = ("average", "sum", "minimum", "maximum", "samplecount")
_MISSING = ("breaching", "notbreaching", "ignore")
_MAX_PERIOD = 366 * 86400.0  # seconds
_MAX_METRICS = 5
_DIGITS = range(3, 18)
_SAME = 1e-9  # what differs by less is the same to a reader


def format_comparison(event: AlarmStateChange, lang: str) -> str:
    """The value against the threshold: ``3.2 % < 10 %``; as much of it as is known, else empty. Ready mrkdwn."""
    scale = alarm_quantity_format(event)
    value = None if event.value is None else scale.format(event.value)
    if event.lower is not None or event.upper is not None:
        return _against_band(event, scale, lang)
    sign = _SIGNS.get(event.comparison, "")
    if event.threshold is None:
        return value or ""
    if event.value is None:
        # Never the sign first: a line that begins with > is a quotation to Slack.
        limit = f"{b.escape_mrkdwn(sign)} {_whole(scale, event.threshold)}".strip()
        return translate(lang, "alarm.threshold", threshold=limit)
    value, threshold = _side_by_side(scale, event.value, event.threshold)
    if not sign:
        return f"{value}, {translate(lang, 'alarm.threshold', threshold=threshold)}"
    true_sign = sign if _holds(event.value, sign, event.threshold) else _OPPOSITES[sign]
    return f"{value} {b.escape_mrkdwn(true_sign)} {threshold}"


def format_datapoints(event: AlarmStateChange, values: Iterable[float]) -> str:
    """Values of the alarm's metric in their order: ``8.1 → 71.9 → 96.4 %``, ``4.6 GiB → 102 MiB``. Ready mrkdwn."""
    scale = alarm_quantity_format(event)
    parts = [scale.format_parts(value) for value in values]
    if len({unit for _, unit in parts}) == 1:
        return join_unit(" → ".join(figure for figure, _ in parts), parts[0][1])
    return " → ".join(join_unit(figure, unit) for figure, unit in parts)


def format_metric_value(event: AlarmStateChange, value: float) -> str:
    """One value of the alarm's metric, with its unit. Ready mrkdwn."""
    return alarm_quantity_format(event).format(value)


def alarm_quantity_format(event: AlarmStateChange) -> QuantityFormat:
    """How the alarm's quantities are written."""
    unit = _unit(event)
    return choose_quantity_format(unit, event.threshold, b.escape_label(unit.partition("/")[0], 40))


def condition(event: AlarmStateChange, lang: str) -> str:
    """`format_comparison` with M of N, and with what missing data counts as where data is missing."""
    m, n = event.datapoints_to_alarm or event.evaluation_periods, event.evaluation_periods
    points = translate(lang, "alarm.point" if n == 1 else "alarm.points", m=m, n=n) if m and n and m <= n else ""
    first = ", ".join(filter(None, (format_comparison(event, lang), points)))
    missing = event.treat_missing_data.lower()
    told = event.value is None and missing in _MISSING
    return "\n".join(filter(None, (first, translate(lang, f"alarm.missing.{missing}") if told else "")))


def format_watched_metrics(event: AlarmStateChange, lang: str) -> str:
    """The metric, its statistic and period; for metric math and bands, each part on its own line."""
    if not event.metrics:
        return _metric(event.metric, event.statistic, event.period, lang)
    # An id is of use only where an expression refers to it.
    only = len(event.metrics) == 1 and not event.metrics[0].expression
    lines = [_part(one, lang, "" if only else one.id) for one in event.metrics[:_MAX_METRICS]]
    left = len(event.metrics) - _MAX_METRICS
    return "\n".join([*lines, *([translate(lang, "alarm.more", n=left)] if left > 0 else [])])


def _part(metric: WatchedMetric, lang: str, id: str) -> str:
    shown = b.inline_code(id, 40)
    if metric.expression:
        what = " ".join(
            filter(None, (shown, b.escape_label(metric.label, 80), "=", b.inline_code(metric.expression, 240)))
        )
    else:
        what = f"{shown} {_metric(metric.name, metric.statistic, metric.period, lang)}".strip()
    account = b.escape_label(metric.account, 40)
    return translate(lang, "alarm.metric.account", metric=what, account=account) if account else what


def _metric(name: str, statistic: str, period: float | None, lang: str) -> str:
    known = statistic.lower() in _STATISTICS
    how = translate(lang, f"alarm.{statistic.lower()}") if known else b.escape_label(statistic, 40)
    often = format_duration(period, lang) if period and 0 < period < _MAX_PERIOD else ""
    return ", ".join(filter(None, (f"{b.escape_label(name, 240)} {how}".strip(), often))) if name else ""


def _against_band(event: AlarmStateChange, scale: QuantityFormat, lang: str) -> str:
    limits = {"lower": event.lower, "upper": event.upper}
    edges = {edge: limit for edge, limit in limits.items() if limit is not None}
    value, shown = None, {edge: scale.format(limit) for edge, limit in edges.items()}
    if event.value is not None:
        digits = next((n for n in _DIGITS if all(_tells(scale, event.value, edge, n) for edge in edges.values())), None)
        write = scale.format_exact if digits is None else lambda number: scale.format(number, digits)
        value, shown = write(event.value), {edge: write(limit) for edge, limit in edges.items()}
    return ", ".join(filter(None, (value, translate(lang, f"alarm.band.{'.'.join(shown)}", **shown))))


def _side_by_side(scale: QuantityFormat, value: float, threshold: float) -> tuple[str, str]:
    """Both with as few digits as show truly which is the larger one; the threshold whole where it is short."""
    whole = _whole(scale, threshold)
    if value == threshold:
        return whole, whole
    for digits in _DIGITS:
        for limit in dict.fromkeys((_digits_of(scale, threshold), digits)):
            if _tells(scale, value, threshold, digits, limit):
                return scale.format(value, digits), scale.format(threshold, limit)
    return scale.format_exact(value), scale.format_exact(threshold)


def _whole(scale: QuantityFormat, threshold: float) -> str:
    return scale.format(threshold, _digits_of(scale, threshold))


def _digits_of(scale: QuantityFormat, threshold: float) -> int:
    """How many digits write the threshold as it was configured, if seven do; else as many as for any value."""
    amount = threshold * scale.factor
    for digits in _DIGITS[:5]:
        if abs(scale.parse_parts(*scale.format_parts(threshold, digits)) - amount) <= abs(amount) * _SAME:
            return digits
    return _DIGITS[0]


def _tells(scale: QuantityFormat, value: float, other: float, digits: int, digits_other: int | None = None) -> bool:
    """Whether a reader of both, written so, sees the order in which they are."""
    one, two = scale.format_parts(value, digits), scale.format_parts(other, digits_other or digits)
    left, right = scale.parse_parts(*one), scale.parse_parts(*two)
    if one == two or abs(left - right) <= abs(right) * _SAME:
        return value == other
    return (left < right) == (value < other)


def _holds(value: float, sign: str, threshold: float) -> bool:
    if value == threshold:
        return sign in "≥≤"
    return (value > threshold) == (sign in ">≥")


def _unit(event: AlarmStateChange) -> str:
    """CloudWatch's name for the unit of what is compared; empty where neither the event nor AWS's lists name one."""
    statistic = event.statistic.lower()
    if statistic in ("samplecount", "n") or statistic.startswith("tc("):
        return ""  # a number of samples
    if statistic.startswith("pr("):
        return "Percent"  # the share of samples in a range
    if event.unit and event.unit != "None":
        return event.unit
    if event.metrics and not any(one.compared and not one.expression for one in event.metrics):
        return ""  # an expression has no unit of its own
    if (event.namespace, event.metric) == ("AWS/Billing", "EstimatedCharges"):
        currency = next((one.value for one in event.dimensions if one.name == "Currency"), "")
        return currency if re.fullmatch("[A-Z]{3}", currency) else ""
    return metric_unit(event.namespace, event.metric)
