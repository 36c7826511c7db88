"""Redaction. Planted secrets are put together at run time, so that none stands in this file."""

import string

import pytest

from ingest.redact import RULES, Redacted, count_masks, redact

ALNUM = (string.ascii_letters + string.digits) * 4
BASE32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567" * 2

SECRETS = {
    "private_key": "-----BEGIN RSA " + "PRIVATE KEY-----\n" + ALNUM[:64] + "\n" + "-----END RSA " + "PRIVATE KEY-----",
    "aws_access_key": "AK" + "IA" + BASE32[7:23],
    "aws_secret_key": "secret_access" + "_key = " + ALNUM[40:57] + "/" + ALNUM[30:52],
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
    "stripe_webhook": "wh" + "sec_" + ALNUM[:32],
    "azure_account_key": "Account" + "Key=" + ALNUM[:86] + "==",
    "huggingface_token": "h" + "f_" + ALNUM[:34],
    "digitalocean_token": "do" + "p_v1_" + "0123456789abcdef" * 4,
    "vault_token": "hv" + "s." + ALNUM[:24],
    "grafana_token": "gl" + "sa_" + ALNUM[:32] + "_0123abcd",
    "atlassian_token": "ATA" + "TT3" + ALNUM[:100],
    "shopify_token": "shp" + "at_" + "0123456789abcdef" * 2,
    "linear_key": "lin" + "_api_" + ALNUM[:40],
    "databricks_token": "da" + "pi" + "0123456789abcdef" * 2,
    "age_key": "AGE-SECRET" + "-KEY-1" + BASE32[:58],
    "telegram_token": "123456789" + ":A" + "A" + ALNUM[:33],
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
    hidden = SECRETS[rule].split("@")[0].strip(' "')[-8:]
    assert hidden not in masked.text
    assert redact(masked.text).text == masked.text
    assert redact(masked.text).counts == ()


RANDOM = "9f8Qz1LmX7" + "vB3nR5kTw2Yc"


@pytest.mark.req("A6")
@pytest.mark.parametrize(
    "line",
    [
        f"DB_PASSWORD={RANDOM}",
        f"export GITHUB_TOKEN={RANDOM}",
        f"  client_secret: {RANDOM}",
        f"spring.datasource.password = {RANDOM}",
        f'const apiKey: string = "{RANDOM}";',
        f'"auth_token": "{RANDOM}",',
        f"https://example.org/v1/data?access_token={RANDOM}&page=2",
        f'curl -H "Authorization: Bearer {RANDOM}.{RANDOM}"',
        'password = "' + "Tr0ub4" + "dor&3" + '"',
        "redis://:" + "hV9q2LmZ7t" + "@cache:6379/0",
        "-----BEGIN " + "PRIVATE KEY-----\n" + ALNUM[:64] + "\n" + ALNUM[5:69] + "\ncut off here",
    ],
)
def test_assigned_secret_is_masked_in_its_place(line):
    masked = redact(f"a\n{line}\nb")
    assert sum(count for _, count in masked.counts) == 1
    assert len(masked.text) == len(line) + 4
    assert not any(secret in masked.text for secret in (RANDOM, "Tr0ub4", "hV9q2LmZ7t", ALNUM[5:69]))
    assert redact(masked.text).text == masked.text


def test_only_the_password_of_an_address_is_hidden():
    masked = redact(SECRETS["url_password"]).text
    assert masked.startswith("postgres" + "://admin:<masked")
    assert masked.endswith(">@db.internal/main")
    assert count_masks(masked) == (("masked", 1),)


@pytest.mark.timeout(60)  # patterns that backtrack need hours here
@pytest.mark.parametrize("unit", [literal for rule in RULES for literal in rule.literals] + ["password", "api_key"])
def test_hostile_repetition_is_linear(unit):
    for tail in ("", "-", "a", "A" * 30, '="a', "=" + "a" * 31, ': "' + "a" * 40 + '1"'):
        text = (unit + tail) * (60_000 // len(unit + tail))
        assert len(redact(text).text) == len(text)


def test_secrets_without_a_border_between_them_are_all_masked():
    masked = redact(SECRETS["npm_token"] + SECRETS["slack_webhook"])
    assert masked.counts == (("npm_token", 1), ("slack_webhook", 1))
    assert redact(masked.text) == Redacted(masked.text, ())


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
        "token = get_token_from_header_v2_or_none",
        "secret: HmacSha256SigningKeyProvider",
        "password_hash=hash_password_with_pbkdf2(raw)",
        "tokens = tokenizer.encode_batch_fast(texts)[0:128]",
        "SHA256: 5f352379324c22463451387a0aec5d2f",
        'password = "Secr3t"',
        "Authorization: Bearer <token-of-the-caller-1234>",
    ],
)
def test_ordinary_code_is_left_alone(text):
    assert redact(text).text == text


def test_unicode_that_changes_length_when_lower_cased():
    text = "İ" + SECRETS["assigned_secret"]
    assert redact(text).counts == (("assigned_secret", 1),)
