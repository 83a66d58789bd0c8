"""Poll AWS for all panels at once, in one thread.

A poll reads alarms, and the metrics that may have new datapoints. Throttling makes polls rarer, jitter keeps notebooks
from polling at the same time, and `request_poll` starts one at once. An error becomes a problem that the panel shows
until a later poll succeeds.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from cwnotify.aws import cloudwatch, ec2
from cwnotify.aws.models import CloudWatchAlarm, Ec2Instance, InstanceIdentity, Metric, MetricSeries
from cwnotify.aws.session import AwsSession
from cwnotify.errors import AwsError, AwsErrorKind
from cwnotify.store.alarm_states import AlarmStateStore
from cwnotify.store.api_usage import ApiCallCounter
from cwnotify.store.outbox import Outbox
from cwnotify.view.snapshot import PanelRequest, PlotPoint
from cwnotify.watch.alarm_changes import AlarmChangeTracker, AlarmRecipient
from cwnotify.watch.background_calls import BackgroundCalls
from cwnotify.watch.datapoint_cache import DatapointCache
from cwnotify.watch.ec2_notices import InstanceMonitor
from cwnotify.watch.observation import PanelObservation
from cwnotify.watch.problems import ProblemTracker

DEFAULT_POLL_INTERVAL = 30.0  # seconds
POLL_JITTER = 0.1
MAX_SLOWDOWN_FACTOR = 8.0
IDENTITY_TIMEOUT = 1.5  # seconds
# Polls between two reads of what rarely changes.
INSTANCE_INTERVAL_POLLS = 4
METRIC_LIST_INTERVAL_POLLS = 40
ALARM_LIST_INTERVAL_POLLS = 20
DISPLAY_CALL_TIMEOUT = 5.0  # seconds that a poll waits for calls that only affect the picture
ALARMS_PER_PAGE = 100
# The first of these wins if two panels of one destination differ.
ALARM_SLACK_POLICIES = ("always", "auto", "never")
METRICS_SOURCE, ALARMS_SOURCE = "metrics", "alarms"
# A person fixes these outside of the process, and only a new session finds the new settings.
SESSION_ERRORS = AwsErrorKind.CREDENTIALS, AwsErrorKind.EXPIRED, AwsErrorKind.REGION

InstanceScope = tuple[tuple[str, ...], str]  # instance ids, and a tag
Observations = dict[str, PanelObservation]  # by panel

log = logging.getLogger(__name__)


class _AlarmList(NamedTuple):
    """The alarms that the last list of all alarms contained for `instance_ids`."""

    instance_ids: frozenset[str] = frozenset()
    read_at: float = 0.0
    names: tuple[str, ...] = ()


class AwsPoller(threading.Thread):
    """Poll AWS for the panels that are added, until the process exits.

    Parameters
    ----------
    connect
        Opens a connection to the outbox for this thread.
    monitor
        Resolves which instance this host is.
    on_poll
        Called after each poll. The results are in `observations`.
    on_message
        Called after messages were added to the outbox.
    """

    def __init__(
        self,
        connect: Callable[[], Outbox],
        monitor: InstanceMonitor,
        on_poll: Callable[[], None],
        on_message: Callable[[], None],
    ) -> None:
        super().__init__(name="cwnotify-watch", daemon=True)
        self.observations: Observations = {}
        self._connect, self._monitor = connect, monitor
        self._on_poll, self._on_message = on_poll, on_message
        self._requests: dict[str, tuple[PanelRequest, str]] = {}
        self._wake = threading.Event()
        self._read_all = True
        self._slowdown = 1.0
        self._aws: AwsSession | None = None
        self._identity = InstanceIdentity()
        self._problems = ProblemTracker(time.time)
        self._lookups = BackgroundCalls(self._pause)
        self._datapoints = DatapointCache()
        # By metric and instance ids: when the metrics were listed, and the metrics.
        self._metrics: dict[tuple[str, tuple[str, ...]], tuple[float, tuple[Metric, ...]]] = {}
        self._alarms: tuple[CloudWatchAlarm, ...] = ()
        self._alarm_list = _AlarmList()
        self._region = ""
        self._firing_periods: dict[str, tuple[PlotPoint, ...]] = {}
        self._previous_states: dict[str, str] = {}
        self._instances: dict[InstanceScope, tuple[float, tuple[Ec2Instance, ...]]] = {}

    # Called by other threads

    def add_panel(self, panel: str, request: PanelRequest, destination: str) -> None:
        """Poll for `panel`, and send the changes of its alarms to `destination`."""
        self._requests = {**self._requests, panel: (request, destination)}
        # Another panel's observation is there already.
        for observation in list(self.observations.values()):
            if replace(observation.request, span=request.span) == request:
                self.observations = {**self.observations, panel: observation}
        self._wake.set()

    def remove_panel(self, panel: str) -> None:
        """Stop polling for `panel`."""
        self._requests = {id: request for id, request in self._requests.items() if id != panel}
        self.observations.pop(panel, None)

    def request_poll(self, renew_session: bool = False) -> None:
        """Read everything now; with `renew_session`, with the credentials and the region that are set now."""
        if renew_session:
            self._aws = None
        self._read_all = True
        self._wake.set()

    # Called by this thread

    def run(self) -> None:
        """Poll until the process exits."""
        outbox = self._connect()
        self._changes = AlarmChangeTracker(AlarmStateStore(outbox), lambda: 3 * self._pause() + 30, self._lookups)
        self._calls = ApiCallCounter(outbox)
        self._identity = self._monitor.wait_for_identity(IDENTITY_TIMEOUT)
        while True:
            self._wake.clear()
            try:
                self._poll(self._requests, time.time())
            except Exception:
                # The disk may be full. The panel shows that its data is stale, and the next poll may succeed.
                log.exception("a poll failed")
            self._wake.wait(self._pause() * random.uniform(1 - POLL_JITTER, 1 + POLL_JITTER))

    def _pause(self) -> float:
        intervals = [request.round for request, _ in self._requests.values()]
        return min(intervals, default=DEFAULT_POLL_INTERVAL) * self._slowdown

    def _poll(self, requests: dict[str, tuple[PanelRequest, str]], now: float) -> None:
        read_all, self._read_all = self._read_all, False
        self._lookups.start_poll()
        for scope in self._instances.keys() - {self._scope(request) for request, _ in requests.values()}:
            del self._instances[scope]
            self._problems.remove_source(scope)
        observations = {panel: self._begin(request, read_all, now) for panel, (request, _) in requests.items()}
        pending = {panel: observation for panel, observation in observations.items() if observation.needs_aws}
        if pending:
            # Alarms come first, because nothing that only affects the picture may delay a message.
            self._read_alarms(pending, {panel: requests[panel][1] for panel in pending}, read_all, now)
            # One attempt is enough if AWS cannot be reached.
            if not self._problems.was_offline_since(now):
                pending = {panel: self._add_instances(each, read_all, now) for panel, each in pending.items()}
            if not self._problems.was_offline_since(now):
                self._read_metrics(pending, read_all, now)
            observations |= {panel: self._complete(observation) for panel, observation in pending.items()}
            self._calls.record_calls(self._session(), now)
        is_throttled = self._problems.has_kind(AwsErrorKind.THROTTLED)
        self._slowdown = min(self._slowdown * 2, MAX_SLOWDOWN_FACTOR) if is_throttled else max(self._slowdown / 2, 1.0)
        if any(map(self._problems.has_kind, SESSION_ERRORS)):
            self._aws = None
        merged = {**self.observations, **observations}
        self.observations = {panel: merged[panel] for panel in merged if panel in self._requests}
        self._on_poll()

    def _session(self) -> AwsSession:
        if self._aws is None:
            self._aws = AwsSession.with_short_timeouts(self._identity.region)
        return self._aws

    # Instances and the names of metrics

    def _begin(self, request: PanelRequest, read_all: bool, now: float) -> PanelObservation:
        scope = self._scope(request)
        needs_aws = bool(any(scope) or request.alarms)
        observation = PanelObservation(request, self._cached_instances(scope), self._identity, needs_aws=needs_aws)
        # The alarms of a tag are those of its instances.
        needs_instances = request.tag and not observation.instances
        return self._add_instances(observation, read_all, now) if needs_instances else observation

    def _cached_instances(self, scope: InstanceScope) -> tuple[Ec2Instance, ...]:
        """Return the instances as EC2 last described them; before that, only their ids."""
        return self._instances[scope][1] if scope in self._instances else tuple(Ec2Instance(id) for id in scope[0])

    def _add_instances(self, observation: PanelObservation, read_all: bool, now: float) -> PanelObservation:
        scope = self._scope(observation.request)
        return replace(observation, instances=self._read_instances(scope, read_all, now)) if any(scope) else observation

    def _scope(self, request: PanelRequest) -> InstanceScope:
        """Return the ids and the tag that select instances; by default the id of this host's instance."""
        is_default = bool(self._identity.instance_id) and not request.tag
        ids = request.instances or ((self._identity.instance_id,) if is_default else ())
        return ids, request.tag

    def _read_instances(self, scope: InstanceScope, read_all: bool, now: float) -> tuple[Ec2Instance, ...]:
        ids, tag = scope
        read_at = self._instances[scope][0] if scope in self._instances else 0.0
        instances = self._cached_instances(scope)
        if read_all or now - read_at >= INSTANCE_INTERVAL_POLLS * self._pause():
            with self._problems.capture_errors(scope):
                read = partial(ec2.read_instances, self._session().best_effort, ids, tag)
                response = self._lookups.fetch("ec2", scope, read, DISPLAY_CALL_TIMEOUT, use_backoff=False)
                by_id = {instance.id: instance for instance in response}
                if missing := ", ".join(id for id in ids if id not in by_id):
                    message = f"there is no instance {missing} in {self._session().region}"
                    raise AwsError(message, kind=AwsErrorKind.MISSING, hint="is that the right region?")
                instances = tuple(by_id[id] for id in ids) if ids else tuple(by_id.values())
            self._instances[scope] = now, instances
        return instances

    def _find_metrics(self, observation: PanelObservation, read_all: bool, now: float) -> tuple[Metric, ...]:
        key = observation.request.metric, observation.instance_ids
        read_at, metrics = self._metrics.get(key, (0.0, ()))
        if not metrics or read_all or now - read_at >= METRIC_LIST_INTERVAL_POLLS * self._pause():
            read = partial(cloudwatch.find_metrics, self._session(), *key)
            metrics = self._lookups.fetch("metrics' names", key, read, DISPLAY_CALL_TIMEOUT, use_backoff=False)
            self._metrics[key] = now, metrics
        return metrics

    # Datapoints and alarms

    def _read_metrics(self, observations: Observations, read_all: bool, now: float) -> None:
        metrics: dict[Metric, None] = {}
        with self._problems.capture_errors(METRICS_SOURCE):
            for observation in observations.values():
                metrics |= dict.fromkeys(self._find_metrics(observation, read_all, now))
            start = now - max(observation.request.span for observation in observations.values())
            cache, interval = self._datapoints, self._pause()
            due = [
                metric
                for metric in metrics
                if read_all or cache.is_incomplete(metric, start) or now >= cache.next_read_at(metric, interval)
            ]
            if due:
                since, aws = cache.choose_read_start(due, start), self._session()

                def read() -> tuple[tuple[MetricSeries, ...], float, float, float]:
                    return cloudwatch.read_series(aws, due, since, now), since, now, interval

                # The next poll uses a late result, whatever metrics are due then.
                cache.add_series(*self._lookups.fetch("datapoints", "", read, DISPLAY_CALL_TIMEOUT, use_backoff=False))
            cache.prune(metrics, start)

    def _read_alarms(
        self, observations: Observations, destinations: dict[str, str], read_all: bool, now: float
    ) -> None:
        """Read the alarms that the requests select, and report their changes."""
        with self._problems.capture_errors(ALARMS_SOURCE):
            alarms = self._alarms = self._list_alarms(list(observations.values()), read_all, now)
            by_recipient: dict[AlarmRecipient, list[PanelObservation]] = {}
            for panel, observation in observations.items():
                recipient = AlarmRecipient.from_request(observation.request, destinations[panel])
                by_recipient.setdefault(recipient, []).append(observation)
            count = 0
            for recipient in sorted(by_recipient, key=lambda recipient: ALARM_SLACK_POLICIES.index(recipient.policy)):
                selected = [a for a in alarms if any(each.concerns(a) for each in by_recipient[recipient])]
                count += self._changes.report_changes(self._session(), selected, recipient, now)
            if count:
                self._on_message()
            self._region = self._session().region
            max_span = max(observation.request.span for observation in observations.values())
            self._firing_periods = self._changes.get_firing_periods(self._session(), alarms, now - max_span)
            self._previous_states = self._changes.get_previous_states(alarms)

    def _list_alarms(
        self, observations: list[PanelObservation], read_all: bool, now: float
    ) -> tuple[CloudWatchAlarm, ...]:
        """Return the alarms that the requests select.

        Only a list of all alarms shows which of them concern an instance. If the list is long, polls read the selected
        alarms by name, and only every `ALARM_LIST_INTERVAL_POLLS` polls the whole list.
        """
        names = {name for observation in observations for name in observation.request.alarms}
        if all(observation.request.alarms for observation in observations):
            return self._read_named_alarms(names)
        ids = frozenset(id for observation in observations for id in observation.instance_ids)
        is_old = now - self._alarm_list.read_at >= ALARM_LIST_INTERVAL_POLLS * self._pause()
        is_due = read_all or is_old or ids != self._alarm_list.instance_ids
        response = (
            cloudwatch.read_alarms(self._session())
            if is_due
            else self._read_named_alarms({*names, *self._alarm_list.names})
        )
        alarms = tuple(alarm for alarm in response if any(each.concerns(alarm) for each in observations))
        if is_due:
            is_long = len(response) > ALARMS_PER_PAGE
            self._alarm_list = _AlarmList(ids, now if is_long else 0.0, tuple(alarm.name for alarm in alarms))
        return alarms

    def _read_named_alarms(self, names: Iterable[str]) -> tuple[CloudWatchAlarm, ...]:
        whole = sorted(name for name in names if not name.endswith("*"))
        prefixes = sorted(name[:-1] for name in names if name.endswith("*"))
        return cloudwatch.read_alarms(self._session(), whole, prefixes) if whole or prefixes else ()

    def _complete(self, observation: PanelObservation) -> PanelObservation:
        """Return the observation with all that was read for it; where AWS did not answer, with the earlier data."""
        _, metrics = self._metrics.get((observation.request.metric, observation.instance_ids), (0.0, ()))
        alarms = sorted(filter(observation.concerns, self._alarms), key=lambda alarm: alarm.name)
        return replace(
            observation,
            region=self._region,
            series=tuple(map(self._datapoints.get_series, metrics)),
            alarms=tuple(alarms),
            firing_periods=self._firing_periods,
            previous_states=self._previous_states,
            problems=self._problems.list_problems(),
            updated_at=self._problems.oldest_success_at,
        )
