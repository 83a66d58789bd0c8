"""Find the changes of alarms since an earlier poll, and enqueue one message for each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from cwnotify.alerts.events.alarms import AlarmState, AlarmStateChange
from cwnotify.aws import alarm_history
from cwnotify.aws.alarm_history import HistoryItem
from cwnotify.aws.models import CloudWatchAlarm
from cwnotify.aws.session import AwsSession
from cwnotify.aws.slack_routes import SlackRouteFinder
from cwnotify.errors import AwsError
from cwnotify.store.alarm_states import AlarmObservation, AlarmStateStore, HistoryGap, MessageOptions, StoredAlarmState
from cwnotify.view.snapshot import PanelRequest, PlotPoint
from cwnotify.watch.background_calls import BackgroundCalls

# Each alarm whose firing periods are shown needs a call for its history.
MAX_SHADED_ALARMS = 10


@dataclass(frozen=True)
class AlarmRecipient:
    """Where the messages of a request go, how they are written, and the request's policy for alarms."""

    destination: str
    options: MessageOptions
    policy: str

    @classmethod
    def from_request(cls, request: PanelRequest, destination: str) -> AlarmRecipient:
        """Return the recipient at `destination` with the language, time zone, channel and policy of `request`."""
        return cls(destination, MessageOptions(request.lang, request.zone, request.channel), request.alarm_slack)


