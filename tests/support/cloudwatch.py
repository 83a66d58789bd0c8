"""A strict CloudWatch (and a little of EC2) for the real boto3 to talk to, on 127.0.0.1.

It refuses what AWS refuses and emulators let pass, pages as AWS does, and goes wrong when told to::

    with CloudWatch() as aws:
        program(env=aws.environ())
        aws.feed(cpu("i-0abc1234def567890"), points)
        aws.put_alarm("busy", Dimensions=[...]); aws.set_state("busy", "ALARM")
        aws.faults += [Fault("Throttling", operation="GetMetricData"), Hang()]   # these first, one a request
        aws.fault = Fault("AccessDenied", status=403)                            # from now on
        assert aws.calls["cloudwatch:GetMetricData"] == 2

``python -m tests.support.cloudwatch 10000 0.28`` serves so many instances, each answer after so many seconds.
"""

from __future__ import annotations

import json
import random
import secrets
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from threading import Event, Lock
from types import TracebackType
from typing import Any

from cwnotify.aws.models import Datapoint, Metric
from tests.support.aws_wire import AwsServer, Fault, Hang, RequestParameters
from tests.support.datapoints import (
    MAX_DATAPOINTS,
    MetricKey,
    aggregate_datapoints,
    cpu_metric,
    metric_from_query,
    metric_key,
    validate_query,
    wave_datapoints,
)

REGION = "ap-northeast-2"
ACCOUNT = "123456789012"


