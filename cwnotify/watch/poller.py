"""The watch: looks at AWS in rounds, for all panels at once, in a thread of its own.

A round asks for alarms, and for those metrics of which there may be something new. It is made slower by throttling,
is jittered so that many notebooks do not ask in step, and begins at once when somebody asks for it. Whatever AWS
refuses becomes a trouble that the panel shows; the next round may find it gone.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

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

POLL_JITTER = 0.1
MAX_SLOWDOWN_FACTOR = 8.0
IDENTITY_TIMEOUT = 1.5
# Between two looks at what seldom changes, in rounds.
INSTANCE_INTERVAL_POLLS = 4
METRIC_LIST_INTERVAL_POLLS = 40
ALARM_LIST_INTERVAL_POLLS = 20
# Seconds that a poll waits for what is only shown.
DISPLAY_CALL_TIMEOUT = 5.0
ALARMS_PER_PAGE = 100

ALARM_SLACK_POLICIES = ("always", "auto", "never")
_METRICS, _ALARMS = "metrics", "alarms"

InstanceScope = tuple[tuple[str, ...], str]

log = logging.getLogger(__name__)


class AwsPoller(threading.Thread):
    """Watches for the panels that it was given, for as long as the process lives.

    Parameters
    ----------
    connect
        Opens a connection to the outbox, for this thread's own use.
    machine
        Knows which instance this is.
    looked
        Called after each round; the news is in `sights`.
    told
        Called when messages were put into the outbox.
    """

    def __init__(
        self,
        connect: Callable[[], Outbox],
        machine: InstanceMonitor,
        looked: Callable[[], None],
        told: Callable[[], None],
    ) -> None:
        super().__init__(name="cwnotify-watch", daemon=True)
        self.observations: dict[str, PanelObservation] = {}
        self._connect, self._machine = connect, machine
        self._looked, self._told = looked, told
        self._requests: dict[str, tuple[PanelRequest, str]] = {}
        self._wanted = threading.Event()
        self._again = True
        self._slow = 1.0
        self._aws: AwsSession | None = None
        self._identity = InstanceIdentity()
        self._troubles = ProblemTracker(time.time)
        self._lookups = BackgroundCalls(self._pause)
        self._points = DatapointCache()
        self._metrics: dict[tuple[str, tuple[str, ...]], tuple[float, tuple[Metric, ...]]] = {}
        self._alarms: tuple[CloudWatchAlarm, ...] = ()
        self._listed: tuple[frozenset[str], float, tuple[str, ...]] = frozenset(), 0.0, ()
        self._region = ""
        self._firing: dict[str, tuple[PlotPoint, ...]] = {}
        self._before: dict[str, str] = {}
        self._fleet: dict[InstanceScope, tuple[float, tuple[Ec2Instance, ...]]] = {}

    # From other threads

    def add_panel(self, panel: str, request: PanelRequest, destination: str) -> None:
        """Watch for `panel` from now on; alarms that change are told to `destination`."""
        self._requests = {**self._requests, panel: (request, destination)}
        # What another panel has seen need not be waited for.
        for seen in list(self.observations.values()):
            if replace(seen.request, span=request.span) == request:
                self.observations = {**self.observations, panel: seen}
        self._wanted.set()

    def remove_panel(self, panel: str) -> None:
        """`panel` is closed."""
        self._requests = {id: one for id, one in self._requests.items() if id != panel}
        self.observations.pop(panel, None)

    def request_poll(self, renew_session: bool = False) -> None:
        """Look again now, at everything; `anew` with credentials and region as they are found now."""
        if renew_session:
            self._aws = None
        self._again = True
        self._wanted.set()

    # In its own

    def run(self) -> None:
        """Watch for ever."""
        outbox = self._connect()
        self._changes = AlarmChangeTracker(AlarmStateStore(outbox), lambda: 3 * self._pause() + 30, self._lookups)
        self._calls = ApiCallCounter(outbox)
        self._identity = self._machine.wait_for_identity(IDENTITY_TIMEOUT)
        while True:
            self._wanted.clear()
            try:
                self._round(self._requests, time.time())
            except Exception:
                # A full disk, or a fault of ours: the panel shows that it is stale, and the next round may do better.
                log.exception("a round of the watch stumbled")
            self._wanted.wait(self._pause() * random.uniform(1 - POLL_JITTER, 1 + POLL_JITTER))

    def _pause(self) -> float:
        rounds = [request.round for request, _ in self._requests.values()]
        return min(rounds, default=30.0) * self._slow

    def _round(self, requests: dict[str, tuple[PanelRequest, str]], now: float) -> None:
        again, self._again = self._again, False
        self._lookups.start_poll()
        for gone in self._fleet.keys() - {self._scope(request) for request, _ in requests.values()}:
            del self._fleet[gone]
            self._troubles.remove_source(gone)
        sights = {panel: self._begin(request, again, now) for panel, (request, _) in requests.items()}
        asking = {panel: sight for panel, sight in sights.items() if sight.needs_aws}
        if asking:
            # First, because nothing that only adds to the picture may keep a change from Slack.
            self._read_alarms(asking, {panel: requests[panel][1] for panel in asking}, again, now)
            # Where nobody answers, to ask once and wait in vain is enough.
            if not self._troubles.was_offline_since(now):
                asking = {panel: self._with_instances(sight, again, now) for panel, sight in asking.items()}
            if not self._troubles.was_offline_since(now):
                self._read_metrics(asking, again, now)
            for panel, sight in asking.items():
                sights[panel] = self._finish(sight)
            self._calls.record_calls(self._session(), now)
        throttled = self._troubles.has_kind(AwsErrorKind.THROTTLED)
        self._slow = min(self._slow * 2, MAX_SLOWDOWN_FACTOR) if throttled else max(self._slow / 2, 1.0)
        if any(map(self._troubles.has_kind, (AwsErrorKind.CREDENTIALS, AwsErrorKind.EXPIRED, AwsErrorKind.REGION))):
            # Whatever a person mends is found only by a session that looks anew.
            self._aws = None
        self.observations = {
            panel: one for panel, one in {**self.observations, **sights}.items() if panel in self._requests
        }
        self._looked()

    def _session(self) -> AwsSession:
        if self._aws is None:
            self._aws = AwsSession.with_short_timeouts(self._identity.region)
        return self._aws

    # What is watched

    def _begin(self, request: PanelRequest, again: bool, now: float) -> PanelObservation:
        scope = self._scope(request)
        sight = PanelObservation(
            request, self._known(scope), self._identity, needs_aws=bool(any(scope) or request.alarms)
        )
        # Without knowing who bears a tag, one cannot know whose alarms are meant.
        return self._with_instances(sight, again, now) if request.tag and not sight.instances else sight

    def _known(self, scope: InstanceScope) -> tuple[Ec2Instance, ...]:
        """The instances as EC2 described them last; before that, only their ids."""
        return self._fleet[scope][1] if scope in self._fleet else tuple(Ec2Instance(id) for id in scope[0])

    def _with_instances(self, sight: PanelObservation, again: bool, now: float) -> PanelObservation:
        scope = self._scope(sight.request)
        return replace(sight, instances=self._instances(scope, again, now)) if any(scope) else sight

    def _scope(self, request: PanelRequest) -> InstanceScope:
        """Which instances are meant: their ids, and the tag that they bear."""
        by_default = bool(self._identity.instance_id) and not request.tag
        ids = request.instances or ((self._identity.instance_id,) if by_default else ())
        return ids, request.tag

    def _instances(self, scope: InstanceScope, again: bool, now: float) -> tuple[Ec2Instance, ...]:
        ids, tag = scope
        asked, found = self._fleet[scope][0] if scope in self._fleet else 0.0, self._known(scope)
        if again or now - asked >= INSTANCE_INTERVAL_POLLS * self._pause():
            with self._troubles.capture_errors(scope):
                aws = self._session().best_effort
                read = partial(ec2.read_instances, aws, ids, tag)
                told = {
                    one.id: one
                    for one in self._lookups.fetch("ec2", scope, read, DISPLAY_CALL_TIMEOUT, use_backoff=False)
                }
                if missing := [id for id in ids if id not in told]:
                    where = f"{', '.join(missing)} in {self._session().region}"
                    raise AwsError(
                        f"there is no instance {where}", kind=AwsErrorKind.MISSING, hint="is that the right region?"
                    )
                found = tuple(told[id] for id in ids) if ids else tuple(told.values())
            self._fleet[scope] = now, found
        return found

    def _wanted_metrics(self, sight: PanelObservation, again: bool, now: float) -> tuple[Metric, ...]:
        ids = tuple(one.id for one in sight.instances)
        key = sight.request.metric, ids
        asked, found = self._metrics.get(key, (0.0, ()))
        if not found or again or now - asked >= METRIC_LIST_INTERVAL_POLLS * self._pause():
            read = partial(cloudwatch.find_metrics, self._session(), sight.request.metric, ids)
            found = self._lookups.fetch("metrics' names", key, read, DISPLAY_CALL_TIMEOUT, use_backoff=False)
            self._metrics[key] = now, found
        return found

    # What is read

    def _read_metrics(self, sights: dict[str, PanelObservation], again: bool, now: float) -> None:
        wanted: dict[Metric, None] = {}
        with self._troubles.capture_errors(_METRICS):
            for sight in sights.values():
                wanted |= dict.fromkeys(self._wanted_metrics(sight, again, now))
            start = now - max(sight.request.span for sight in sights.values())
            points, round = self._points, self._pause()
            due = [m for m in wanted if again or points.is_incomplete(m, start) or now >= points.next_read_at(m, round)]
            if due:
                since, aws = points.choose_read_start(due, start), self._session()

                def read() -> tuple[tuple[MetricSeries, ...], float, float, float]:
                    return cloudwatch.read_series(aws, due, since, now), since, now, round

                # A late answer is taken by the next poll, whatever that would have asked for.
                points.add_series(*self._lookups.fetch("datapoints", "", read, DISPLAY_CALL_TIMEOUT, use_backoff=False))
            points.prune(wanted, start)

    def _read_alarms(
        self, sights: dict[str, PanelObservation], destinations: dict[str, str], again: bool, now: float
    ) -> None:
        """Read all that are meant by any sight, and tell their changes."""
        with self._troubles.capture_errors(_ALARMS):
            found = self._alarms = self._list_alarms(list(sights.values()), again, now)
            new = 0
            # Where two panels want it otherwise, the one that wants Slack told is heard.
            listeners = sorted(
                self._listeners(sights, destinations).items(), key=lambda one: ALARM_SLACK_POLICIES.index(one[0].policy)
            )
            for listener, listened in listeners:
                heard = [alarm for alarm in found if any(_is_about(sight, alarm) for sight in listened)]
                new += self._changes.report_changes(self._session(), heard, listener, now)
            if new:
                self._told()
            self._region = self._session().region
            longest = max(sight.request.span for sight in sights.values())
            self._firing = self._changes.get_firing_periods(self._session(), found, now - longest)
            self._before = self._changes.get_previous_states(found)

    def _list_alarms(self, sights: list[PanelObservation], again: bool, now: float) -> tuple[CloudWatchAlarm, ...]:
        """The alarms that any sight means.

        Which alarms are about an instance, only a list of all can tell. Where that is long, those found in it are asked
        for by name, and the list itself is read again now and then.
        """
        named = {name for sight in sights for name in sight.request.alarms}
        if all(sight.request.alarms for sight in sights):
            return self._named_alarms(named)
        known = frozenset(one.id for sight in sights for one in sight.instances)
        due = again or known != self._listed[0] or now - self._listed[1] >= ALARM_LIST_INTERVAL_POLLS * self._pause()
        found = cloudwatch.read_alarms(self._session()) if due else self._named_alarms({*named, *self._listed[2]})
        mine = tuple(alarm for alarm in found if any(_is_about(sight, alarm) for sight in sights))
        if due:
            is_long = len(found) > ALARMS_PER_PAGE
            self._listed = known, now if is_long else 0.0, tuple(alarm.name for alarm in mine)
        return mine

    def _named_alarms(self, names: Iterable[str]) -> tuple[CloudWatchAlarm, ...]:
        whole = sorted(name for name in names if not name.endswith("*"))
        prefixes = sorted(name[:-1] for name in names if name.endswith("*"))
        return cloudwatch.read_alarms(self._session(), whole, prefixes) if whole or prefixes else ()

    def _listeners(
        self, sights: dict[str, PanelObservation], destinations: dict[str, str]
    ) -> dict[AlarmRecipient, list[PanelObservation]]:
        found: dict[AlarmRecipient, list[PanelObservation]] = {}
        for panel, sight in sights.items():
            found.setdefault(AlarmRecipient.from_request(sight.request, destinations[panel]), []).append(sight)
        return found

    def _finish(self, sight: PanelObservation) -> PanelObservation:
        """What this sight has to show; where AWS does not answer, what was read last."""
        metrics = self._metrics.get((sight.request.metric, tuple(one.id for one in sight.instances)), (0.0, ()))[1]
        mine = tuple(sorted((one for one in self._alarms if _is_about(sight, one)), key=lambda one: one.name))
        return replace(
            sight,
            region=self._region,
            series=tuple(self._points.get_series(metric) for metric in metrics),
            alarms=mine,
            firing_periods=self._firing,
            previous_states=self._before,
            problems=self._troubles.list_problems(),
            updated_at=self._troubles.oldest_success_at,
        )


def _is_about(sight: PanelObservation, alarm: CloudWatchAlarm) -> bool:
    """Whether an alarm is one that the request means: by its name, else by an instance among its dimensions."""
    if wanted := sight.request.alarms:
        return any(alarm.name.startswith(n[:-1]) if n.endswith("*") else alarm.name == n for n in wanted)
    ids = {one.id for one in sight.instances}
    return any(name == "InstanceId" and value in ids for name, value in alarm.dimensions)
