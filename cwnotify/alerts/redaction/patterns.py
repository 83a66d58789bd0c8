"""Find secrets in text by their form. Pure: standard library and `alerts` only.

An error message, a captured value, a printed line or an event may contain a password by accident, and Slack stores what
it receives. Only text with the form of a secret, or with the label of one (`cwnotify.alerts.redaction.labels`), is
removed. Hashes, paths and ordinary words stay.

Each pattern names the source of its form. The time is linear in the text: what follows an unbounded repetition is
optional or bounded, so no text is scanned twice. A pattern is compiled when a text contains one of its hints.
"""

from __future__ import annotations

import re

from cwnotify.alerts.messages.block_kit import sanitize_text
from cwnotify.alerts.redaction.aws_events import REDACTION_MARK
from cwnotify.alerts.redaction.labels import redact_labeled_secrets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# Ordinary text may contain shorter paths.
_MIN_KNOWN_LENGTH = 12

# Where a token may begin: outside of a word, or after an escape of a repr, a color, JSON or a URL.
_START = (
    r"(?:(?<![A-Za-z0-9])|(?<=\\[abfnrtv])|(?<=\[m)|(?<=\dm)|(?<=%[0-9A-Fa-f]{2})"
    r"|(?<=\\x[0-9A-Fa-f]{2})|(?<=\\u[0-9A-Fa-f]{4}))"
)
# A quote in text, JSON and Python, or in a shell's nested quotes.
_Q = r"(?:(?:\\{0,64}[\"']){3,40}|\\{0,64}[\"'])"
# Between the words of a command line, or of an argument list in Python and JSON.
_GAP = r"[\"'\\,\s]{1,64}"
_SHELL = r"[\"'\\]{0,64}(?P<secret>[^\s\"'\\,;|&<>-][^\s\"'\\,;|&<>]*)"
_ARGUMENTS = r"[^\n|;&]{0,300}?"

_AWS = "https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html"
_GITHUB = "https://docs.github.com/code-security/reference/secret-security/supported-secret-scanning-patterns"
_GITLEAKS = "https://github.com/gitleaks/gitleaks/blob/master/config/gitleaks.toml"
_SNS = "https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html"


class SecretPattern:
    """The form of a kind of secret.

    Parameters
    ----------
    form
        A regular expression. Its group ``secret`` is removed, or the whole match if it has no such group.
    hints
        Lower-case texts. Each match contains one of them.
    source
        The URL that documents the form.
    """

    def __init__(self, name: str, form: str, *hints: str, source: str) -> None:
        self.name = name
        self.form = form
        self.source = source
        self.hints = hints
        self._compiled: re.Pattern[str] | None = None

    def redact(self, text: str, lowered: str) -> str:
        """Return `text` with matches redacted; `lowered` is the same text in lower case."""
        if not any(hint in lowered for hint in self.hints):
            return text
        if self._compiled is None:
            self._compiled = re.compile(self.form)
        return self._compiled.sub(_redact_match, text)


def _redact_match(match: re.Match[str]) -> str:
    if "secret" not in match.re.groupindex:
        return REDACTION_MARK
    if REDACTION_MARK in match[0]:
        return match[0]
    start, end = (index - match.start() for index in match.span("secret"))
    return f"{match[0][:start]}{REDACTION_MARK}{match[0][end:]}"


def _token(name: str, form: str, *hints: str, source: str) -> SecretPattern:
    """Return a pattern that matches wherever a word begins."""
    return SecretPattern(name, _START + form, *hints, source=source)


