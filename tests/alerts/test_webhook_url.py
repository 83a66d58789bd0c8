"""Webhook URLs in the forms in which people copy and store them."""

from __future__ import annotations

import json
from urllib.parse import urlsplit

import pytest
import requests
import urllib3
from hypothesis import given
from hypothesis import strategies as st

from cwnotify.alerts.webhook_url import WRAPPING_CHARACTERS, InvalidWebhookError, is_workflow_webhook, parse_webhook_url
from cwnotify.settings import Secret
from cwnotify.settings.webhook import mask_webhook
from cwnotify.slack.deadline_http import make_connection

URL = "https://hooks.slack.com/services/T0000/B0000/canary"
OTHER = "https://hooks.slack-gov.com/services/T0000/B0000/canary2"
LOCAL = "http://127.0.0.1:8080/services/T0/B0/canary"
WORKFLOWS = [
    "https://hooks.slack.com/workflows/T0/A0/1/canary",
    "https://hooks.slack.com/triggers/T0/1/canary",
    "https://hooks.slack-gov.com/workflows/T0/A0/1/canary",
    "https://hooks.slack-gov.com/triggers/T0/1/canary",
    "https://HOOKS.slack.com/Triggers/T0/1/canary",
    "https://hooks.slack.com./triggers/T0/1/canary",
    "https://hooks.slack.com:443//workflows/T0/A0/1/canary",
    "http://127.0.0.1:8080/workflows/T0/A0/1/canary",
]
SHAPES = [
    "{url}",
    "  {url}\t\r\n",
    "\ufeff{url}\r\n",
    "\u00a0{url}\u3000",
    "'{url}'",
    '"{url}"',
    "`{url}`",
    "\u201c{url}\u201d",
    "<{url}>",
    "<{url}|hooks.slack.com>",
    "{url};",
    "SLACK_WEBHOOK_URL={url}",
    "SLACK_WEBHOOK_URL = '{url}'",
    'export SLACK_WEBHOOK_URL="{url}"  # the team\'s',
    "set SLACK_WEBHOOK_URL={url}",
    '$env:SLACK_WEBHOOK_URL = "{url}"',
    "hookUrl: {url}",
    '"webhook": "{url}",',
    "# the team's\nLANG=ko\n\nHOOK={url}\nDOCS=https://example.com\n",
    '{{"webhook": "{url}"}}',
    '\'{{"webhook": "{url}"}}\'',
    '\ufeff{{\n  "webhook": "{url}"\n}}\n',
    '{{"user": "me", "password": "x", "webhook": "{url}", "port": 5432, "none": null}}',
    '{{"docs": "https://example.com/x", "webhook": "<{url}>"}}',
    '{{"slack": {{"webhook": "{url}", "channel": "#ml"}}}}',
    '{{"one": "{url}", "the same": "{url}"}}',
    '{{"workflow": "https://hooks.slack.com/triggers/T0/1/x", "webhook": "{url}"}}',
    '{{"line": "HOOK={url}"}}',
    '["{url}"]',
]


@pytest.mark.parametrize("shape", SHAPES, ids=ascii)
@pytest.mark.parametrize("url", [URL, OTHER, LOCAL])
def test_stored_webhook_is_read_in_any_shape(shape: str, url: str) -> None:
    text = shape.format(url=url)
    assert parse_webhook_url(text) == url
    assert parse_webhook_url(text.encode()) == url
    assert parse_webhook_url(("\ufeff" + text).encode("utf-16-le")) == url


def test_json_escapes_are_decoded() -> None:
    assert parse_webhook_url(json.dumps(URL).replace("/", "\\/")) == URL
    assert parse_webhook_url(json.dumps(json.dumps({"webhook": URL}))) == URL


@pytest.mark.parametrize("shape", SHAPES[:14] + SHAPES[19:23], ids=ascii)
def test_missing_scheme_is_accepted_if_allowed(shape: str) -> None:
    text = shape.format(url=URL.removeprefix("https://"))
    assert parse_webhook_url(text, allow_missing_scheme=True) == URL
    with pytest.raises(InvalidWebhookError):
        parse_webhook_url(text)


