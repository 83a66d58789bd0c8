"""Format what an alarm measures: a value and its threshold, a metric, an expression. Pure.

The printed relation between a value and its threshold is true, and the two look equal only if they are equal.
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
_MAX_PERIOD = 366 * 86400.0  # seconds
_MAX_METRICS = 5
_DIGITS = range(3, 18)
_TOLERANCE = 1e-9  # a smaller relative difference is not visible to a reader


def format_comparison(event: AlarmStateChange, lang: str) -> str:
    """Return the value and the threshold as ``3.2 % < 10 %``, or as much of it as is known. Ready mrkdwn."""
    scale = alarm_quantity_format(event)
    value = None if event.value is None else scale.format(event.value)
    if event.lower is not None or event.upper is not None:
        return _compare_with_band(event, scale, lang)
    sign = _SIGNS.get(event.comparison, "")
    if event.threshold is None:
        return value or ""
    if event.value is None:
        # The sign is never first: Slack reads > at the start of a line as a quotation.
        threshold = f"{b.escape_mrkdwn(sign)} {_format_threshold(scale, event.threshold)}".strip()
        return translate(lang, "alarm.threshold", threshold=threshold)
    value, threshold = _format_pair(scale, event.value, event.threshold)
    if not sign:
        return f"{value}, {translate(lang, 'alarm.threshold', threshold=threshold)}"
    true_sign = sign if _holds(event.value, sign, event.threshold) else _OPPOSITES[sign]
    return f"{value} {b.escape_mrkdwn(true_sign)} {threshold}"


def format_datapoints(event: AlarmStateChange, values: Iterable[float]) -> str:
    """Return values of the alarm's metric as ``8.1 → 71.9 → 96.4 %`` or ``4.6 GiB → 102 MiB``. Ready mrkdwn."""
    scale = alarm_quantity_format(event)
    parts = [scale.format_parts(value) for value in values]
    if len({unit for _, unit in parts}) == 1:
        return join_unit(" → ".join(figure for figure, _ in parts), parts[0][1])
    return " → ".join(join_unit(figure, unit) for figure, unit in parts)


def alarm_quantity_format(event: AlarmStateChange) -> QuantityFormat:
    """Return the format of the alarm's quantities."""
    unit = _unit(event)
    return choose_quantity_format(unit, event.threshold, b.escape_label(unit.partition("/")[0], 40))


def format_watched_metrics(event: AlarmStateChange, lang: str) -> str:
    """Return the metric, its statistic and period; for metric math and bands, one line for each part."""
    if not event.metrics:
        return _format_metric(event.metric, event.statistic, event.period, lang)
    # An id is useful only if an expression refers to it.
    is_single = len(event.metrics) == 1 and not event.metrics[0].expression
    lines = [_format_part(metric, lang, "" if is_single else metric.id) for metric in event.metrics[:_MAX_METRICS]]
    if (remaining := len(event.metrics) - _MAX_METRICS) > 0:
        lines.append(translate(lang, "alarm.more", n=remaining))
    return "\n".join(lines)


def _format_part(metric: WatchedMetric, lang: str, id: str) -> str:
    name = b.inline_code(id, 40)
    if metric.expression:
        label, expression = b.escape_label(metric.label, 80), b.inline_code(metric.expression, 240)
        text = " ".join(filter(None, (name, label, "=", expression)))
    else:
        text = f"{name} {_format_metric(metric.name, metric.statistic, metric.period, lang)}".strip()
    account = b.escape_label(metric.account, 40)
    return translate(lang, "alarm.metric.account", metric=text, account=account) if account else text


def _format_metric(name: str, statistic: str, period: float | None, lang: str) -> str:
    if not name:
        return ""
    has_sentence = statistic.lower() in _STATISTICS
    label = translate(lang, f"alarm.{statistic.lower()}") if has_sentence else b.escape_label(statistic, 40)
    interval = format_duration(period, lang) if period and 0 < period < _MAX_PERIOD else ""
    return ", ".join(filter(None, (f"{b.escape_label(name, 240)} {label}".strip(), interval)))


def _compare_with_band(event: AlarmStateChange, scale: QuantityFormat, lang: str) -> str:
    limits = {"lower": event.lower, "upper": event.upper}
    edges = {name: limit for name, limit in limits.items() if limit is not None}
    value, texts = None, {name: scale.format(limit) for name, limit in edges.items()}
    if event.value is not None:
        digits = next(
            (n for n in _DIGITS if all(_shows_order(scale, event.value, limit, n) for limit in edges.values())), None
        )
        write = scale.format_exact if digits is None else lambda number: scale.format(number, digits)
        value, texts = write(event.value), {name: write(limit) for name, limit in edges.items()}
    return ", ".join(filter(None, (value, translate(lang, f"alarm.band.{'.'.join(texts)}", **texts))))


def _format_pair(scale: QuantityFormat, value: float, threshold: float) -> tuple[str, str]:
    """Format both with the fewest digits that show which is larger, and the threshold in full if it is short."""
    if value == threshold:
        text = _format_threshold(scale, threshold)
        return text, text
    for digits in _DIGITS:
        for threshold_digits in dict.fromkeys((_threshold_digits(scale, threshold), digits)):
            if _shows_order(scale, value, threshold, digits, threshold_digits):
                return scale.format(value, digits), scale.format(threshold, threshold_digits)
    return scale.format_exact(value), scale.format_exact(threshold)


def _format_threshold(scale: QuantityFormat, threshold: float) -> str:
    return scale.format(threshold, _threshold_digits(scale, threshold))


def _threshold_digits(scale: QuantityFormat, threshold: float) -> int:
    """Return how many digits show the threshold exactly, if seven are enough; else the default for values."""
    amount = threshold * scale.factor
    for digits in _DIGITS[:5]:
        if abs(scale.parse_parts(*scale.format_parts(threshold, digits)) - amount) <= abs(amount) * _TOLERANCE:
            return digits
    return _DIGITS[0]


def _shows_order(
    scale: QuantityFormat, value: float, other: float, digits: int, other_digits: int | None = None
) -> bool:
    """Return whether the two numbers, formatted with this many digits, show their true order."""
    parts, other_parts = scale.format_parts(value, digits), scale.format_parts(other, other_digits or digits)
    left, right = scale.parse_parts(*parts), scale.parse_parts(*other_parts)
    if parts == other_parts or abs(left - right) <= abs(right) * _TOLERANCE:
        return value == other
    return (left < right) == (value < other)


def _holds(value: float, sign: str, threshold: float) -> bool:
    if value == threshold:
        return sign in "≥≤"
    return (value > threshold) == (sign in ">≥")


def _unit(event: AlarmStateChange) -> str:
    """Return CloudWatch's name for the compared unit; empty if neither the event nor AWS's lists name one."""
    statistic = event.statistic.lower()
    if statistic in ("samplecount", "n") or statistic.startswith("tc("):
        return ""  # a number of samples
    if statistic.startswith("pr("):
        return "Percent"  # the share of samples in a range
    if event.unit and event.unit != "None":
        return event.unit
    if event.metrics and not any(metric.compared and not metric.expression for metric in event.metrics):
        return ""  # an expression has no unit
    if (event.namespace, event.metric) == ("AWS/Billing", "EstimatedCharges"):
        currency = next((dimension.value for dimension in event.dimensions if dimension.name == "Currency"), "")
        return currency if re.fullmatch("[A-Z]{3}", currency) else ""
    return metric_unit(event.namespace, event.metric)
