"""A strict stand-in for CloudWatch and for a small part of EC2, on 127.0.0.1, for the real boto3.

It rejects what AWS rejects, even where emulators do not. It pages as AWS does, and fails on request::

    with CloudWatch() as aws:
        program(env=aws.environ())
        aws.add_datapoints(cpu_metric("i-0abc1234def567890"), points)
        aws.put_alarm("busy", Dimensions=[...]); aws.set_state("busy", "ALARM")
        aws.faults += [Fault("Throttling", operation="GetMetricData"), Hang()]   # these first, one per request
        aws.fault = Fault("AccessDenied", status=403)                            # every request after those
        assert aws.calls["cloudwatch:GetMetricData"] == 2

``python -m tests.support.cloudwatch 10000 0.28`` serves 10,000 instances and answers each request after 0.28 seconds.
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

    Parameters
    ----------
    clock
        Returns the current time in Unix seconds.

    Attributes
    ----------
    fault, faults
        Errors that requests get. Each of `faults` is used once, before `fault`.
    latency
        Seconds from a request to its response.
    page_points, page_items
        The most datapoints on a page, and the most alarms, metrics or history items.
    partial_metrics
        Metrics whose status stays PartialData.
    response_messages
        Messages beside the datapoints, as (code, text).
    shuffles_datapoints
        Whether datapoints come in random order, and some of them twice.
    valid_access_key
        The only access key that is accepted. If empty, every key is.
    alarm_types
        The alarm types that this endpoint knows. Older endpoints have no log alarms.
    calls
        How many requests each operation got, including those that failed.
    requests
        Every request, as (operation, parameters).
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
        """Return the environment variables that point a program to this stand-in only."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_ACCESS_KEY_ID": key,
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    # Contents

    def add_datapoints(self, metric: Metric, points: Mapping[float, float] | Iterable[Datapoint]) -> None:
        """Add datapoints. A later value for the same time replaces the earlier one."""
        self._points.setdefault(metric_key(metric), {}).update(points)

    def put_alarm(self, name: str, state: str = "OK", at: float | None = None, **settings: Any) -> None:
        """Create or replace an alarm. ``AlarmRule`` makes it composite, ``ScheduledQueryConfiguration`` a log alarm."""
        changed_at = self._clock() if at is None else at
        self.alarms[name] = {
            "AlarmName": name,
            "AlarmArn": f"arn:aws:cloudwatch:{REGION}:{ACCOUNT}:alarm:{name}",
            "ActionsEnabled": True,
            "StateValue": state,
            "StateUpdatedTimestamp": changed_at,
            "StateTransitionedTimestamp": changed_at,
            **settings,
        }

    def put_training_instance(self, instance: str, period: int, hours: float) -> None:
        """Add an instance with the alarm ``train-busy`` and a datapoint every `period` seconds for the last `hours`."""
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
        """Change an alarm's state. `in_history` is whether its history includes the change."""
        now, alarm = self._clock() if at is None else at, self.alarms[name]
        old = {"stateValue": alarm["StateValue"], "stateReason": alarm.get("StateReason", "")}
        new = {"stateValue": state, "stateReason": reason}
        alarm |= {"StateValue": state, "StateReason": reason}
        alarm |= {"StateUpdatedTimestamp": now, "StateTransitionedTimestamp": now}
        if in_history:
            self.add_history(name, now, json.dumps({"version": "1.0", "oldState": old, "newState": new}))

    def add_history(self, name: str, at: float, data: str, kind: str = "StateUpdate") -> None:
        """Add an item to an alarm's history."""
        item = {"AlarmName": name, "AlarmType": self._type(name), "HistoryItemType": kind}
        self.history.append({**item, "Timestamp": at, "HistorySummary": kind, "HistoryData": data})

    def put_instance(self, id: str, state: str = "running", detailed: bool = False, **tags: str) -> None:
        """Create or replace an instance."""
        self.instances[id] = {"state": state, "monitoring": "enabled" if detailed else "disabled", **tags}

    # Responses

    def _answer(self, operation: str, parameters: RequestParameters, key: str) -> Mapping[str, Any]:
        started_at = time.monotonic()
        if fault := self._record_request(operation, parameters):
            raise fault
        if self.valid_access_key and key != self.valid_access_key:
            raise Fault("InvalidClientTokenId", "The security token included in the request is invalid.", 403)
        handlers = {
            "cloudwatch:GetMetricData": self._metric_data,
            "cloudwatch:DescribeAlarms": self._alarms,
            "cloudwatch:DescribeAlarmHistory": self._alarm_history,
            "cloudwatch:ListMetrics": self._metrics,
            "ec2:DescribeInstances": self._instances,
        }
        if operation not in handlers:
            raise Fault("AccessDenied", f"not authorized to perform: {operation}", 403)
        response = handlers[operation](parameters)
        self._stopped.wait(max(0.0, self.latency - (time.monotonic() - started_at)))
        return response

    def _record_request(self, operation: str, parameters: RequestParameters) -> Fault | Hang | None:
        """Count a request and return the error that it gets."""
        name = operation.partition(":")[2]
        with self._lock:
            self.calls[operation] += 1
            self.requests.append((operation, parameters))
            for fault in self.faults:
                if fault.operation in ("", name):
                    self.faults.remove(fault)
                    return fault
            return self.fault if self.fault is not None and self.fault.operation in ("", name) else None

    def _metric_data(self, parameters: RequestParameters) -> Mapping[str, Any]:
        if "NextToken" in parameters:
            return self._datapoint_page(self._take_page(parameters["NextToken"]))
        queries = parameters["MetricDataQueries"]
        start, end = float(parameters["StartTime"]), float(parameters["EndTime"])
        validate_query(queries, start, end, self._clock())
        ascending = parameters.get("ScanBy") == "TimestampAscending"
        results = [(query["Id"], *self._datapoints(query["MetricStat"], start, end, ascending)) for query in queries]
        return self._datapoint_page(results)

    def _datapoints(
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

    def _datapoint_page(self, results: list[tuple[str, list[Datapoint], bool]]) -> Mapping[str, Any]:
        page, capacity = [], self.page_points
        while results and capacity > 0:
            (id, points, is_partial), *results = results
            included, excess = points[:capacity], points[capacity:]
            capacity -= max(len(included), 1)
            if excess:
                results = [(id, excess, is_partial), *results]
            status = "PartialData" if excess or is_partial else "Complete"
            times, values = [at for at, _ in included], [value for _, value in included]
            page.append({"Id": id, "Label": id, "Timestamps": times, "Values": values, "StatusCode": status})
        messages = [{"Code": code, "Value": text} for code, text in self.response_messages]
        return {"MetricDataResults": page, "Messages": messages, **self._next_token(results)}

    def _alarms(self, parameters: RequestParameters) -> Mapping[str, Any]:
        names, prefix = parameters.get("AlarmNames", ()), parameters.get("AlarmNamePrefix", "")
        if names and prefix:
            raise Fault("InvalidParameterCombination", "AlarmNames and AlarmNamePrefix are mutually exclusive")
        if len(names) > 100 or parameters.get("MaxRecords", 1) > 100:
            raise Fault("ValidationError", "no more than 100")
        types = self._requested_types(parameters)
        matches = [
            (self._type(name), alarm)
            for name, alarm in sorted(self.alarms.items())
            if self._type(name) in types and name.startswith(prefix) and (not names or name in names)
        ]
        page, next_token = self._paginate(parameters, matches, parameters.get("MaxRecords", 50))
        by_type = {f"{type}s": [alarm for alarm_type, alarm in page if alarm_type == type] for type in types}
        return {**by_type, **next_token}

    def _alarm_history(self, parameters: RequestParameters) -> Mapping[str, Any]:
        name, kind = parameters.get("AlarmName"), parameters.get("HistoryItemType")
        start, types = float(parameters.get("StartDate", 0)), self._requested_types(parameters)
        matches = [
            item
            for item in self.history
            if name in (None, item["AlarmName"]) and item["AlarmType"] in types and item["Timestamp"] >= start
            if kind in (None, item["HistoryItemType"])
        ]
        matches.sort(key=lambda item: item["Timestamp"])
        if parameters.get("ScanBy") != "TimestampAscending":
            matches.reverse()
        page, next_token = self._paginate(parameters, matches, parameters.get("MaxRecords", 100))
        return {"AlarmHistoryItems": page, **next_token}

    def _metrics(self, parameters: RequestParameters) -> Mapping[str, Any]:
        filters = {filter["Name"]: filter.get("Value") for filter in parameters.get("Dimensions", ())}
        matches = [
            {
                "Namespace": namespace,
                "MetricName": name,
                "Dimensions": [{"Name": key, "Value": value} for key, value in dimensions],
            }
            for namespace, name, dimensions in self._points
            if (parameters.get("Namespace", namespace), parameters.get("MetricName", name)) == (namespace, name)
            if all(
                dict(dimensions).get(key, "") == (value or dict(dimensions).get(key)) for key, value in filters.items()
            )
        ]
        page, next_token = self._paginate(parameters, matches, 500)
        return {"Metrics": page, **next_token}

    def _instances(self, parameters: RequestParameters) -> Mapping[str, Any]:
        filters = {
            parameters[f"Filter.{i}.Name"]: [v for k, v in parameters.items() if k.startswith(f"Filter.{i}.Value.")]
            for i in range(1, 1 + sum(key.endswith(".Name") for key in parameters))
        }
        matches = [
            _describe_instance(id, attributes)
            for id, attributes in self.instances.items()
            if all(
                (id if name == "instance-id" else attributes.get(name.removeprefix("tag:"))) in values
                for name, values in filters.items()
            )
        ]
        return {"reservationSet": [{"instancesSet": [instance]} for instance in matches]}

    # Pages

    def _paginate(
        self, parameters: RequestParameters, matches: list[Any], limit: int
    ) -> tuple[list[Any], Mapping[str, str]]:
        items = self._take_page(parameters["NextToken"]) if "NextToken" in parameters else matches
        size = min(limit, self.page_items)
        return items[:size], self._next_token(items[size:])

    def _next_token(self, items: list[Any]) -> Mapping[str, str]:
        if not items:
            return {}
        token = secrets.token_hex(8)
        self._tokens[token] = items
        return {"NextToken": token}

    def _take_page(self, token: str) -> list[Any]:
        if token not in self._tokens:
            raise Fault("InvalidNextToken", "The next token specified is invalid.")
        page: list[Any] = self._tokens.pop(token)
        return page

    def _requested_types(self, parameters: RequestParameters) -> list[str]:
        types: list[str] = parameters.get("AlarmTypes", ["MetricAlarm"])
        if unknown := set(types) - self.alarm_types:
            message = f"Value '{types}' at 'alarmTypes' failed to satisfy constraint: no such type {unknown}"
            raise Fault("ValidationError", message)
        return types

    def _type(self, name: str) -> str:
        alarm = self.alarms.get(name, ())
        if "ScheduledQueryConfiguration" in alarm:
            return "LogAlarm"
        return "CompositeAlarm" if "AlarmRule" in alarm else "MetricAlarm"


def _describe_instance(id: str, attributes: Mapping[str, str]) -> Mapping[str, Any]:
    tags = [{"key": key, "value": value} for key, value in attributes.items() if key not in ("state", "monitoring")]
    return {
        "instanceId": id,
        "instanceType": "g5.xlarge",
        "instanceState": {"name": attributes["state"]},
        "monitoring": {"state": attributes["monitoring"]},
        "placement": {"availabilityZone": f"{REGION}a"},
        "tagSet": tags,
    }


def main(instances: int, latency: float) -> None:
    """Serve three hours of basic monitoring for `instances` until standard input closes."""
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
