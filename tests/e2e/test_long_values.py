"""The alert of a run with very many or very long values reports its outcome, and that values are missing."""

from __future__ import annotations

import pytest

from tests.support.kernel import Kernel, World, alert_outcome, alert_text, wait_for_alert
from tests.support.slack import Slack


def test_cell_with_2500_values_is_reported_as_finished(world: World, slack: Slack) -> None:
    names = [f"v{number}" for number in range(2_500)]
    with Kernel(world) as kernel:
        kernel.run("%load_ext cwnotify\n" + "\n".join(f"{name} = '가' * 400" for name in names))
        kernel.run(f"%%notify_on_finish train --show {','.join(names)}\npass")
        payload = wait_for_alert(slack, "train", 20)

    assert alert_outcome(payload) == "finished"
    assert "v0 = 가" in alert_text(payload)
    assert "… and 2,450 more values" in alert_text(payload)


def test_cell_with_megabyte_of_expressions_is_reported(world: World, slack: Slack) -> None:
    expressions = ",".join(f"len('{'x' * 18_000}') + {number}" for number in range(60))
    with Kernel(world) as kernel:
        kernel.run("%load_ext cwnotify")
        kernel.run(f"%%notify_on_finish train --show {expressions}\nraise ValueError('y' * 3_000_000)", 60)
        payload = wait_for_alert(slack, "train", 30)

    assert alert_outcome(payload) == "failed"
    assert "more values" in alert_text(payload)


BODIES = {
    "values of 10 MB": ("show = lambda: {f'v{n}': 'x' * 10_000_000 for n in range(60)}", "pass", True),
    "values without end": ("show = lambda: Endless()", "pass", False),
    "lists of long texts": ("show = lambda: {'v': [['x' * 10_000_000] * 50] * 50}", "pass", False),
    "errors with long names": ("show = lambda: {f'v{n}': Unshown() for n in range(60)}", "pass", True),
    "10,000 notes": ("show = None", "cwnotify.note({f'v{n}': '가' * 1000 for n in range(10_000)})", True),
    "notes one by one": ("show = None", "for n in range(10_000): cwnotify.note({f'v{n}': '🚀' * 1000})", True),
    "notes again": ("show = None", "for n in range(120): cwnotify.note({f'v{n % 60}': n})", True),
}
USER_TYPES = """
import collections.abc, cwnotify, os
class Endless(collections.abc.Mapping):
    def __getitem__(self, name): return 1
    def __len__(self): return 1
    def __iter__(self):
        while True: yield 'v'
Long = type('E' * 5_000_000, (Exception,), {})
class Unshown:
    def __str__(self): raise Long
"""


KILLED_CASES = ("10,000 notes", "notes again")


@pytest.mark.parametrize(
    ("case", "outcome"), [*((case, "finished") for case in BODIES), *((case, "lost") for case in KILLED_CASES)]
)
def test_program_is_reported_whatever_it_shows(case: str, outcome: str, world: World, slack: Slack) -> None:
    show, body, has_more = BODIES[case]
    end = "    os.kill(os.getpid(), 9)\n" if outcome == "lost" else ""

    world.execute("python", "-c", f"{USER_TYPES}\n{show}\nwith cwnotify.notify('train', show=show):\n    {body}\n{end}")

    payload = wait_for_alert(slack, "train", 30)
    assert alert_outcome(payload) == outcome
    assert "v" in alert_text(payload)
    # The last notes of a killed process may not have reached the sidecar.
    if outcome == "finished":
        assert ("more values" in alert_text(payload)) == has_more


OTHER_VERSION = """
import cwnotify, json
from cwnotify.sidecar import client
def encode(kind, **values):
    if kind == 'ended':
        values['ended'] |= {'tail': 'x' * SIZE}
    return json.dumps({'kind': kind, **values}, separators=(',', ':')).encode() + b'\\n'
client.encode_pipe_message = encode
with cwnotify.notify('train'):
    END
"""


@pytest.mark.parametrize("size", [3_000_000, 20_000_000])
@pytest.mark.parametrize(("outcome", "end"), [("finished", "pass"), ("failed", "raise ValueError('no')")])
def test_long_line_of_other_version_reports_outcome(
    outcome: str, end: str, size: int, world: World, slack: Slack
) -> None:
    code = OTHER_VERSION.replace("SIZE", str(size)).replace("END", end)
    result = world.execute("python", "-c", code)

    assert alert_outcome(wait_for_alert(slack, "train", 30)) == outcome
    if size > 1 << 24:
        assert "the alert about train has no details" in result.stderr


def test_end_larger_than_pipe_is_sent_without_next_event(world: World, slack: Slack) -> None:
    code = OTHER_VERSION.replace("SIZE", "3_000_000").replace("END", "pass")
    process = world.launch("python", "-c", f"{code}\nimport time\ntime.sleep(60)")

    assert alert_outcome(wait_for_alert(slack, "train", 30)) == "finished"
    assert process.poll() is None