class CloudWatch:
    """The stand-in; a context manager.

    Attributes
    ----------
    fault, faults
        What requests are refused with; `faults`, of which each is used once, come first.
    latency
        Seconds from a request to its answer.
    page_points, page_items
        How many datapoints, or alarms, metrics and items of history, there are on a page.
    partial, messages
        Metrics that stay PartialData to the end; what is said beside the datapoints, as (code, text).
    scrambled
        Whether datapoints come in no order, and some twice.
    key
        The only access key that is known, if there is only one.
    types
        The types of alarms that are known; an endpoint of some years ago knows no log alarms.
    calls
        How often each operation was asked for, refused ones included.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.fault: Fault | Hang | None = None
        self.faults: list[Fault | Hang] = []
        self.latency = 0.0
        self.page_points = MAX_DATAPOINTS
        self.page_items = 100
        self.partial_metrics: set[Metric] = set()
        self.response_messages: list[tuple[str, str]] = []
        self.shuffles_datapoints = False
        self.valid_access_key = ""
        self.alarm_types = {"MetricAlarm", "CompositeAlarm", "LogAlarm"}
        self.calls: Counter[str] = Counter()
        self.requests: list[tuple[str, RequestParameters]] = []
        self.alarms: dict[str, dict[str, Any]] = {}
        self.history: list[dict[str, Any]] = []
        self.instances: dict[str, dict[str, str]] = {}
        self._clock = clock
        self._points: dict[MetricKey, dict[float, float]] = {}
        self._tokens: dict[str, Any] = {}
        self._lock = Lock()
        self._stopped = Event()
        self._wire = AwsServer(self._answer)
        self.url = self._wire.url

    def __enter__(self) -> CloudWatch:
        self._wire.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._wire.__exit__(kind, error, trace)

    def environ(self, key: str = "AKIDEXAMPLE") -> dict[str, str]:
        """What a program needs to find this AWS, and no other."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    # What there is

    def add_datapoints(self, metric: Metric, points: Mapping[float, float] | Iterable[Datapoint]) -> None:
        """Add datapoints; one for a time that has one already changes it."""
        self._points.setdefault(metric_key(metric), {}).update(points)

    def put_alarm(self, name: str, state: str = "OK", at: float | None = None, **settings: Any) -> None:
        """Make or change an alarm; one with an ``AlarmRule`` is composite, with a query on logs a log alarm."""
        when = self._clock() if at is None else at
        self.alarms[name] = {
            "AlarmName": name,
            "AlarmArn": f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:{name}",
            "ActionsEnabled": True,
            "StateValue": state,
            "StateUpdatedTimestamp": when,
            "StateTransitionedTimestamp": when,
            **settings,
        }

    def put_training_instance(self, instance: str, period: int, hours: float) -> None:
        """An instance that has trained for so long, a datapoint each `period`, with the alarm ``train-busy``."""
        self.put_instance(instance)
        self.add_datapoints(cpu_metric(instance), wave_datapoints(self._clock() - 3600 * hours, self._clock(), period))
        self.put_alarm(
            "train-busy",
            Namespace="AWS/EC2",
            MetricName="CPUUtilization",
            Dimensions=[{"Name": "InstanceId", "Value": instance}],
            Threshold=50.0,
            ComparisonOperator="GreaterThanThreshold",
        )

    def set_state(
        self, name: str, state: str, at: float | None = None, reason: str = "", in_history: bool = True
    ) -> None:
        """Let an alarm change; `noted` is whether its history has it already."""
        now, alarm = self._clock() if at is None else at, self.alarms[name]
        old = {"stateValue": alarm["StateValue"], "stateReason": alarm.get("StateReason", "")}
        new = {"stateValue": state, "stateReason": reason}
        alarm |= {"StateValue": state, "StateReason": reason}
        alarm |= {"StateUpdatedTimestamp": now, "StateTransitionedTimestamp": now}
        if in_history:
            self.add_history(name, now, json.dumps({"version": "1.0", "oldState": old, "newState": new}))

    def add_history(self, name: str, at: float, data: str, kind: str = "StateUpdate") -> None:
        """Write something into an alarm's history."""
        told = {"AlarmName": name, "AlarmType": self._type(name), "HistoryItemType": kind}
        self.history.append({**told, "Timestamp": at, "HistorySummary": kind, "HistoryData": data})

    def put_instance(self, id: str, state: str = "running", detailed: bool = False, **tags: str) -> None:
        """Make or change an instance."""
        self.instances[id] = {"state": state, "monitoring": "enabled" if detailed else "disabled", **tags}

    # What is answered

    def _answer(self, operation: str, asked: RequestParameters, key: str) -> Mapping[str, Any]:
        begun, name = time.monotonic(), operation.partition(":")[2]
        with self._lock:
            self.calls[operation] += 1
            self.requests.append((operation, asked))
            fault = next((one for one in self.faults if one.operation in ("", name)), None)
            if fault is not None:
                self.faults.remove(fault)
            elif self.fault is not None and self.fault.operation in ("", name):
                fault = self.fault
        if fault is not None:
            raise fault
        if self.valid_access_key and key != self.valid_access_key:
            raise Fault("InvalidClientTokenId", "The security token included in the request is invalid.", 403)
        answers = {
            "cloudwatch:GetMetricData": self._metric_data,
            "cloudwatch:DescribeAlarms": self._alarms,
            "cloudwatch:DescribeAlarmHistory": self._alarm_history,
            "cloudwatch:ListMetrics": self._metrics,
            "ec2:DescribeInstances": self._instances,
        }
        if operation not in answers:
            raise Fault("AccessDenied", f"not authorized to perform: {operation}", 403)
        told = answers[operation](asked)
        self._stopped.wait(max(0.0, self.latency - (time.monotonic() - begun)))
        return told

    def _metric_data(self, asked: RequestParameters) -> Mapping[str, Any]:
        if "NextToken" in asked:
            return self._page_of_points(self._take_page(asked["NextToken"]))
        queries, start, end = asked["MetricDataQueries"], float(asked["StartTime"]), float(asked["EndTime"])
        validate_query(queries, start, end, self._clock())
        ascending = asked.get("ScanBy") == "TimestampAscending"
        results = [(query["Id"], *self._result(query["MetricStat"], start, end, ascending)) for query in queries]
        return self._page_of_points(results)

    def _result(
        self, stat: RequestParameters, start: float, end: float, ascending: bool
    ) -> tuple[list[Datapoint], bool]:
        metric = metric_from_query(stat["Metric"])
        points = aggregate_datapoints(self._points.get(metric_key(metric), {}), stat, start, end)
        if not ascending:
            points.reverse()
        if self.shuffles_datapoints:
            points += points[::3]
            random.Random(0).shuffle(points)
        return points, metric in self.partial_metrics

    def _page_of_points(self, results: list[tuple[str, list[Datapoint], bool]]) -> Mapping[str, Any]:
        told, left = [], self.page_points
        while results and left > 0:
            (id, points, stays), *results = results
            now, later = points[:left], points[left:]
            left -= max(len(now), 1)
            if later:
                results = [(id, later, stays), *results]
            status = "PartialData" if later or stays else "Complete"
            times, values = [at for at, _ in now], [value for _, value in now]
            told.append({"Id": id, "Label": id, "Timestamps": times, "Values": values, "StatusCode": status})
        messages = [{"Code": code, "Value": text} for code, text in self.response_messages]
        return {"MetricDataResults": told, "Messages": messages, **self._more(results)}

    def _alarms(self, asked: RequestParameters) -> Mapping[str, Any]:
        names, prefix = asked.get("AlarmNames", ()), asked.get("AlarmNamePrefix", "")
        if names and prefix:
            raise Fault("InvalidParameterCombination", "AlarmNames and AlarmNamePrefix are mutually exclusive")
        if len(names) > 100 or asked.get("MaxRecords", 1) > 100:
            raise Fault("ValidationError", "no more than 100")
        types = self._asked_types(asked)
        found = [
            (self._type(name), alarm)
            for name, alarm in sorted(self.alarms.items())
            if self._type(name) in types and name.startswith(prefix) and (not names or name in names)
        ]
        page, more = self._paged(asked, found, asked.get("MaxRecords", 50))
        told = {f"{type}s": [alarm for kind, alarm in page if kind == type] for type in types}
        return {**told, **more}

    def _alarm_history(self, asked: RequestParameters) -> Mapping[str, Any]:
        start, types = float(asked.get("StartDate", 0)), self._asked_types(asked)
        found = sorted(
            (
                one
                for one in self.history
                if one["AlarmName"] == asked["AlarmName"] and one["AlarmType"] in types and one["Timestamp"] >= start
                if one["HistoryItemType"] == asked.get("HistoryItemType", one["HistoryItemType"])
            ),
            key=lambda one: one["Timestamp"],
        )
        if asked.get("ScanBy") != "TimestampAscending":
            found.reverse()
        page, more = self._paged(asked, found, asked.get("MaxRecords", 100))
        return {"AlarmHistoryItems": page, **more}

    def _metrics(self, asked: RequestParameters) -> Mapping[str, Any]:
        wanted = {one["Name"]: one.get("Value") for one in asked.get("Dimensions", ())}
        found = [
            {
                "Namespace": space,
                "MetricName": name,
                "Dimensions": [{"Name": one, "Value": value} for one, value in dimensions],
            }
            for space, name, dimensions in self._points
            if (asked.get("Namespace", space), asked.get("MetricName", name)) == (space, name)
            if all(
                dict(dimensions).get(one, "") == (value or dict(dimensions).get(one)) for one, value in wanted.items()
            )
        ]
        page, more = self._paged(asked, found, 500)
        return {"Metrics": page, **more}

    def _instances(self, asked: RequestParameters) -> Mapping[str, Any]:
        filters = {
            asked[f"Filter.{i}.Name"]: [v for k, v in asked.items() if k.startswith(f"Filter.{i}.Value.")]
            for i in range(1, 1 + sum(key.endswith(".Name") for key in asked))
        }
        found = [
            _instance(id, one)
            for id, one in self.instances.items()
            if all((id if name == "instance-id" else one.get(name[4:])) in values for name, values in filters.items())
        ]
        return {"reservationSet": [{"instancesSet": [one]} for one in found]}

    # Pages

    def _paged(self, asked: RequestParameters, found: list[Any], most: int) -> tuple[list[Any], Mapping[str, str]]:
        rest = self._take_page(asked["NextToken"]) if "NextToken" in asked else found
        size = min(most, self.page_items)
        return rest[:size], self._more(rest[size:])

    def _more(self, rest: list[Any]) -> Mapping[str, str]:
        if not rest:
            return {}
        token = secrets.token_hex(8)
        self._tokens[token] = rest
        return {"NextToken": token}

    def _take_page(self, token: str) -> list[Any]:
        if token not in self._tokens:
            raise Fault("InvalidNextToken", "The next token specified is invalid.")
        page: list[Any] = self._tokens.pop(token)
        return page

    def _asked_types(self, asked: RequestParameters) -> list[str]:
        types: list[str] = asked.get("AlarmTypes", ["MetricAlarm"])
        if unknown := set(types) - self.alarm_types:
            why = f"Value '{types}' at 'alarmTypes' failed to satisfy constraint: no such type {unknown}"
            raise Fault("ValidationError", why)
        return types

    def _type(self, name: str) -> str:
        alarm = self.alarms.get(name, ())
        if "ScheduledQueryConfiguration" in alarm:
            return "LogAlarm"
        return "CompositeAlarm" if "AlarmRule" in alarm else "MetricAlarm"


def _instance(id: str, one: Mapping[str, str]) -> Mapping[str, Any]:
    tags = [{"key": key, "value": value} for key, value in one.items() if key not in ("state", "monitoring")]
    return {
        "instanceId": id,
        "instanceType": "g5.xlarge",
        "instanceState": {"name": one["state"]},
        "monitoring": {"state": one["monitoring"]},
        "placement": {"availabilityZone": f"{REGION}a"},
        "tagSet": tags,
    }


def main(instances: int, latency: float) -> None:
    """Serve three hours of basic monitoring until standard input ends."""
    now = time.time()
    with CloudWatch() as aws:
        aws.latency = latency
        points = wave_datapoints(now - 3 * 3600, now, 300)
        for number in range(instances):
            aws.add_datapoints(cpu_metric(f"i-{number:017x}"), points)
        print(aws.url, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
