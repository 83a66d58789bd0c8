"""What an alarm measures, in words: a value against its threshold, a metric, an expression. Pure."""

from __future__ import annotations

from cwnotify.alerts import blocks as b
from cwnotify.alerts.alarm_events import AlarmChanged, WatchedMetric
from cwnotify.alerts.words import duration, say

_SIGNS = {
    "GreaterThanThreshold": ">",
    "GreaterThanOrEqualToThreshold": "≥",
    "LessThanThreshold": "<",
    "LessThanOrEqualToThreshold": "≤",
}
_OPPOSITES = {">": "≤", "≥": "<", "<": "≥", "≤": ">"}
_UNITS = {
    "Percent": "%",
    "Seconds": "s",
    "Milliseconds": "ms",
    "Microseconds": "µs",
    "Bytes": "B",
    "Kilobytes": "kB",
    "Megabytes": "MB",
    "Gigabytes": "GB",
    "Terabytes": "TB",
    "Bits": "bit",
    "Kilobits": "kbit",
    "Megabits": "Mbit",
    "Gigabits": "Gbit",
    "Terabits": "Tbit",
    "Count": "",
    "None": "",
}
_STATISTICS = ("average", "sum", "minimum", "maximum", "samplecount")
_PER_CENT = ("utilization", "utilisation", "percent", "percent)", "%", "(%)")
_MISSING = ("breaching", "notbreaching", "ignore")
_LONGEST_PERIOD = 366 * 86400.0
_MOST_METRICS = 5


def measured(event: AlarmChanged, lang: str) -> str:
    """The value against the threshold, as it stands: ``3.2 % < 10 %``; as much of it as is known, else empty."""
    unit = _unit(event)
    value = None if event.value is None else _quantity(event.value, unit)
    if event.lower is not None or event.upper is not None:
        return _against_band(event, value, unit, lang)
    sign = _SIGNS.get(event.comparison, "")
    if event.threshold is None:
        return value or ""
    threshold = _quantity(event.threshold, unit)
    if event.value is None or value is None:
        # Never the sign first: a line that begins with > is a quotation to Slack.
        return say(lang, "alarm.threshold", threshold=f"{b.escape(sign)} {threshold}".strip())
    if not sign:
        return f"{value}, {say(lang, 'alarm.threshold', threshold=threshold)}"
    if value == threshold and event.value != event.threshold:
        value = _suffixed(f"{event.value:,}", unit)
    true_sign = sign if _holds(event.value, sign, event.threshold) else _OPPOSITES[sign]
    return f"{value} {b.escape(true_sign)} {threshold}"


def condition(event: AlarmChanged, lang: str) -> str:
    """`measured` with M of N, and with what missing data counts as where data is missing."""
    m, n = event.datapoints_to_alarm or event.evaluation_periods, event.evaluation_periods
    points = say(lang, "alarm.point" if n == 1 else "alarm.points", m=m, n=n) if m and n and m <= n else ""
    first = ", ".join(filter(None, (measured(event, lang), points)))
    missing = event.treat_missing_data.lower()
    told = event.value is None and missing in _MISSING
    return "\n".join(filter(None, (first, say(lang, f"alarm.missing.{missing}") if told else "")))


def watched(event: AlarmChanged, lang: str) -> str:
    """The metric, its statistic and period; for metric math and bands, each part on its own line."""
    if not event.metrics:
        return _metric(event.metric, event.statistic, event.period, lang)
    lines = [_part(one, lang) for one in event.metrics[:_MOST_METRICS]]
    left = len(event.metrics) - _MOST_METRICS
    return "\n".join([*lines, *([say(lang, "alarm.more", n=left)] if left > 0 else [])])


def _part(metric: WatchedMetric, lang: str) -> str:
    id = b.code(metric.id, 40)
    if not metric.expression:
        return f"{id} {_metric(metric.name, metric.statistic, metric.period, lang)}".strip()
    return " ".join(filter(None, (id, b.label(metric.label, 80), "=", b.code(metric.expression, 240))))


def _metric(name: str, statistic: str, period: float | None, lang: str) -> str:
    known = statistic.lower() in _STATISTICS
    how = say(lang, f"alarm.{statistic.lower()}") if known else b.label(statistic, 40)
    often = duration(period, lang) if period and 0 < period < _LONGEST_PERIOD else ""
    return ", ".join(filter(None, (f"{b.label(name, 240)} {how}".strip(), often))) if name else ""


def _against_band(event: AlarmChanged, value: str | None, unit: str, lang: str) -> str:
    limits = {"lower": event.lower, "upper": event.upper}
    edges = {edge: _quantity(limit, unit) for edge, limit in limits.items() if limit is not None}
    expected = say(lang, f"alarm.band.{'.'.join(edges)}", **edges)
    return ", ".join(filter(None, (value, expected)))


def _holds(value: float, sign: str, threshold: float) -> bool:
    if value == threshold:
        return sign in "≥≤"
    return (value > threshold) == (sign in ">≥")


def _unit(event: AlarmChanged) -> str:
    """The unit's sign. Alarms seldom name one: what calls itself a utilization or a percentage is in percent."""
    if event.unit:
        of, _, per = event.unit.partition("/")
        return b.label(_UNITS.get(of, of), 40) + ("/s" if per == "Second" else "")
    return "%" if event.metric.lower().endswith(_PER_CENT) else ""


def _quantity(value: float, unit: str) -> str:
    if 1 <= abs(value) < 1e15:
        return _suffixed(f"{value:,.2f}".rstrip("0").rstrip("."), unit)
    return _suffixed(f"{value + 0.0:.3g}", unit)


def _suffixed(figure: str, unit: str) -> str:
    return f"{figure}{unit}" if unit.startswith("/") else f"{figure} {unit}".strip()
