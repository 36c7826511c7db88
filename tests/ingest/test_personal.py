"""Personal data: what is masked where the policy asks for it, and what only looks like it."""

import pytest

from ingest.redact import count_masks, is_personal, redact

PERSONAL = {
    "email": ["ada.b+shop@analytical-engines.co.uk", "<grace@navy.mil>", "mailto:12+ada@users.noreply.github.com"],
    "phone": ["+49 30 901820", "+44 20 7946 0958", "(212) 736-5000", "212-736-5000", "tel: 030 90182033",
              "+4930901820123"],
    "card": ["4539 1488 0343 6467", "4539148803436467", "5425233430109903", "3742 454554 00126"],
    "iban": ["DE89 3704 0044 0532 0130 00", "GB82WEST12345698765432", "NO93 8601 1117 947"],
    "ip": ["81.2.69.7", "81.2.69.142:8080", "2a00:1450:4001:81b::200e"],
}  # fmt: skip


@pytest.mark.req("S2")
@pytest.mark.parametrize(("kind", "value"), [(kind, value) for kind, values in PERSONAL.items() for value in values])
def test_personal_data_is_masked_with_its_length(kind, value):
    text = f"first\nreported by {value}, again\nlast"
    masked = redact(text, personal=True)
    assert masked.counts == ((kind, 1),)
    assert [len(line) for line in masked.text.split("\n")] == [len(line) for line in text.split("\n")]
    assert count_masks(masked.text) == masked.counts
    assert redact(masked.text, personal=True).counts == ()
    assert redact(text).text == text


@pytest.mark.req("S2")
@pytest.mark.parametrize(
    "text",
    [
        "clone git@github.com:acme/shop.git",
        "mail to ada@example.org or root@localhost",
        "logo@2x.png and left-pad@1.3.0 and @decorator",
        "https://user:pass@db.acme.io/main",
        "card 4539 1488 0343 6468 fails the check",
        "card 4242 4242 4242 4242 is everybody's test card",
        "IBAN DE89 3704 0044 0532 0130 01 fails the check",
        "127.0.0.1, 10.1.2.3, 192.168.0.7, 8.8.8.8 and fe80::1",
        "upgraded to 4.8.15.16, version 3.22.7.1, see section 4.10.22.7",
        "call 555-123-4567 in a film",
        "2026-11-21 10:15:30.123456 took 1234567890 ns, 0xdeadbeef, a1b2c3d4-e5f6-7890-abcd-ef1234567890",
        "a::b::c std::string 12:34:56",
    ],
)
def test_what_only_looks_personal_is_left_alone(text):
    assert redact(text, personal=True).text == text


def test_the_classes_of_rules_are_told_apart():
    assert is_personal("iban")
    assert not is_personal("github_token")


@pytest.mark.timeout(60)  # patterns that backtrack need hours here
@pytest.mark.parametrize(
    "unit", ["a@", "a.", "@a.", "+1 ", "1 ", "1-", "(1)", "DE89 ", "A1B2", "1.", "2001:", "tel: ", "://"]
)
def test_hostile_repetition_is_linear(unit):
    for tail in ("", "x", "1", "1" * 19, "A" * 30, "@"):
        text = (unit + tail) * (60_000 // len(unit + tail))
        assert len(redact(text, personal=True).text) == len(text)
