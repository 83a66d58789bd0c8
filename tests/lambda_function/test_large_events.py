"""Deep and wide events stay within the function's memory, time and messages. Entries over the limits are counted."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cwnotify.alerts.events.alarms import AlarmStateChange, InstanceNotice, UnrecognizedEvent
from cwnotify.alerts.messages.digest import MAX_SINGLE_EVENT_MESSAGES, digest_pages
from cwnotify.alerts.parsing.envelopes import MAX_OPENED_ENTRIES, parse_aws_events
from cwnotify.alerts.payloads import render_payloads
from cwnotify.deploy.bundle import make_zip

NOTICE = {"detail-type": "EC2 Spot Instance Interruption Warning"}
# SNS accepts up to 256 kB.
SIZE = 240_000


def notices(count: int) -> list[object]:
    return [NOTICE | {"detail": {"instance-id": f"i-{number:08x}"}} for number in range(count)]


def alarm(**more: object) -> str:
    return json.dumps({"AlarmName": "train", "NewStateValue": "ALARM", **more})


def deep(depth: int, leaf: str = "1") -> str:
    return '{"a":' * depth + leaf + "}" * depth


LARGE = {
    "leaves at depth": "[" * 900 + ",".join("1" * (SIZE // 2)) + "]" * 900,
    "deep lists": "[" * (SIZE // 2) + "]" * (SIZE // 2),
    "deep objects": deep(SIZE // 6),
    "deep beside each other": "[" + ",".join([deep(200)] * (SIZE // 1202)) + "]",
    "empty lists": "[" + ",".join(["[]"] * (SIZE // 3)) + "]",
    "texts of JSON": json.dumps([json.dumps({"a": n}) for n in range(14_000)]),
    "notices": json.dumps(notices(2_900)),
    "alarms": json.dumps([{"AlarmName": f"a{n}", "NewStateValue": "ALARM"} for n in range(4_500)]),
    "records in records": json.dumps({"Records": [{"Records": ["x"] * 50}] * 900}),
    "keys": json.dumps({f"k{n}": n for n in range(18_000)}),
    "dimensions": alarm(Trigger={"Dimensions": [{"name": f"n{n}", "value": "v"} for n in range(8_000)]}),
    "metrics": alarm(Trigger={"Metrics": [{"Id": f"m{n}", "Expression": "m1+m2"} for n in range(5_000)]}),
    "children": alarm(TriggeringChildren=[{"Arn": f"arn:aws:cloudwatch:::alarm:x{n}"} for n in range(5_000)]),
    "rule": alarm(AlarmRule=" OR ".join(f'ALARM("x{n}")' for n in range(15_000))),
    "parentheses": alarm(AlarmRule="(" * SIZE),
    "datapoints": alarm(NewStateReason="[" + "1.0 (01/01/26 00:00:00), " * 9_000 + "] was greater"),
    "brackets": alarm(NewStateReason="[" * SIZE),
    "spaces": alarm(NewStateReason=" " * SIZE + "x"),
    "digits": alarm(NewStateReason="1" * SIZE),
    "reason data": alarm(NewStateReasonData=deep(900)),
    "description": alarm(AlarmDescription="*_[a](http://x)" * 15_000),
    "subject": json.dumps({"detail-type": "x" * SIZE}),
}
MEASURE = """
import json, resource, sys, time
sys.path.insert(0, sys.argv[1])
import lambda_function
from cwnotify.alerts.payloads import render_payloads
message = sys.stdin.read()
event = {"Records": [{"EventSource": "aws:sns", "Sns": {"Message": message}}]}
# The function's memory, and what the interpreter itself maps.
resource.setrlimit(resource.RLIMIT_AS, (256_000_000, 256_000_000))
start = time.process_time()
payloads = render_payloads(event, "en")
seconds = time.process_time() - start
print(json.dumps([seconds, len(payloads), sum(len(json.dumps(payload)) for payload in payloads)]))
"""


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("function")
    zipfile.ZipFile(io.BytesIO(make_zip())).extractall(folder)
    return folder


@pytest.mark.parametrize("name", LARGE)
def test_large_event_stays_within_the_limits_of_the_function(name: str, unpacked: Path) -> None:
    command = [sys.executable, "-I", "-S", "-c", MEASURE, str(unpacked)]
    process = subprocess.run(command, input=LARGE[name], capture_output=True, text=True, timeout=60)
    assert process.returncode == 0, process.stderr[-500:]
    seconds, messages, characters = json.loads(process.stdout)
    # A function with 256 MB gets a seventh of a CPU, and 60 seconds.
    assert seconds < 5
    assert 1 <= messages <= 45
    assert characters < 1_000_000


def test_many_notices_become_lines_of_a_digest() -> None:
    events = parse_aws_events(notices(250))
    pages = digest_pages(events, 0.0, "en")
    assert len(pages) == MAX_SINGLE_EVENT_MESSAGES + 3
    assert [event for page in pages for event in page.events] == list(events)
    assert "230 more messages" in pages[-1].payload["text"]
    text = json.dumps([page.payload for page in pages])
    assert all(f"i-{number:08x}" in text for number in range(250))


@pytest.mark.parametrize("lang", ["en", "ko"])
def test_digest_counts_notices_over_the_limit(lang: str) -> None:
    events = parse_aws_events(notices(2_900))
    assert len(events) == 2_900
    pages = digest_pages(events, 0.0, lang)
    assert [event for page in pages for event in page.events] == list(events)
    assert "2580" in json.dumps(pages[-1].payload["attachments"])


def test_unread_entries_are_counted() -> None:
    *read, note = parse_aws_events(notices(MAX_OPENED_ENTRIES + 77))
    assert [type(event) for event in read] == [InstanceNotice] * MAX_OPENED_ENTRIES
    assert isinstance(note, UnrecognizedEvent)
    assert note.left_out == 77
    texts = [payload["text"] for payload in render_payloads(notices(MAX_OPENED_ENTRIES + 77), "en")]
    assert any("77 more were left out" in text for text in texts)
    assert any("77개" in payload["text"] for payload in render_payloads(notices(MAX_OPENED_ENTRIES + 77), "ko"))


def test_large_events_that_differ_at_the_end_have_different_ids() -> None:
    first, second = ([*["x"] * 60_000, end] for end in ("a", "b"))
    assert parse_aws_events(first)[0].id != parse_aws_events(second)[0].id


@settings(max_examples=60, deadline=None)
@given(depth=st.integers(1, 950), width=st.integers(1, 3_000), leaf=st.sampled_from(["1", "[]", "{}", '"x"', "null"]))
def test_any_shape_becomes_few_small_messages(depth: int, width: int, leaf: str) -> None:
    inner = ",".join([leaf] * width)
    for text in (f"{'[' * depth}{inner}{']' * depth}", deep(depth, f"[{inner}]"), f"[{deep(depth)},{inner}]"):
        payloads = render_payloads({"Records": [{"Sns": {"Message": text}}]}, "en")
        assert 1 <= len(payloads) <= MAX_SINGLE_EVENT_MESSAGES + 4
        assert all(len(json.dumps(payload)) < 40_000 for payload in payloads)


def test_alarm_before_many_entries_is_read() -> None:
    events = parse_aws_events([json.loads(alarm()), *["x"] * (2 * MAX_OPENED_ENTRIES)])
    assert isinstance(events[0], AlarmStateChange)
    assert isinstance(events[-1], UnrecognizedEvent)
    assert events[-1].left_out == MAX_OPENED_ENTRIES + 1