class AlarmChangeTracker:
    """Follow alarms from poll to poll.

    Parameters
    ----------
    store
        The states that are stored already.
    grace
        Returns how many seconds may pass between two observations before the time between them counts as unwatched.
    calls
        Makes the calls that add to the response of DescribeAlarms.
    """

    def __init__(self, store: AlarmStateStore, grace: Callable[[], float], calls: BackgroundCalls) -> None:
        self._store = store
        self._grace = grace
        self._calls = calls
        self._route_finder = SlackRouteFinder(calls.fetch)
        # By ARN: the start of the history that was read, and the (start, end) of the firing periods in it.
        self._firing: dict[str, tuple[float, list[PlotPoint]]] = {}
        self._latest_changes: dict[str, AlarmStateChange] = {}

    def report_changes(
        self, aws: AwsSession, alarms: Iterable[CloudWatchAlarm], recipient: AlarmRecipient, now: float
    ) -> int:
        """Store the states of `alarms`, and enqueue messages for their changes. Return how many changes are new."""
        stored_states = self._store.load_states(recipient.destination)
        unchanged: list[CloudWatchAlarm] = []
        changed: list[CloudWatchAlarm] = []
        for alarm in alarms:
            stored = stored_states.get(alarm.arn)
            is_unchanged = stored is None or (stored.state, stored.since) == (alarm.state, alarm.since)
            (unchanged if is_unchanged else changed).append(alarm)
        observations = [AlarmObservation(alarm.arn, alarm.state, alarm.since) for alarm in unchanged]
        count = self._store.record_observations(recipient.destination, observations, recipient.options, now)
        for alarm in changed:
            count += self._report_change(aws, alarm, stored_states[alarm.arn], recipient, now)
        return count + self._fill_gaps(aws, [*unchanged, *changed], recipient, now)

    def _report_change(
        self, aws: AwsSession, alarm: CloudWatchAlarm, stored: StoredAlarmState, recipient: AlarmRecipient, now: float
    ) -> int:
        is_silent = recipient.policy == "never" or (
            recipient.policy == "auto" and self._route_finder.has_slack_route(aws.best_effort, alarm)
        )
        history = self._read_history(aws, alarm, stored.since) if alarm.since > stored.since else []
        changes = alarm_history.collect_alarm_changes(alarm, history or (), stored.state, stored.since)
        for change in changes:
            self._follow(alarm.arn, change)
        unwatched_since = stored.seen if now - stored.seen > self._grace() else None
        gap = HistoryGap(stored.state, stored.since, alarm.state, alarm.since) if history is None else None
        observation = AlarmObservation(alarm.arn, alarm.state, alarm.since, changes, gap)
        return self._store.record_observations(
            recipient.destination, [observation], recipient.options, now, is_silent, unwatched_since
        )

    def _fill_gaps(
        self, aws: AwsSession, alarms: Iterable[CloudWatchAlarm], recipient: AlarmRecipient, now: float
    ) -> int:
        """Enqueue the changes that the history lacked at an earlier poll; return how many messages."""
        gaps, count = self._store.load_gaps(recipient.destination), 0
        for alarm in alarms:
            if alarm.arn not in gaps:
                continue
            history = self._read_history(aws, alarm, gaps[alarm.arn][0].since)
            if history is None:
                break
            changes_by_gap = {
                gap: alarm_history.collect_missed_changes(alarm, history, gap.before, gap.since, gap.after, gap.until)
                for gap in gaps[alarm.arn]
            }
            # The firing periods are read again, because the history is longer now.
            self._firing.pop(alarm.arn, None)
            count += self._store.fill_gaps(
                recipient.destination, alarm.arn, changes_by_gap, alarm.state, recipient.options, now
            )
        return count

    def _read_history(self, aws: AwsSession, alarm: CloudWatchAlarm, since: float) -> list[HistoryItem] | None:
        """Return the alarm's history from `since` on; None if AWS does not return it in time."""
        key = alarm.arn, since
        try:
            return self._calls.fetch(
                "history", key, lambda: alarm_history.read_alarm_history(aws.best_effort, alarm.name, since)
            )
        except AwsError:
            return None

    def get_firing_periods(
        self, aws: AwsSession, alarms: Sequence[CloudWatchAlarm], since: float
    ) -> dict[str, tuple[PlotPoint, ...]]:
        """Return by ARN when the alarms fired from `since` on. Only the first `MAX_SHADED_ALARMS` have a history."""
        for alarm in alarms[:MAX_SHADED_ALARMS]:
            start, _ = self._firing.get(alarm.arn, (float("inf"), []))
            if start > since:
                history = self._read_history(aws, alarm, since)
                if history is None:
                    break
                self._firing[alarm.arn] = since, []
                for change in alarm_history.collect_alarm_changes(alarm, history, "", since):
                    self._follow(alarm.arn, change)
        return {alarm.arn: self._firing_periods(alarm) for alarm in alarms}

    def get_previous_states(self, alarms: Iterable[CloudWatchAlarm]) -> dict[str, str]:
        """Return by ARN the states before the current states, where the history has them."""
        latest = ((alarm, self._latest_changes.get(alarm.arn)) for alarm in alarms)
        return {alarm.arn: change.before for alarm, change in latest if change is not None and change.at == alarm.since}

    def _follow(self, arn: str, change: AlarmStateChange) -> None:
        self._latest_changes[arn] = change
        if arn not in self._firing or change.at is None:
            return
        start, periods = self._firing[arn]
        if periods and periods[-1][1] == 0.0:
            if change.after != AlarmState.ALARM and change.at >= periods[-1][0]:
                periods[-1] = periods[-1][0], change.at
        elif change.after == AlarmState.ALARM:
            periods.append((change.at, 0.0))
        elif not periods and change.before == AlarmState.ALARM:
            periods.append((start, change.at))

    def _firing_periods(self, alarm: CloudWatchAlarm) -> tuple[PlotPoint, ...]:
        """Return the firing periods, made consistent with the alarm's current state."""
        _, periods = self._firing.get(alarm.arn, (0.0, []))
        ended = [(start, end) for start, end in periods if end]
        if alarm.state == AlarmState.ALARM:
            return (*(period for period in ended if period[1] <= alarm.since), (alarm.since, 0.0))
        open_since = next((start for start, end in periods if not end and start < alarm.since), None)
        return (*ended, *([(open_since, alarm.since)] if open_since is not None else []))