@pytest.mark.parametrize("reference", ["ssm:/team/slack", "secretsmanager:team=slack"])
@pytest.mark.parametrize("shape", ["{url}", " '{url}'\n", "HOOK={url}", '{{"webhook": "{url}", "user": "x"}}'])
def test_reference_is_returned_unchanged(reference: str, shape: str) -> None:
    assert parse_webhook_url(shape.format(url=reference)) == reference


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (json.dumps({"a": URL, "b": OTHER, "c": "x"}), "several values .* (keys: a, b)"),
        (json.dumps({"a": "https://example.com/canary", "b": "https://example.org/canary"}), "(keys: a, b)"),
        (
            json.dumps({"user": "canary", "slack": {"token": "canary"}}),
            "none of its values .* (keys: user, slack.token)",
        ),
        (json.dumps({"webhook": None}), "none of its values .* (keys: webhook)"),
        (json.dumps({}), "none of its values is a webhook's URL$"),
        (json.dumps({f"k{n}": "canary" for n in range(50)}), "(keys: k0, .*, k9, …)"),
        (json.dumps({URL: "x", "name": "y"}), "(keys: name, …)"),
        (f"A={URL}\nB={OTHER}", "several lines, and several values .* (keys: A, B)"),
        ('{"webhook": "https://hooks.slack.com/services/canary', "not valid JSON"),
        pytest.param('{"a":' * 9000 + "1" + "}" * 9000, "JSON", id="deep"),
        ("", "must begin with https"),
        ("HOOK=", "must begin with https"),
        ("canary", "must begin with https"),
    ],
    ids=ascii,
)
def test_error_names_keys_and_no_value(text: str, reason: str) -> None:
    for allow_missing_scheme in (False, True):
        with pytest.raises(InvalidWebhookError, match=reason.replace("(", r"\(").replace(")", r"\)")) as raised:
            parse_webhook_url(text, allow_missing_scheme)
        assert "canary" not in str(raised.value)
        assert "hooks.slack" not in str(raised.value)


@pytest.mark.parametrize("shape", SHAPES[:26], ids=ascii)
@pytest.mark.parametrize("url", WORKFLOWS)
def test_workflow_webhook_is_rejected_with_remedy(url: str, shape: str) -> None:
    with pytest.raises(
        InvalidWebhookError, match=r"Slack Workflow webhook.*incoming webhook instead: cwnotify manifest"
    ) as raised:
        parse_webhook_url(shape.format(url=url), allow_missing_scheme=True)
    assert "canary" not in str(raised.value)


def test_workflow_path_on_another_host_is_accepted() -> None:
    assert not is_workflow_webhook("https://example.com/workflows/x")
    assert not is_workflow_webhook("https://hooks.slack.com/services/T0/B0/workflows")
    assert parse_webhook_url("https://chat.example.com/triggers/x") == "https://chat.example.com/triggers/x"


# RFC 3986, browsers, urllib.parse, urllib3, curl and inet_aton disagree about the host, port or path of these.
AMBIGUOUS = [
    "http://127.0.0.1:8080\\@localhost/canary",
    "http://localhost\\@evil.example/canary",
    "https://hooks.slack.com\\.evil.example/canary",
    "https://hooks.slack.com/\\evil.example/canary",
    "https:\\\\hooks.slack.com/canary",
    "https://hooks.slack.com@evil.example/canary",
    "https://user:word@hooks.slack.com/canary",
    "https://@hooks.slack.com/canary",
    "https://a@b@hooks.slack.com/canary",
    "https://hooks.slack.com#@evil.example/canary",
    "https://hooks.slack.com?@evil.example/canary",
    "https://hooks.slack.com#/services/canary",
    "https://hooks.slack.com/services/canary#x",
    "https://hooks%2eslack.com/canary",
    "https://hooks.slack.com%2f@evil.example/canary",
    "https://hooks.slack.com:443:80/canary",
    "https://hooks.slack.com:/canary",
    "https://hooks.slack.com:0/canary",
    "https://hooks.slack.com:0443/canary",
    "https://hooks.slack.com:65536/canary",
    "https://hooks.slack.com:-1/canary",
    "https://hooks.slack.com:+443/canary",
    "https://hooks.slack.com:4_43/canary",
    "https://hooks.slack.com:443a/canary",
    "https://hooks..slack.com/canary",
    "https://.hooks.slack.com/canary",
    "https://hooks.slack.com../canary",
    "https://-hooks.slack.com/canary",
    "https://*.slack.com/canary",
    "https://hooks,slack.com/canary",
    "https://hooks.slack.com;evil.example/canary",
    "https://hooks.slack.com&evil.example/canary",
    "https://127.1/canary",
    "https://2130706433/canary",
    "https://0x7f000001/canary",
    "https://0x7f.0.0.0x1/canary",
    "https://0177.0.0.1/canary",
    "https://127.0.0.256/canary",
    "https://127.0.0.1.2/canary",
    "https://a.0x/canary",
    "https://[fe80::1%25eth0]/canary",
    "https://[fe80::1%eth0]/canary",
    "https://[::ffff:127.0.0.256]/canary",
    "https://[::1/canary",
    "https://::1/canary",
    "https://[hooks.slack.com]/canary",
    "https://[v1.x]/canary",
    "https://[::1]evil.example/canary",
    "https://hooks.slack.com/services/../triggers/canary",
    "https://hooks.slack.com/services/%2E%2e/triggers/canary",
    "https://hooks.slack.com/./canary",
    "https://hooks.slack.com/canary/..",
    "https://h\u00f6oks.slack.com/canary",
    "https://hooks\u3002slack.com/canary",
    "https://hooks.slack.com\uff0fevil.example/canary",
    "https://hooks.slack.com\u2044evil.example/canary",
    "https://hooks.slack.com\t.evil.example/canary",
    "https://hooks.slack.com\n.evil.example/canary",
    "https://hooks.slack.com\x00.evil.example/canary",
    "https://hooks.slack.com .evil.example/canary",
    "https:///hooks.slack.com/canary",
    "https:hooks.slack.com/canary",
    "https:/hooks.slack.com/canary",
]