# In the order of use: a form that contains others precedes them.
SECRET_PATTERNS = (
    SecretPattern("private key", r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----(?s:.*?)"
        r"(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----|\Z)", "-----begin",
        source="https://www.rfc-editor.org/rfc/rfc7468#section-10"),
    SecretPattern("PuTTY private key", r"PuTTY-User-Key-File-\d(?s:.*?)(?:Private-MAC: *[0-9a-f]+|\Z)",
        "putty-user-key-file", source="https://tartarus.org/~simon/putty-snapshots/htmldoc/AppendixC.html"),
    # Cloud providers
    _token("AWS access key", r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}(?![A-Za-z0-9])"
        r"(?:[\s,:;\"'\\]{1,8}[A-Za-z0-9/+]{40}(?![A-Za-z0-9/+]))?", "akia", "asia", "abia", "acca", source=_AWS),
    # Base64 of the first bytes, which all of these tokens share.
    _token("AWS session token", r"(?:FwoGZXIvYXdz|FQoGZXIvYXdz|IQoJb3JpZ2lu)[\w+/=%-]{16,}", "gzxivyxdz", "iqojb3jp",
        source=_AWS),
    _token("Amazon Bedrock key", r"(?:ABSK|bedrock-api-key-)[A-Za-z0-9+/]{60,}=*", "absk", "bedrock-api-key-",
        source="https://docs.aws.amazon.com/bedrock/latest/userguide/api-keys.html"),
    SecretPattern("AWS signature", r"(?i:\bSignature=)(?P<secret>[0-9a-fA-F]{32,})", "signature=",
        source="https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html"),
    SecretPattern("signed URL", r"(?i:(?:X-(?:Amz|Goog)-(?:Signature|Security-Token|Credential)|CloudFront-Signature"
        r"|(?<![\w-])Signature)(?:=|%3D|\\{1,64}u003d))(?P<secret>[\w.~+/%=-]{10,})", "signature", "-security-token",
        "-credential", source="https://cloud.google.com/storage/docs/access-control/signed-urls"),
    SecretPattern("shared access signature",
        r"(?i:(?<![A-Za-z0-9_-])sig(?:=|%3D|\\{1,64}u003d))(?P<secret>[\w.~+/%=-]{20,})", "sig=", "sig%3d",
        "sig\\u003d", source="https://learn.microsoft.com/azure/storage/common/storage-sas-overview"),
    SecretPattern("code in a URL",
        r"(?i:[?&;](?:code|access_code|auth|pat|hash)=)(?P<secret>(?=[^\s&]{0,60}\d)[\w.~+/%=-]{20,})", "code=",
        "auth=", "pat=", "hash=", source="https://learn.microsoft.com/azure/azure-functions/function-keys-how-to"),
    SecretPattern("SNS confirmation", r"(?i:[?&;]Token=)(?P<secret>[\w.~+/=%-]{8,})", "token=", source=_SNS),
    SecretPattern("SNS unsubscription",
        r"(?i:\bAction=Unsubscribe\b[^\s\"'<>]{0,20}?SubscriptionArn=)(?P<secret>[^\s\"'<>\\]+)", "unsubscribe",
        source=_SNS),
    SecretPattern("SNS unsubscribe page", r"(?i:\bunsubscribe\.html\?)(?P<secret>[^\s\"'<>\\]+)", "unsubscribe.html",
        source=_SNS),
    _token("Google key", r"AIza[\w-]{30,}", "aiza", source=_GITHUB),
    _token("Google OAuth token", r"(?:ya29\.|1//0)[\w-]{30,}|" + _START + r"GOCSPX-[\w-]{20,}", "ya29.", "1//0",
        "gocspx-", source="https://developers.google.com/identity/protocols/oauth2"),
    SecretPattern("Microsoft Entra secret", _START + r"[\w.~-]{3}\dQ~[\w.~-]{30,40}", "q~",
        source="https://learn.microsoft.com/purview/sit-defn-client-secret-api-key"),
    _token("DigitalOcean token", r"do[opr]_v1_[0-9A-Za-z]{16,}", "do_v1_", "dop_v1_", "doo_v1_", "dor_v1_",
        source=_GITHUB),
    _token("Alibaba key", r"LTAI[A-Za-z0-9]{16,}", "ltai", source=_GITLEAKS),
    _token("Heroku key", r"HRKU-[\w-]{20,}", "hrku-", source=_GITHUB),
    _token("Fly token", r"(?:fo1_|fm[12]_)[\w+/=-]{30,}", "fo1_", "fm1_", "fm2_", source=_GITLEAKS),
    _token("Cloudflare origin key", r"v1\.0-[0-9a-f]{24}-[0-9a-f]{60,}", "v1.0-", source=_GITLEAKS),
    _token("Yandex token", r"(?:t1\.[\w-]{20,200}={0,2}\.[\w-]{60,}|y0_[\w-]{40,}|AQVN[\w-]{30,})", "t1.", "y0_",
        "aqvn", source=_GITLEAKS),
    # Machine learning
    _token("Hugging Face token", r"(?:hf|api_org)_[A-Za-z0-9]{18,}(?![A-Za-z0-9_])", "hf_", "api_org_", source=_GITHUB),
    _token("Weights & Biases key", r"(?:wandb_v\d+_[\w-]{20,}|local-[0-9a-f]{40}\b)", "wandb_v", "local-",
        source="https://docs.wandb.ai/"),
    SecretPattern("Weights & Biases login", r"(?i:" + _START
        + r"wandb(?:[\"'\\,\s]{1,12}|\.)login)(?:\([^)\n]{0,80}?key\s{0,3}=\s{0,3}[\"'\\]{1,64}"
        rf"|\({_GAP}|{_GAP}(?:--?[\w-]{{1,20}}(?:=\S{{1,100}})?{_GAP}){{0,4}})(?P<secret>[\w-]{{16,}})", "wandb",
        source="https://docs.wandb.ai/ref/cli/wandb-login/"),
    _token("OpenAI key", r"sk-(?:(?=[\w-]{0,80}\d)(?=[\w-]{0,80}[A-Z])[\w-]{17,}|(?:or-v1-)?[0-9a-z]{24,})", "sk-",
        source=_GITHUB),
    _token("Anthropic key", r"sk-ant-[\w-]{10,}", "sk-ant-", source=_GITLEAKS),
    _token("Groq key", r"gsk_[A-Za-z0-9]{20,}", "gsk_", source="https://console.groq.com/keys"),
    _token("xAI key", r"xai-[A-Za-z0-9]{20,}", "xai-", source=_GITHUB),
    _token("NVIDIA key", r"nvapi-[\w-]{20,}", "nvapi-", source="https://docs.nvidia.com/nim/"),
    _token("Databricks token", r"dapi[0-9a-f]{32}(?:-\d)?|" + _START + r"dose[0-9a-f]{32}(?:-\d)?", "dapi", "dose",
        source="https://docs.databricks.com/aws/en/dev-tools/auth/pat"),
    _token("Replicate token", r"r8_[A-Za-z0-9]{20,}", "r8_", source=_GITHUB),
    _token("Perplexity key", r"pplx-[A-Za-z0-9]{20,}", "pplx-", source=_GITLEAKS),
    _token("Together key", r"tgp_v\d+_[\w-]{20,}", "tgp_v", source="https://docs.together.ai/"),
    _token("Fireworks key", r"fw_(?=[A-Za-z]{0,40}\d)[A-Za-z0-9]{20,}(?![A-Za-z0-9_])", "fw_", source=_GITHUB),
    _token("Kaggle token", r"KGAT_[0-9A-Za-z]{20,}", "kgat_", source="https://www.kaggle.com/docs/api"),
    SecretPattern("Kaggle key",
        r"[\"'\\]{1,64}username[\"'\\]{1,64}\s{0,4}:[^{}\n]{1,120}?[\"'\\]key[\"'\\]{1,64}\s{0,4}:\s{0,4}"
        r"[\"'\\]{1,64}(?P<secret>[0-9a-f]{32})", "username", source="https://www.kaggle.com/docs/api"),
    _token("Neptune token", r"eyJhcGlf[\w+/-]{20,}={0,2}", "eyjhcglf", source="https://docs.neptune.ai/"),
    _token("LangSmith key", r"lsv2_(?:pt|sk)_[0-9a-zA-Z_]{20,}", "lsv2_", source="https://docs.smith.langchain.com/"),
    _token("Pinecone key", r"pcsk_\w{20,}", "pcsk_", source="https://docs.pinecone.io/"),
    _token("Tavily, Jina or RunPod key", r"(?:tvly-(?:dev-|prod-)?|jina_|rpa_)[A-Za-z0-9]{20,}", "tvly-", "jina_",
        "rpa_", source="https://docs.tavily.com/"),
    _token("Modal token", r"a[ks]-(?=[A-Za-z]{0,40}\d)(?=[a-z0-9]{0,40}[A-Z])[A-Za-z0-9]{22}\b", "ak-", "as-",
        source="https://modal.com/docs/reference/modal.config"),
    # Code hosting and packages
    _token("GitHub token", r"gh[oprsu]_[A-Za-z0-9][\w.-]{14,}[A-Za-z0-9_]|" + _START + r"github_pat_\w{16,}", "gho_",
        "ghp_", "ghr_", "ghs_", "ghu_", "github_pat_",
        source="https://github.blog/engineering/platform-security/behind-githubs-new-authentication-token-formats/"),
    _token("GitLab token", r"gl(?:pat|ptt|dt|rt|soat|cbt|ft|imt|agent|oas|ffct|rtr|wt)-[\w.-]{15,}\w", "glpat-",
        "glptt-", "gldt-", "glrt-", "glsoat-", "glcbt-", "glft-", "glimt-", "glagent-", "gloas-", "glffct-", "glrtr-",
        "glwt-", source="https://docs.gitlab.com/security/tokens/"),
    _token("npm token", r"npm_[A-Za-z0-9]{16,}(?![A-Za-z0-9_])", "npm_", source=_GITHUB),
    _token("PyPI token", r"pypi-(?:AgE|(?=[A-Za-z_]{0,60}\d)[A-Za-z0-9_]{16,})[\w-]*", "pypi-",
        source="https://pypi.org/help/#apitoken"),
    _token("RubyGems or crates.io key", r"(?:rubygems_[0-9a-f]{32,}|cio[A-Za-z0-9]{32}\b)", "rubygems_", "cio",
        source=_GITLEAKS),
    _token("Docker token", r"dckr_(?:pat|oat)_[\w-]{16,}", "dckr_", source=_GITHUB),
    _token("Atlassian token", r"AT(?:ATT|CTT|BB|TBK)[A-Za-z0-9][\w=-]{20,}", "atatt", "atctt", "atbb", "attbk",
        source=_GITLEAKS),
    _token("Sentry token", r"sntry[su]_[\w+/=-]{20,}", "sntrys_", "sntryu_", source=_GITLEAKS),
    _token("Linear token", r"lin_(?:api|oauth)_[A-Za-z0-9]{20,}", "lin_api_", "lin_oauth_", source=_GITLEAKS),
    _token("Notion token", r"(?:ntn_[A-Za-z0-9]{30,}|secret_[A-Za-z0-9]{40,})", "ntn_", "secret_", source=_GITHUB),
    _token("Figma, Airtable or Postman token",
        r"(?:fig[dou]r?_[\w-]{20,}|pat[A-Za-z0-9]{14}\.[0-9a-f]{40,}|PMAK-[0-9a-f]{20,}-[0-9a-f]{20,})", "figd_",
        "figo_", "figu_", "figur_", "figor_", "pat", "pmak-", source=_GITLEAKS),
    _token("CI token", r"(?:CCIP(?:AT|RJ)_[\w-]{20,}|bk[ua]a_[0-9a-f]{20,}|tkn_v\d_[\w-]{20,})", "ccip", "bkua_",
        "bkaa_", "tkn_v", source=_GITHUB),
    # Infrastructure
    _token("Vault token", r"hv[sbr]\.[\w-]{20,}|" + _START + r"s\.(?=[A-Za-z]{0,24}\d)(?=[a-z0-9]{0,24}[A-Z])"
        r"[A-Za-z0-9]{24}(?![\w.(\[])", "hvs.", "hvb.", "hvr.", "s.",
        source="https://developer.hashicorp.com/vault/docs/concepts/tokens"),
    _token("Terraform token", r"[A-Za-z0-9]{14}\.atlasv1\.[\w-]{20,}", ".atlasv1.", source=_GITLEAKS),
    _token("Pulumi token", r"pul-[0-9a-f]{32,}", "pul-", source=_GITLEAKS),
    _token("Doppler token", r"dp\.(?:pt|st|ct|sa|scim|audit)\.[\w.-]{20,}", "dp.",
        source="https://docs.doppler.com/reference/auth-token-formats"),
    _token("age key", r"AGE-SECRET-KEY-(?:PQ-)?1[0-9A-Za-z]{20,}", "age-secret-key-",
        source="https://age-encryption.org/v1"),
    _token("PlanetScale token", r"pscale_(?:tkn|pw|oauth|otkn)_[\w.=-]{16,}", "pscale_", source=_GITLEAKS),
    _token("Supabase key", r"(?:sbp_(?:oauth_)?[0-9a-f]{20,}|sb_secret_[\w-]{16,})", "sbp_", "sb_secret_",
        source="https://supabase.com/docs/guides/api/api-keys"),
    _token("Grafana token", r"(?:glsa_[A-Za-z0-9]{20,}(?:_[0-9a-f]{8})?|glc_[A-Za-z0-9+/=]{20,})", "glsa_", "glc_",
        source=_GITLEAKS),
    _token("New Relic key", r"NR(?:AK|II|JS|RA|IQ|BR|SP)-[A-Za-z0-9_-]{20,}", "nrak-", "nrii-", "nrjs-", "nrra-",
        "nriq-", "nrbr-", "nrsp-", source=_GITLEAKS),
    _token("Tailscale key", r"tskey-[a-z]+-[\w-]{16,}", "tskey-", source="https://tailscale.com/kb/1277/key-prefixes"),
    _token("1Password token", r"ops_eyJ[\w+/=-]{40,}", "ops_eyj", source=_GITLEAKS),
    _token("Artifactory key", r"AKCp[A-Za-z0-9]{40,}", "akcp", source=_GITLEAKS),
    # Messages and payments
    _token("Slack token", r"(?:xox[a-z](?:\.xox[a-z])?-|xapp-)[\w-]{8,}", "xox", "xapp-",
        source="https://docs.slack.dev/authentication/tokens/"),
    SecretPattern("Slack webhook", r"(?i:hooks\.slack(?:-gov)?\.com(?:/|%2F|\\/){1,2}(?:services|workflows|triggers))"
        r"(?:/|%2F|\\/)(?P<secret>[^\s\"'<>)]+)", "hooks.slack",
        source="https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks/"),
    SecretPattern("Slack webhook path", r"/services/(?P<secret>T\w{1,40}/B\w{1,40}/\w+)", "/services/",
        source="https://docs.slack.dev/messaging/sending-messages-using-incoming-webhooks/"),
    SecretPattern("Discord webhook", r"/api/(?:v\d+/)?webhooks/(?P<secret>\d{1,40}/[\w-]+)", "webhooks/",
        source="https://docs.discord.com/developers/resources/webhook"),
    SecretPattern("Teams webhook", r"(?i:\.webhook\.office\.com/)(?P<secret>[^\s\"'<>)]+)", ".webhook.office.com/",
        source="https://learn.microsoft.com/microsoftteams/platform/webhooks-and-connectors/"),
    _token("Discord token", r"[MNO][A-Za-z\d][\w-]{20,28}\.[\w-]{5,8}\.[\w-]{27,45}", ".",
        source="https://docs.discord.com/developers/reference#authentication"),
    SecretPattern("Telegram token", r"(?<!\d)\d{8,10}:AA[\w-]{30,}", ":aa",
        source="https://core.telegram.org/bots/api#authorizing-your-bot"),
    _token("Stripe key", r"(?:[rsp]k_(?:live|test|org|prod)_\w{16,}|whsec_[A-Za-z0-9+/=]{16,})", "k_live_", "k_test_",
        "k_org_", "k_prod_", "whsec_", source="https://docs.stripe.com/keys"),
    _token("Twilio key", r"SK[0-9a-f]{32}(?![A-Za-z0-9])", "sk", source="https://www.twilio.com/docs/iam/api-keys"),
    _token("SendGrid key", r"SG\.[\w-]{16,64}\.[\w-]{16,}", "sg.", source=_GITLEAKS),
    _token("Mailgun or Mailchimp key", r"(?:key-[0-9a-f]{32}|[0-9a-f]{32}-us\d{1,2})(?![A-Za-z0-9])", "key-", "-us",
        source=_GITLEAKS),
    _token("Brevo key", r"x(?:keysib|smtpsib)-[0-9a-f]{40,}-\w{8,}", "xkeysib-", "xsmtpsib-", source=_GITLEAKS),
    _token("Shopify or Square token", r"(?:shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}|sq0(?:atp|csp)-[\w-]{20,})", "shpat_",
        "shpca_", "shppa_", "shpss_", "sq0", source=_GITLEAKS),
    _token("Facebook token", r"EAA[A-Za-z0-9]{60,}", "eaa", source=_GITLEAKS),
    # Used by any service
    # The lookahead fails immediately in a run of letters without a second part, so no run is scanned twice.
    SecretPattern("JWT",
        r"(?<![\w-])(?=[\w-]{10,}\.eyJ)[\w-]*?(?P<secret>eyJ[\w-]{5,}\.eyJ[\w-]{4,}(?:\.[\w-]*)?(?:\.[\w-]+){0,2})",
        ".eyj", source="https://www.rfc-editor.org/rfc/rfc7519#section-3"),
    SecretPattern("encrypted JWT", r"(?<![\w-])(?=[\w-]{10,}\.[\w-]*\.[\w-]+\.[\w-]{16,}\.[\w-]{16,})[\w-]*?"
        r"(?P<secret>eyJ[\w-]{8,}\.[\w-]*\.[\w-]+\.[\w-]+\.[\w-]+)", "eyj",
        source="https://www.rfc-editor.org/rfc/rfc7516#section-3"),
    SecretPattern("bearer", r"(?i:" + _START + r"bearer(?:\s{1,4}|%20|\+))(?=\S{0,60}\d|\S{24})"
        r"(?P<secret>[\w.~+/%=-]{8,})", "bearer", source="https://www.rfc-editor.org/rfc/rfc6750#section-2.1"),
    SecretPattern("basic", r"(?i:" + _START + r"basic(?:\s{1,4}|%20))(?=\S{0,60}[\d=])"
        r"(?P<secret>[A-Za-z0-9+/]{8,}(?:=|%3D){0,2})", "basic",
        source="https://www.rfc-editor.org/rfc/rfc7617#section-2"),
    SecretPattern("authorization", r"(?i:" + _START + r"(?:proxy-)?authorization(?:\\{0,64}[\"'])?\s{0,4}[,:=]"
        r"\s{0,4}\[?\s{0,4}(?:b?\\{0,64}[\"'])?)"
        r"(?!(?:[Bb]earer|BEARER|[Bb]asic|BASIC)\s)(?i:(?!none\b|null\b)[a-z][\w-]{0,40} +(?![a-z]+ ))?"
        r"(?P<secret>(?!(?:None|null|required|failed|missing|denied|error)\b)[^\s\"'\\,}]+)", "authorization",
        source="https://www.rfc-editor.org/rfc/rfc9110#section-11.6.2"),
    SecretPattern("credentials in a URL", r"(?<=://)[^\s/:@\"'<>\\]{0,200}:(?P<secret>[^\s/\"'<>\\]+)@", "@",
        source="https://www.rfc-editor.org/rfc/rfc3986#section-3.2.1"),
    # A slash should be escaped here, but often is not.
    SecretPattern("credentials in a URL, with a slash",
        r"(?<=://)[^\s/:@\"'<>\\]{0,64}:(?!\d{1,5}/)(?P<secret>[^\s\"'<>@\\]{1,200})@(?=[\w-]{1,63}(?:[.:][\w.:-]{1,80})?(?:[/?\s\"']|$))",
        "@", source="https://www.rfc-editor.org/rfc/rfc3986#section-3.2.1"),
    SecretPattern("token in a URL", r"(?<=://)(?P<secret>[^\s/:@\"'<>\\]{20,})@", "@",
        source="https://www.rfc-editor.org/rfc/rfc3986#section-3.2.1"),
    SecretPattern("encoded credentials in a URL", r"(?i:%3A%2F%2F)[\w.~-]{0,64}%3A(?P<secret>[\w.~%-]{1,200}?)%40",
        "%40", source="https://www.rfc-editor.org/rfc/rfc3986#section-2.1"),
    SecretPattern("database address of Go", r"[\w.-]{1,64}:(?P<secret>[^\s:@/\"']{1,200})@(?=(?:tcp|unix|udp)\()",
        "@tcp(", "@unix(", "@udp(", source="https://github.com/go-sql-driver/mysql#dsn-data-source-name"),
    SecretPattern("database address of Oracle", r"(?i:oracle:(?:thin|oci\d?):)[^\s/]{1,64}/(?P<secret>[^\s@\"']+)@",
        "oracle:", source="https://docs.oracle.com/en/database/oracle/oracle-database/23/jjdbc/"),
    # Cookies
    SecretPattern("cookie header", r"(?i:" + _START + r"(?:set-)?cookie2?: *)"
        r"(?P<secret>(?!\[removed\])[^\s=;\"']{1,200}=(?:(?!\\+[nr\"'])[^\r\n\"'])*)", "cookie",
        source="https://www.rfc-editor.org/rfc/rfc6265#section-4"),
    SecretPattern("cookie of http.cookiejar", r"<Cookie [^\s=<>]{1,200}=(?P<secret>[^\s<>]+)(?= for )", "<cookie",
        source="https://docs.python.org/3/library/http.cookiejar.html"),
    # Command lines
    SecretPattern("mysql", _START
        + rf"(?:mysql\w*|mariadb[\w-]*){_ARGUMENTS}(?<![\w-])-p(?!rotocol|lugin|ort\b|ipe\b|rint|ager|refix)" + _SHELL,
        "mysql", "mariadb", source="https://dev.mysql.com/doc/refman/8.4/en/connecting.html"),
    SecretPattern("sshpass", _START + rf"sshpass{_ARGUMENTS}(?<![\w-])-p(?:{_GAP})?{_SHELL}", "sshpass",
        source="https://linux.die.net/man/1/sshpass"),
    SecretPattern("curl", _START + rf"(?:curl|wget|https?|xh)(?=[\s\"']){_ARGUMENTS}(?<![\w-])"
        r"(?:-[a-zA-Z]{0,6}[uUa]|--(?:proxy-)?(?:user|auth))"
        r"(?:[=\"'\\,\s]{1,12})?(?!\d+:\d+(?!\S))[^\s:\"'\\,=/]{1,100}:(?P<secret>[^\s\"'\\]+)", "curl", "wget", "http",
        "xh", source="https://curl.se/docs/manpage.html#-u"),
    SecretPattern("curl cookie", _START
        + rf"curl{_ARGUMENTS}(?<![\w-])(?:-b|--cookie){_GAP}(?P<secret>[^\s=;\"'\\]{{1,200}}=[^\"'\n\\]+)", "curl",
        source="https://curl.se/docs/manpage.html#-b"),
    SecretPattern("login", _START
        + r"(?:docker|podman|nerdctl|helm|oc|skopeo|buildah|crane|oras|az|cf|ibmcloud|snyk|npm|gh|hf"
        rf"|huggingface-cli|databricks|vercel|netlify|flyctl|vault|argocd|mc|rclone)\b[^\n|;&]{{0,80}}?\blogin\b{_ARGUMENTS}"
        rf"(?<![\w-])(?:-p|-t|--?(?:token|password|key|api-key|secret|pat))(?:=|{_GAP}){_SHELL}", "login",
        source="https://docs.docker.com/reference/cli/docker/login/"),
    SecretPattern("redis-cli", _START + rf"(?:redis|valkey|keydb)-cli{_ARGUMENTS}(?<![\w-])(?:-a|--pass){_GAP}{_SHELL}",
        "redis-cli", "valkey-cli", "keydb-cli", source="https://redis.io/docs/latest/develop/tools/cli/"),
    SecretPattern("redis AUTH", _START + rf"AUTH {{1,4}}(?=\S{{0,60}}\d){_SHELL}", "auth ",
        source="https://redis.io/docs/latest/commands/auth/"),
    SecretPattern("openssl", r"(?<![\w-])-(?:pass(?:in|out)?|passwd|k)[=\"'\\,\s]{1,12}pass:(?P<secret>[^\s\"'\\,]+)",
        "pass:", source="https://docs.openssl.org/master/man1/openssl-passphrase-options/"),
    SecretPattern("option -P, -p or -w", _START
        + rf"(?:mongo(?:sh|dump|restore|export|import)?|sqlcmd|bcp|ldap(?:search|add|modify|delete|whoami)"
        rf"|zip|unzip|7za?|ipmitool|snowsql|clickhouse-client|htpasswd|rar|unrar){_ARGUMENTS}(?<![\w-])-[Ppw](?:{_GAP})?{_SHELL}",
        "mongo", "sqlcmd", "bcp", "ldap", "zip", "7z", "ipmitool", "snowsql", "clickhouse", "htpasswd", "rar",
        source="https://www.mongodb.com/docs/mongodb-shell/reference/options/"),
    SecretPattern("smbclient", _START
        + rf"smbclient{_ARGUMENTS}(?<![\w-])-U{_GAP}[^\s%\"']{{1,64}}%(?P<secret>[^\s\"'\\,]+)", "smbclient",
        source="https://www.samba.org/samba/docs/current/man-html/smbclient.1.html"),
    SecretPattern("netrc", r"(?i:\blogin\s{1,4}\S{1,100}\s{1,10}password\s{1,4})(?P<secret>[^\s\"'\\]+)", "password",
        source="https://www.gnu.org/software/inetutils/manual/html_node/The-_002enetrc-file.html"),
    # Code and SQL
    SecretPattern("user and password in a call",
        r"(?i:(?:auth\s{0,3}=\s{0,3}(?:\w{1,40}\.){0,3}(?:\w{0,20}Auth)?|(?:Basic|Digest)Auth|\.login)\s?\(\s{0,3}"
        r"(?:(?:user(?:name)?|login)\s?=\s?)?)b?" + _Q + r"[^\"'\n]{0,200}" + _Q + r"\s?,\s{0,3}"
        r"(?:(?:password|pw)\s?=\s?)?[bru]?" + _Q + r"(?P<secret>[^\"'\n\\]+)", "auth", ".login",
        source="https://requests.readthedocs.io/en/latest/user/authentication/"),
    SecretPattern("secret in a call", r"(?:SecretStr|SecretBytes|Fernet|login|api_key|set_token)\s?\(\s?[bru]?" + _Q
        + r"(?P<secret>(?![*])(?=[^\"'\n]{0,60}\d)[^\"'\n\s\\,]{8,200})(?=" + _Q + r"\s?[),])", "secret", "fernet",
        "login", "api_key", "set_token", source="https://docs.pydantic.dev/latest/api/types/#pydantic.types.SecretStr"),
    SecretPattern("Korean label in JSON",
        r"(?i:\\{1,64}ube44\\{1,64}ubc00\\{1,64}ubc88\\{1,64}ud638|\\{1,64}uc554\\{1,64}ud638)(?:\\{0,64}[\"'])?\s{0,4}[:=]"
        r"\s{0,4}(?:\\{0,64}[\"'])?(?P<secret>[^\s,;\"'\\]+)", "ud638",
        source="https://www.rfc-editor.org/rfc/rfc8259#section-7"),
    SecretPattern("SQL password", r"(?i:" + _START
        + r"IDENTIFIED\s{1,4}(?:WITH\s{1,4}\S{1,60}\s{1,4})?(?:BY|AS)\s{1,4}(?:PASSWORD\s{1,4})?|" + _START
        + r"(?:ENCRYPTED\s{1,4})?PASSWORD\s{1,4}(?:TO\s{1,4})?)" + _Q + r"(?P<secret>[^'\"\n\\]+)", "identified",
        "password", source="https://www.postgresql.org/docs/current/sql-createrole.html"),
)  # fmt: skip


