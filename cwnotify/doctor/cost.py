"""What watching has cost today, and its cost at most. Pure.

Prices are those of most regions, in US dollars. Some regions are more expensive:
https://aws.amazon.com/cloudwatch/pricing/ (GetMetricData: $0.01 for 1,000 metrics; all other requests to CloudWatch:
$0.01 for 1,000 beyond the first million in a month). Requests to EC2, SNS and STS are free.
"""

from __future__ import annotations

from collections.abc import Mapping

from cwnotify.doctor.findings import Finding, format_count, report_note
from cwnotify.watch.datapoint_cache import BASIC_MONITORING_PERIOD

USD_PER_METRIC = 0.01 / 1000
USD_PER_REQUEST = 0.01 / 1000
FREE_REQUESTS_PER_MONTH = 1_000_000
_METRIC_DATA = "cloudwatch:GetMetricData"
_DAY = 86_400.0  # seconds
_DAYS_PER_MONTH = 30


def count_billed_requests(calls: Mapping[str, int]) -> int:
    """Return how many of these calls CloudWatch bills as requests."""
    return sum(n for name, n in calls.items() if name.startswith("cloudwatch:") and name != _METRIC_DATA)


def compute_daily_cost(metrics: int, requests: int, requests_of_the_month: int) -> float:
    """Return the cost of a day in US dollars.

    Parameters
    ----------
    metrics, requests
        The day's metrics requested with GetMetricData, and its other requests to CloudWatch.
    requests_of_the_month
        The other requests of the whole month. The first million is free.
    """
    billed = max(0, requests_of_the_month - FREE_REQUESTS_PER_MONTH)
    share = billed / requests_of_the_month if requests_of_the_month else 0
    return metrics * USD_PER_METRIC + requests * share * USD_PER_REQUEST


def evaluate_cost(calls: Mapping[str, int], metrics: int, seconds: float, metric_seconds: float) -> Finding:
    """Return today's calls and their cost, and the cost of a day at most.

    Parameters
    ----------
    calls
        Today's calls (UTC) by their IAM names.
    metrics
        The metrics that these calls requested.
    seconds, metric_seconds
        The time between two polls of alarms, and of one metric.
    """
    requests = count_billed_requests(calls)
    max_requests, max_metrics = int(_DAY / seconds), int(_DAY / metric_seconds)
    cost = compute_daily_cost(metrics, requests, requests * _DAYS_PER_MONTH)
    max_cost = compute_daily_cost(max_metrics, max_requests, max_requests * _DAYS_PER_MONTH)
    today = (
        f"{format_count(sum(calls.values()), 'call')} and {format_count(metrics, 'metric')}: {_format_dollars(cost)}"
        if calls
        else "none"
    )
    basic = f"with basic monitoring little more than {_DAY / BASIC_MONITORING_PERIOD:.0f} times"
    return report_note(
        "Cost",
        f"of watching, today (UTC): {today}; a panel that is open all day requests one instance's CPU "
        f"at most {max_metrics:,} times: {_format_dollars(max_cost)}, {basic}",
    )


def _format_dollars(dollars: float) -> str:
    return f"${dollars:.4f}" if dollars < 1 else f"${dollars:.2f}"