@pytest.mark.parametrize("url", AMBIGUOUS, ids=ascii)
@pytest.mark.parametrize("shape", ["{url}", '{{"webhook": {quoted}}}'])
def test_ambiguous_url_is_rejected(url: str, shape: str) -> None:
    for allow_missing_scheme in (False, True):
        with pytest.raises(InvalidWebhookError) as raised:
            parse_webhook_url(shape.format(url=url, quoted=json.dumps(url)), allow_missing_scheme)
        assert "canary" not in str(raised.value)


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.slack.com:443/services/T0/B0/canary?thread=1&x=%20",
        "https://HOOKS.slack.com./services/canary",
        "https://chat.xn--bcher-kva.example/hooks/canary",
        "https://mattermost_1.internal:8065/hooks/canary",
        "https://10.0.0.7/hooks/canary",
        "https://[2001:db8::7]:8443/hooks/canary",
        "http://[::1]:8080/services/canary",
        "http://localhost:8080/services/canary",
        "https://chat.example/hooks/a.b/..c/.d",
        "https://chat.example",
    ],
)
def test_unambiguous_url_is_accepted(url: str) -> None:
    assert parse_webhook_url(url) == url


PARTS = [
    *"\\@:/?#%[].-_ 0179axX",
    "//",
    "localhost",
    "127.0.0.1",
    "::1",
    "hooks.slack.com",
    "evil.example",
    "%2e",
    "0x7f",
]


@given(
    st.sampled_from(["https://", "http://", "https:", ""]), st.lists(st.sampled_from(PARTS), max_size=8), st.booleans()
)
def test_every_client_connects_to_the_displayed_host(scheme: str, parts: list[str], allow_missing_scheme: bool) -> None:
    try:
        url = parse_webhook_url(scheme + "".join(parts), allow_missing_scheme)
    except InvalidWebhookError:
        return
    if url.startswith(("ssm:", "secretsmanager:")):
        return
    parsed = urlsplit(url)
    expected = (parsed.scheme, parsed.hostname, parsed.port or {"http": 80, "https": 443}[parsed.scheme])
    prepared = requests.Request("POST", url).prepare()
    pool = requests.adapters.HTTPAdapter().get_connection_with_tls_context(prepared, verify=True)
    connection = make_connection(parsed, 1.0)
    reparsed = urllib3.util.parse_url(url)

    assert mask_webhook(Secret(url)) == f"{parsed.scheme}://{parsed.netloc.lower()}/…"
    assert (pool.scheme, pool.host.strip("[]"), pool.port) == expected
    assert (connection.host, connection.port) == expected[1:]
    assert (reparsed.host or "").strip("[]") == parsed.hostname
    # requests writes %2e as a dot, which does not change the host.
    if not set("%.") & set(parsed.path):
        assert urlsplit(str(prepared.url)).path in (parsed.path or "/", "/" + parsed.path.lstrip("/"))


@given(
    st.text() | st.binary() | st.recursive(st.text(), lambda inner: st.dictionaries(st.text(), inner)).map(json.dumps)
)
def test_any_text_is_a_url_or_an_error(text: str | bytes) -> None:
    for allow_missing_scheme in (False, True):
        try:
            url = parse_webhook_url(text, allow_missing_scheme)
        except InvalidWebhookError:
            continue
        assert url.isprintable()
        assert url == url.strip(WRAPPING_CHARACTERS)


@given(st.text(WRAPPING_CHARACTERS.replace("<", "").replace("\n", "").replace("\r", ""), max_size=5))
def test_wrapping_characters_are_removed(wrapping: str) -> None:
    assert parse_webhook_url(f"{wrapping}{URL}{wrapping}") == URL
