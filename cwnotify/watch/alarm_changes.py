"""The alarms' part of a round: what has changed since anybody last looked, told to Slack once, and shown."""

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

# So many alarms are shown with the times in which they fired; each costs a look into its history.
MAX_SHADED_ALARMS = 10


@dataclass(frozen=True)
class AlarmRecipient:
    """Whose ears a request's alarms are meant for."""

    destination: str
    voice: MessageOptions
    policy: str

    @classmethod
    def from_request(cls, request: PanelRequest, destination: str) -> AlarmRecipient:
        """The readers of `destination`, spoken to as `request` says."""
        return cls(destination, MessageOptions(request.lang, request.zone, request.channel), request.alarm_slack)


class AlarmChangeTracker:
    """Follows alarms from round to round.

    Parameters
    ----------
    book
        Where it is noted what was told.
    grace
        For so many seconds nobody has to have looked before that counts as not watched.
    lookups
        Makes the calls that only add to what `DescribeAlarms` says.
    """

    def __init__(self, book: AlarmStateStore, grace: Callable[[], float], lookups: BackgroundCalls) -> None:
        self._book = book
        self._grace = grace
        self._lookups = lookups
        self._reporting = SlackRouteFinder(lookups.fetch)
        self._firing: dict[str, tuple[float, list[PlotPoint]]] = {}
        self._latest: dict[str, AlarmStateChange] = {}

    def report_changes(
        self, aws: AwsSession, alarms: Iterable[CloudWatchAlarm], listener: AlarmRecipient, now: float
    ) -> int:
        """Tell what has changed; tells how many changes were new."""
        known = self._book.load_states(listener.destination)
        same: list[CloudWatchAlarm] = []
        moved: list[CloudWatchAlarm] = []
        for alarm in alarms:
            before = known.get(alarm.arn)
            unchanged = before is None or (before.state, before.since) == (alarm.state, alarm.since)
            (same if unchanged else moved).append(alarm)
        told = self._book.record_observations(listener.destination, map(_as_it_is, same), listener.voice, now)
        for alarm in moved:
            told += self._tell_one(aws, alarm, known[alarm.arn], listener, now)
        return told + self._tell_missed(aws, [*same, *moved], listener, now)

    def _tell_one(
        self, aws: AwsSession, alarm: CloudWatchAlarm, before: StoredAlarmState, listener: AlarmRecipient, now: float
    ) -> int:
        silent = listener.policy == "never" or (
            listener.policy == "auto" and self._reporting.has_slack_route(aws.best_effort, alarm)
        )
        items = self._history(aws, alarm, before.since) if alarm.since > before.since else []
        found = alarm_history.collect_alarm_changes(alarm, items or (), before.state, before.since)
        for change in found:
            self._follow(alarm.arn, change)
        unwatched = before.seen if now - before.seen > self._grace() else None
        gap = HistoryGap(before.state, before.since, alarm.state, alarm.since) if items is None else None
        seen = AlarmObservation(alarm.arn, alarm.state, alarm.since, found, gap)
        return self._book.record_observations(listener.destination, [seen], listener.voice, now, silent, unwatched)

    def _tell_missed(
        self, aws: AwsSession, alarms: Iterable[CloudWatchAlarm], listener: AlarmRecipient, now: float
    ) -> int:
        """Send what the history has to add to changes that were sent without it; return how many messages."""
        gaps, sent = self._book.load_gaps(listener.destination), 0
        for alarm in alarms:
            if alarm.arn not in gaps:
                continue
            items = self._history(aws, alarm, gaps[alarm.arn][0].since)
            if items is None:
                break
            missed = {
                gap: alarm_history.collect_missed_changes(alarm, items, gap.before, gap.since, gap.after, gap.until)
                for gap in gaps[alarm.arn]
            }
            # Read again, now that the history has more.
            self._firing.pop(alarm.arn, None)
            sent += self._book.fill_gaps(listener.destination, alarm.arn, missed, alarm.state, listener.voice, now)
        return sent

    def _history(self, aws: AwsSession, alarm: CloudWatchAlarm, since: float) -> list[HistoryItem] | None:
        """The alarm's history from `since` on; None if it cannot be had now."""
        key = alarm.arn, since
        try:
            return self._lookups.fetch(
                "history", key, lambda: alarm_history.read_alarm_history(aws.best_effort, alarm.name, since)
            )
        except AwsError:
            return None

    def get_firing_periods(
        self, aws: AwsSession, alarms: Sequence[CloudWatchAlarm], since: float
    ) -> dict[str, tuple[PlotPoint, ...]]:
        """The times from `since` on in which the first of these alarms fired, by ARN."""
        for alarm in alarms[:MAX_SHADED_ALARMS]:
            known = self._firing.get(alarm.arn)
            if known is None or known[0] > since:
                items = self._history(aws, alarm, since)
                if items is None:
                    break
                self._firing[alarm.arn] = since, []
                for change in alarm_history.collect_alarm_changes(alarm, items, "", since):
                    self._follow(alarm.arn, change)
        return {alarm.arn: self._periods(alarm) for alarm in alarms}

    def get_previous_states(self, alarms: Iterable[CloudWatchAlarm]) -> dict[str, str]:
        """The states from which these alarms came to their states now, by ARN, where that is known."""
        latest = ((alarm, self._latest.get(alarm.arn)) for alarm in alarms)
        return {alarm.arn: change.before for alarm, change in latest if change is not None and change.at == alarm.since}

    def _follow(self, arn: str, change: AlarmStateChange) -> None:
        self._latest[arn] = change
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

    def _periods(self, alarm: CloudWatchAlarm) -> tuple[PlotPoint, ...]:
        """What is known of it, made to agree with its state now."""
        _, periods = self._firing.get(alarm.arn, (0.0, []))
        fires = alarm.state == AlarmState.ALARM
        past = [(start, end) for start, end in periods if end]
        if not fires:
            open_since = next((start for start, end in periods if not end and start < alarm.since), None)
            return (*past, *([(open_since, alarm.since)] if open_since is not None else []))
        return (*(one for one in past if one[1] <= alarm.since), (alarm.since, 0.0))


def _as_it_is(alarm: CloudWatchAlarm) -> AlarmObservation:
    return AlarmObservation(alarm.arn, alarm.state, alarm.since)
