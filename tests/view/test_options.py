"""The options of ``%cwnotify panel``."""

from __future__ import annotations

import pytest

from cwnotify.errors import UsageError
from cwnotify.view.options import build_panel_request, panel_parser, parse_panel_arguments
from cwnotify.view.snapshot import PanelRequest


@pytest.mark.parametrize(
    ("line", "request_"),
    [
        ("", PanelRequest()),
        ("--instance i-0abc12f9", PanelRequest(instances=("i-0abc12f9",))),
        ("--instance i-0abc12f9,i-0abc12f8 i-0abc12f7", PanelRequest(("i-0abc12f9", "i-0abc12f8", "i-0abc12f7"))),
        ("--tag team=vision", PanelRequest(tag="team=vision")),
        ("--tag 'Name=my box'", PanelRequest(tag="Name=my box")),
        ("--metric gpu --range 12h", PanelRequest(metric="gpu", span=43200.0)),
        ("--metric AWS/EC2/NetworkIn", PanelRequest(metric="AWS/EC2/NetworkIn")),
        (
            "--alarms 'train busy' off* --alarm-slack never",
            PanelRequest(alarms=("train busy", "off*"), alarm_slack="never"),
        ),
    ],
)
def test_options_become_panel_request(line: str, request_: PanelRequest) -> None:
    assert build_panel_request(**parse_panel_arguments(line)) == request_


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--instance box", "'box' is not an instance ID; write it like i-"),
        ("--tag vision", "'vision' is not a tag; write it like KEY=VALUE"),
        ("--metric cpus", "'cpus' is not a metric; use cpu, gpu, mem, disk, or NAMESPACE/NAME"),
        ("--range 1s", "range takes 5m to 15d, not '1s'; write it like 3h"),
        ("--range long", "'long' is not a duration"),
        ("--alarm-slack maybe", "alarm-slack cannot be 'maybe'; choose from auto, always, never"),
        ("--instances i-0", "--instances is not an option; did you mean --instance?\nusage: %cwnotify panel"),
        ("tag team=ml", "tag is not an option; did you mean --tag?"),
        ("--tag 'x", "unclosed quote"),
    ],
)
def test_invalid_option_raises_usage_error_with_remedy(line: str, message: str) -> None:
    with pytest.raises(UsageError) as caught:
        build_panel_request(**parse_panel_arguments(line))

    assert message in str(caught.value)


def test_every_option_has_help() -> None:
    help_texts = {action.dest: action.help for action in panel_parser()._actions}

    assert set(help_texts) == set(panel_parser().read(""))
    assert all(help_texts.values())
