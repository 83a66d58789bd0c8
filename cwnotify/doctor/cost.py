"""What watching has cost, and what it costs at most. Pure.

Prices are those of most regions, in US dollars, and some regions ask more:
https://aws.amazon.com/cloudwatch/pricing/ (GetMetricData: $0.01 for 1,000 metrics asked for; all other requests to
CloudWatch: $0.01 for 1,000 beyond the first million in a month). What is asked of EC2, SNS and STS costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from cwnotify.doctor.findings import Finding, format_count, report_note
from cwnotify.watch.datapoint_cache import BASIC_MONITORING_PERIOD

USD_PER_METRIC = 0.01 / 1000
USD_PER_REQUEST = 0.01 / 1000
FREE_REQUESTS_PER_MONTH = 1_000_000
_METRIC_DATA = "cloudwatch:GetMetricData"
_DAY = 86_400.0
_DAYS = 30


def count_billed_requests(calls: Mapping[str, int]) -> int:
    """How many of these calls count as requests to CloudWatch."""
    return sum(n for name, n in calls.items() if name.startswith("cloudwatch:") and name != _METRIC_DATA)


def compute_daily_cost(metrics: int, requests: int, requests_of_the_month: int) -> float:
    """What a day costs.

    Parameters
    ----------
    metrics, requests
        The metrics asked for with GetMetricData, and the other requests to CloudWatch, in that day.
    requests_of_the_month
        Those of the whole month, of which the first million are free.
    """
    paid = (
        max(0, requests_of_the_month - FREE_REQUESTS_PER_MONTH) / requests_of_the_month if requests_of_the_month else 0
    )
    return metrics * USD_PER_METRIC + requests * paid * USD_PER_REQUEST


def evaluate_cost(calls: Mapping[str, int], metrics: int, seconds: float, metric_seconds: float) -> Finding:
    """Today's calls and what they cost, and a day's at most.

    Parameters
    ----------
    calls
        Today's calls (UTC), by the names that IAM has for them.
    metrics
        The metrics that these asked for.
    seconds, metric_seconds
        The time between two looks at alarms, and that between two looks at one metric.
    """
    asked = count_billed_requests(calls)
    a_day, metrics_a_day = int(_DAY / seconds), int(_DAY / metric_seconds)
    spent = compute_daily_cost(metrics, asked, asked * _DAYS)
    most = compute_daily_cost(metrics_a_day, a_day, a_day * _DAYS)
    so_far = (
        f"{format_count(sum(calls.values()), 'call')} and {format_count(metrics, 'metric')}: {_money(spent)}"
        if calls
        else "none"
    )
    return report_note(
        "Cost",
        f"of watching, today (UTC): {so_far}; "
        f"a panel that is open all day asks for one instance's CPU at most {metrics_a_day:,} times: {_money(most)}, "
        f"with basic monitoring little more than {_DAY / BASIC_MONITORING_PERIOD:.0f} times",
    )


def _money(dollars: float) -> str:
    return f"${dollars:.4f}" if dollars < 1 else f"${dollars:.2f}"
