"""Redaction. Planted secrets are put together at run time, so that none stands in this file."""

import string

import pytest

from ingest.redact import RULES, count_masks, redact

ALNUM = (string.ascii_letters + string.digits) * 4
BASE32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567" * 2

SECRETS = {
    "private_key": "-----BEGIN RSA " + "PRIVATE KEY-----\n" + ALNUM[:64] + "\n" + "-----END RSA " + "PRIVATE KEY-----",
    "aws_access_key": "AK" + "IA" + BASE32[7:23],
    "github_token": "gh" + "p_" + ALNUM[:36],
    "github_fine_token": "github" + "_pat_" + ALNUM[:70],
    "gitlab_token": "glp" + "at-" + ALNUM[:20],
    "slack_token": "xo" + "xb-" + "123456789012-" + ALNUM[:24],
    "slack_webhook": "hooks.slack" + ".com/services/T0" + ALNUM[:8] + "/B0" + ALNUM[:8] + "/" + ALNUM[:24],
    "stripe_key": "sk_" + "live_" + ALNUM[:24],
    "google_api_key": "AI" + "za" + ALNUM[:35],
    "model_api_key": "sk" + "-proj-" + ALNUM[30:78],
    "npm_token": "npm" + "_" + ALNUM[:36],
    "pypi_token": "pypi" + "-AgE" + ALNUM[:60],
    "sendgrid_key": "S" + "G." + ALNUM[:22] + "." + ALNUM[:43],
    "twilio_key": "S" + "K" + "0123456789abcdef" * 2,
    "jwt": "ey" + "J" + ALNUM[:20] + ".ey" + "J" + ALNUM[:30] + "." + ALNUM[:43],
    "url_password": "postgres" + "://admin:" + "hV9q2LmZ7t" + "@db.internal/main",
    "assigned_secret": 'api_key = "' + "9f8Qz1LmX7" + "vB3nR5kT" + '"',
}


def test_every_rule_has_a_sample():
    assert set(SECRETS) == {rule.id for rule in RULES} | {"assigned_secret"}


@pytest.mark.req("A6")
@pytest.mark.parametrize("rule", SECRETS)
def test_secret_is_masked_with_its_length_and_lines(rule):
    text = f"before\n  x = {SECRETS[rule]}\nafter\n"
    masked = redact(text)
    assert masked.counts == ((rule, 1),)
    assert len(masked.text) == len(text)
    assert [len(line) for line in masked.text.split("\n")] == [len(line) for line in text.split("\n")]
    assert masked.text.startswith("before\n")
    assert masked.text.endswith("\nafter\n")
    secret_part = SECRETS[rule].split("=")[-1].strip(' "')[-12:]
    assert secret_part not in masked.text or rule == "url_password"
    assert redact(masked.text).text == masked.text
    assert redact(masked.text).counts == ()


def test_masks_are_counted():
    masked = redact(SECRETS["github_token"] + " " + SECRETS["github_token"]).text
    assert count_masks(masked) == (("github_token", 2),)


@pytest.mark.parametrize(
    "text",
    [
        'password = "changeme-please-now"',
        'token = "https://example.org/path/to/it"',
        'secret_key: "YOUR_SECRET_KEY_HERE"',
        "https://user:password@example.org/",
        'api_key = os.environ["API_KEY_PRODUCTION_1"]',
        'self.token = "keyword_argument_name"',
        "sk-learn-contrib-package-name-with-many-words-inside",
        "SKIP_THIS AKIA short npm_config_registry",
        "key = 'SomeCamelCaseClassName'",
    ],
)
def test_ordinary_code_is_left_alone(text):
    assert redact(text).text == text


def test_unicode_that_changes_length_when_lower_cased():
    text = "İ" + SECRETS["assigned_secret"]
    assert redact(text).counts == (("assigned_secret", 1),)
