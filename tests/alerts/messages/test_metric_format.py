"""Values and thresholds: scaled, with AWS's units, and always in a true relation."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cwnotify.alerts.events.alarms import AlarmStateChange, Dimension, WatchedMetric
from cwnotify.alerts.messages.metric_format import (
    alarm_quantity_format,
    format_comparison,
    format_datapoints,
    format_watched_metrics,
)
from cwnotify.alerts.messages.units import _METRICS, _UNITS, metric_unit
from cwnotify.alerts.parsing.envelopes import parse_aws_events
from tests.alerts.parsing.test_envelopes import EVENTS

ABOVE, BELOW = "GreaterThanThreshold", "LessThanThreshold"
SIGNS = {
    ABOVE: ">",
    BELOW: "<",
    "GreaterThanOrEqualToThreshold": "≥",
    "LessThanOrEqualToThreshold": "≤",
}
# What a reader understands by each unit. Independent of the tested code, to detect wrong ladders.
SIZES = {
    "": 1, "M": 10**6, "bn": 10**9, "tn": 10**12, "%": 1,
    "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "PB": 10**15,
    "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40, "PiB": 2**50,
    "bit": 1, "kbit": 10**3, "Mbit": 10**6, "Gbit": 10**9, "Tbit": 10**12,
    "µs": 1, "ms": 10**3, "s": 10**6, "min": 60 * 10**6, "h": 3600 * 10**6, "d": 86400 * 10**6,
}  # fmt: skip


def alarm(value: float | None, threshold: float | None, comparison: str = ABOVE, **fields: Any) -> AlarmStateChange:
    return AlarmStateChange("a", value=value, threshold=threshold, comparison=comparison, **fields)


@pytest.mark.parametrize(
    ("comparison", "value", "threshold", "expected"),
    [
        (ABOVE, 97.21666666666667, 50.0, "97.22 % > 50 %"),
        (ABOVE, 12.0, 50.0, "12 % ≤ 50 %"),
        (BELOW, 3.2, 10.0, "3.2 % < 10 %"),
        (BELOW, 10.0, 10.0, "10 % ≥ 10 %"),
        ("GreaterThanOrEqualToThreshold", 5.0, 5.0, "5 % ≥ 5 %"),
        (ABOVE, 90.004, 90.0, "90.004 % > 90 %"),
        (BELOW, 99.99999999999999, 100.0, "99.99999999999999 % < 100 %"),
        (ABOVE, 0.0205994, 0.5, "0.0206 % ≤ 0.5 %"),
        (ABOVE, 1234567.0, 1e20, "1,234,567 % ≤ 1e+20 %"),
        (ABOVE, None, 50.0, "threshold > 50 %"),
        ("", 5.0, 6.0, "5 %, threshold 6 %"),
        ("", None, 6.0, "threshold 6 %"),
        ("", 5.0, None, "5 %"),
        ("", None, None, ""),
    ],
)
def test_comparison_shows_value_and_threshold(
    comparison: str, value: float | None, threshold: float | None, expected: str
) -> None:
    event = alarm(value, threshold, comparison, metric="CPUUtilization", namespace="AWS/EC2")
    assert html.unescape(format_comparison(event, "en")) == expected


@pytest.mark.parametrize(
    ("namespace", "metric", "value", "threshold", "expected"),
    [
        ("AWS/RDS", "FreeStorageSpace", 107374182.0, 5368709120.0, "102 MiB < 5 GiB"),
        ("AWS/RDS", "FreeStorageSpace", 4.9e9, 5e9, "4.9 GB < 5 GB"),
        ("AWS/RDS", "FreeableMemory", 1073741823.0, 1073741824.0, "1,073,741,823 B < 1,073,741,824 B"),
        ("AWS/RDS", "FreeableMemory", 0.0, 1073741824.0, "0 B < 1 GiB"),
        ("AWS/RDS", "ReadLatency", 0.0042, 0.02, "4.2 ms < 20 ms"),
        ("AWS/RDS", "DatabaseConnections", 95.0, 100.0, "95 < 100"),
        ("AWS/Lambda", "Duration", 2400.0, 3000.0, "2.4 s < 3 s"),
        ("AWS/Lambda", "ProvisionedConcurrencyUtilization", 0.85, 0.9, "0.85 < 0.9"),
        ("AWS/ApplicationELB", "TargetResponseTime", 0.25, 1.5, "250 ms < 1.5 s"),
        ("AWS/SQS", "ApproximateAgeOfOldestMessage", 180.0, 300.0, "3 min < 5 min"),
        ("AWS/SQS", "ApproximateAgeOfOldestMessage", 5040.0, 345600.0, "1.4 h < 4 d"),
        ("AWS/SQS", "NumberOfMessagesSent", 123456.0, 1234567.0, "123,456 < 1.234567 M"),
        ("AWS/EC2", "NetworkIn", 900.0, 10000000.0, "900 B < 10 MB"),
        ("AWS/CertificateManager", "DaysToExpiry", 12.0, 15.0, "12 d < 15 d"),
        ("CWAgent", "mem_used_percent", 91.5, 95.0, "91.5 % < 95 %"),
        ("CWAgent", "nvidia_smi_temperature_gpu", 84.0, 85.0, "84 °C < 85 °C"),
        ("CWAgent", "my_used_percent", 91.5, 95.0, "91.5 < 95"),
        ("My/App", "CPUUtilization", 91.5, 95.0, "91.5 < 95"),
        ("AWS/EC2", "cpuutilization", 91.5, 95.0, "91.5 < 95"),
    ],
)
def test_comparison_uses_listed_units_and_scales_quantities(
    namespace: str, metric: str, value: float, threshold: float, expected: str
) -> None:
    event = alarm(value, threshold, BELOW, namespace=namespace, metric=metric)
    assert html.unescape(format_comparison(event, "en")) == expected


@pytest.mark.parametrize(
    ("unit", "value", "expected"),
    [
        ("Seconds", 2.0, "2 s"),
        ("Seconds", 0.0005, "500 µs"),
        ("Milliseconds", 90_000.0, "90 s"),
        ("Bytes/Second", 125e6, "125 MB/s"),
        ("Bits/Second", 2.5e9, "2.5 Gbit/s"),
        ("Megabytes", 20_000.0, "20 GB"),
        ("Count", 2.0, "2"),
        ("Count", 999_999.0, "999,999"),
        ("Count", 1_700_000.0, "1.7 M"),
        ("Count", 5.2e9, "5.2 bn"),
        ("Count", 1e20, "1e+20"),
        ("Count/Second", 2.0, "2/s"),
        ("Percent", 12.345, "12.35 %"),
        ("None", 2.0, "2"),
        ("Apples", 2_000_000.0, "2,000,000 Apples"),
        ("Apples/Second", 2.0, "2 Apples/s"),
    ],
)
def test_comparison_uses_unit_of_event(unit: str, value: float, expected: str) -> None:
    assert format_comparison(AlarmStateChange("a", value=value, unit=unit, metric="M", namespace="N"), "en") == expected


def test_unit_of_event_takes_precedence_over_table() -> None:
    event = AlarmStateChange("a", value=2.0, unit="Megabytes", metric="FreeStorageSpace", namespace="AWS/RDS")
    assert alarm_quantity_format(event).format(2.0) == "2 MB"


@pytest.mark.parametrize(
    ("statistic", "expected"),
    [("SampleCount", "3"), ("n", "3"), ("TC(0:9)", "3"), ("PR(0:9)", "3 %"), ("p99", "3 ms"), ("Average", "3 ms")],
)
def test_counting_statistic_has_no_unit(statistic: str, expected: str) -> None:
    event = AlarmStateChange("a", statistic=statistic, metric="Duration", namespace="AWS/Lambda")
    assert alarm_quantity_format(event).format(3.0) == expected


def test_expression_labelled_like_a_metric_has_no_unit() -> None:
    part = WatchedMetric("m1", "CPUUtilization", "AWS/EC2", compared=False)
    whole = WatchedMetric("e1", expression="m1 / 100", label="CPUUtilization")
    event = AlarmStateChange("a", metric="CPUUtilization", namespace="AWS/EC2", metrics=(whole, part))
    assert alarm_quantity_format(event).format(0.5) == "0.5"


def test_comparison_with_band_has_unit() -> None:
    part = WatchedMetric("m1", "CPUUtilization", "AWS/EC2")
    band = WatchedMetric("ad1", expression="ANOMALY_DETECTION_BAND(m1, 2)")
    event = AlarmStateChange(
        "a", metric="CPUUtilization", namespace="AWS/EC2", metrics=(part, band), value=1.204, lower=1.2, upper=7.5
    )
    assert format_comparison(event, "en") == "1.204 %, expected 1.2 % to 7.5 %"


@pytest.mark.parametrize(("currency", "expected"), [("USD", "12.5 USD"), ("<!channel>", "12.5"), ("", "12.5")])
def test_charges_have_their_currency(currency: str, expected: str) -> None:
    dimensions = (Dimension("Currency", currency),)
    event = AlarmStateChange("a", metric="EstimatedCharges", namespace="AWS/Billing", dimensions=dimensions)
    assert alarm_quantity_format(event).format(12.5) == expected


def test_datapoints_share_one_unit_if_possible() -> None:
    event = AlarmStateChange("a", metric="CPUUtilization", namespace="AWS/EC2")
    assert format_datapoints(event, [8.1, 71.9, 96.4]) == "8.1 → 71.9 → 96.4 %"
    event = alarm(None, 5368709120.0, metric="FreeStorageSpace", namespace="AWS/RDS")
    assert format_datapoints(event, [4.93921239e9, 2.25485783e9, 1.06954752e8]) == "4.6 GiB → 2.1 GiB → 102 MiB"
    assert format_datapoints(event, []) == ""


def test_cross_account_metric_names_account() -> None:
    (event,) = parse_aws_events(EVENTS["case_cross_account_metric"])
    assert isinstance(event, AlarmStateChange)
    assert format_watched_metrics(event, "en") == "Errors sum, 1 min (account 222233334444)"
    assert format_watched_metrics(event, "ko").endswith("(계정 222233334444)")


def test_unit_table_lists_each_metric_once() -> None:
    for namespace, units in _METRICS.items():
        names = [name for listed in units.values() for name in listed.split()]
        assert len(names) == len(set(names)), namespace
    assert metric_unit("AWS/RDS", "") == ""


NUMBERS = st.floats(allow_nan=False, allow_infinity=False, width=64) | st.floats(0, 1e13) | st.floats(0, 200)


@settings(max_examples=600, deadline=None)
@given(
    NUMBERS,
    NUMBERS | st.floats(-1e-9, 1e-9),
    st.booleans(),
    st.sampled_from(sorted(_UNITS)),
    st.sampled_from(sorted(SIGNS)),
)
@example(1073741823.9999999, 1073741824.0, False, "Bytes", ABOVE)
@example(999.9999, 1000.0, False, "Bytes", ABOVE)
@example(119.99999999, 120.0, False, "Seconds", BELOW)
@example(1e308, -1e308, False, "Bytes", ABOVE)
@example(5e-324, 0.0, False, "Milliseconds", ABOVE)
def test_printed_relation_is_true(value: float, other: float, near: bool, unit: str, comparison: str) -> None:
    threshold = value * (1 + other) if near and abs(other) <= 1e-9 else other
    if abs(threshold) > 1e308:
        threshold = 0.0
    output = html.unescape(format_comparison(alarm(value, threshold, comparison, unit=unit, metric="M"), "en"))
    match = re.fullmatch(r"(.+) ([<>≤≥]) (.+)", output)
    assert match, output
    left, right = _parse_quantity(match[1]), _parse_quantity(match[3])
    assert (left == right) == (match[1] == match[3]) == (value == threshold), output
    assert {"<": left < right, ">": left > right, "≤": left <= right, "≥": left >= right}[match[2]], output
    assert (match[2] == SIGNS[comparison]) == _breaches(value, threshold, comparison), output


def _parse_quantity(text: str) -> Any:
    """Return the printed quantity as an exact fraction."""
    from fractions import Fraction

    match = re.fullmatch(r"(-?[\d,.]+(?:e[-+]?\d+)?) ?(\D*)", text)
    assert match, text
    return Fraction(match[1].replace(",", "")) * SIZES[match[2]]


def _breaches(value: float, threshold: float, comparison: str) -> bool:
    return {
        ABOVE: value > threshold,
        BELOW: value < threshold,
        "GreaterThanOrEqualToThreshold": value >= threshold,
        "LessThanOrEqualToThreshold": value <= threshold,
    }[comparison]