def redact_text(text: str, secret_urls: Iterable[str] = ()) -> str:
    """Replace everything in `text` that looks like a secret with a mark.

    Parameters
    ----------
    secret_urls
        URLs that are secret. They and their paths are removed, whatever they look like.
    """
    # A color code between a label and its value would hide the secret.
    text = sanitize_text(text)
    for url in secret_urls:
        for part in (url, f"/{url.partition('://')[2].partition('/')[2]}"):
            if len(part) >= _MIN_KNOWN_LENGTH:
                text = text.replace(part, REDACTION_MARK)
    text = _redact_partial_key(text)
    lowered = text.lower()
    for pattern in SECRET_PATTERNS:
        text = pattern.redact(text, lowered)
    return redact_labeled_secrets(text)


_PRIVATE_KEY_END = re.compile(r"-----END [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_PRIVATE_KEY_LINE = re.compile(r"[A-Za-z0-9+/=]{1,100}[ \t]*")


def _redact_partial_key(text: str) -> str:
    """Redact the end of a private key whose beginning was cut off."""
    if "-----END" not in text or "PRIVATE KEY" not in text:
        return text
    pieces, done = [], 0
    for match in _PRIVATE_KEY_END.finditer(text):
        start = match.start()
        if text.rfind("-----BEGIN", done, start) >= 0:
            continue
        while (line := text.rfind("\n", done, start - 1) + 1 or done) < start and _PRIVATE_KEY_LINE.fullmatch(
            text[line : start - 1]
        ):
            start = line
        pieces += [text[done:start], REDACTION_MARK]
        done = match.end()
    return "".join([*pieces, text[done:]])
