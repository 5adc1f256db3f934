"""Known secrets in foreign text are blotted out, however they are written."""

import base64
import time
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safechain_ray.report.document import printable
from safechain_ray.types.known_secrets import MOST_FOUND, KnownSecrets

KEY = "sk-Secret/4711+Canary=="
SECRETS = KnownSecrets.of(KEY)

ESCAPES = (
    lambda c: c,
    lambda c: c.swapcase(),
    lambda c: f"\\u{ord(c):04x}",
    lambda c: f"\\\\u{ord(c):04X}",
    lambda c: f"\\x{ord(c):02x}",
    lambda c: f"%{ord(c):02X}",
    lambda c: f"%25{ord(c):02x}",
    lambda c: f"&#{ord(c)};",
    lambda c: f"&#x{ord(c):x};",
    lambda c: f"{c}\n",
    lambda c: f"{c}\u200b",
    lambda c: f"{c}\0",
    lambda c: f"{c}</think>\n",
)


@given(st.lists(st.sampled_from(ESCAPES), min_size=len(KEY), max_size=len(KEY)), st.text(), st.text())
def test_a_secret_is_found_with_any_of_its_characters_escaped_or_broken_up(escapes, before: str, after: str):
    written = "".join(escape(character) for escape, character in zip(escapes, KEY, strict=True))
    cleaned = SECRETS.removed_from(f"{before}|{written}|{after}")
    assert "***" in cleaned
    assert SECRETS.removed_from(cleaned) == cleaned


@given(st.binary(max_size=5), st.binary(max_size=5))
def test_a_secret_within_base64_is_found_in_both_alphabets_and_as_hex(before: bytes, after: bytes):
    whole = before + KEY.encode() + after
    for written in (base64.b64encode(whole), base64.urlsafe_b64encode(whole), whole.hex().encode()):
        assert b"***" in SECRETS.removed_from_bytes(b'{"content": "%s"}' % written)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-be", "utf-32"])
def test_bytes_are_cleaned_in_any_encoding(encoding: str):
    cleaned = SECRETS.removed_from_bytes(f"the key é {KEY}!".encode(encoding))
    assert b"***" in cleaned
    assert "Canary" not in cleaned.replace(b"\0", b"").decode("latin-1")


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_a_password_of_other_letters_is_found_as_it_is_and_percent_encoded(encoding: str):
    secrets = KnownSecrets.of(quote("pässwörd@with:marks"))
    assert secrets.removed_from("x pässwörd@with:marks") == "x ***"
    assert secrets.removed_from(f"x {quote('pässwörd@with:marks')}") == "x ***"
    assert b"***" in secrets.removed_from_bytes("x pässwörd@with:marks".encode(encoding))


@given(st.text())
def test_a_text_without_the_secret_stays_as_it_is(text: str):
    assert SECRETS.removed_from(text) is text or "***" in text
    assert SECRETS.removed_from_bytes(text.encode()) == text.encode()


@given(st.integers(0, 100), st.integers(24, 60))
def test_a_piece_of_24_characters_is_found(start: int, length: int):
    key = "sk-proj-" + "".join(f"{number:02x}{number:c}" for number in range(70, 120))
    piece = key[start : start + length]
    if len(piece) >= 24:
        assert KnownSecrets.of(key).removed_from(f"{key[:6]}… is <{piece}>") == "sk-pro… is <***>"


def test_the_public_start_of_a_key_is_no_secret():
    text = "OpenAI's keys begin with sk-proj-, Anthropic's with sk-ant-api03-."
    assert KnownSecrets.of("sk-ant-api03-" + "x8Kq" * 20).removed_from(text) == text


def test_a_tag_inside_a_secret_is_kept():
    assert SECRETS.removed_from(f"<think>{KEY[:9]}\n</think>\n\n{KEY[9:]}!") == "<think>***\n</think>\n\n!"


def test_a_short_secret_may_be_a_word_and_is_removed_from_messages_alone():
    secrets = KnownSecrets.of("EMPTY")
    assert secrets.removed_from("An EMPTY box.") == "An EMPTY box."
    assert secrets.removed_from_message("401: key EMPTY") == "401: key ***"
    assert KnownSecrets.of("", "  ").removed_from_message("a  b") == "a  b"


def test_a_secret_shows_in_no_representation():
    assert "Canary" not in repr(SECRETS)


@pytest.mark.parametrize("unit", ["\\", "%25", "&amp;", "<", "<a", "&#00", "sk-", "s ", KEY[:-1]])
def test_a_hostile_text_takes_linear_time(unit: str):
    text = unit * (400_000 // len(unit))
    began = time.process_time()
    SECRETS.removed_from(text)
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    "body",
    ["a" * 9_000_000 + KEY, "two words\n" * 900_000 + KEY, KEY[:-1] * 400_000, KEY * 400_000, "\0".join(KEY) * 200_000],
)
def test_an_answer_of_9_megabytes_with_a_quoted_key_is_cleaned_fast(body: str):
    began = time.process_time()
    assert KEY not in SECRETS.removed_from(body).replace("\0", "")
    SECRETS.removed_from_bytes(body.encode())
    assert time.process_time() - began < 4


@given(st.integers(0, 3000), st.sampled_from(["a", " b", "%41", "\\", "\\\\u0041", "ß", "&#x41;", "<b>", "\u200b"]))
def test_a_secret_anywhere_in_a_long_text_is_found_and_the_rest_stays(count: int, unit: str):
    before, after = unit * count + "|", "|" + unit * 50
    assert SECRETS.removed_from(f"{before}{KEY}{after}") == f"{before}***{after}"
    raw = f"{before}{KEY}{after}".encode()
    assert SECRETS.removed_from_bytes(raw) == f"{before}***{after}".encode()


def test_a_text_with_very_many_secrets_is_replaced_as_a_whole():
    assert SECRETS.removed_from(f"{KEY}, " * MOST_FOUND) == "***, " * MOST_FOUND
    assert SECRETS.removed_from(f"{KEY}, " * (MOST_FOUND + 1)) == "***"
    assert SECRETS.removed_from_bytes(f"{KEY}, ".encode() * (MOST_FOUND + 1)) == b"***"


SHOWN_AS_NOTHING = (
    *("\u2066", "\u061c", "\x01", "\x08", "\x1b[31m", "\x9b31m", "\x1b]0;title\x07", "\ud800"),
    *("\u2063", "\u034f", "\ufe0f", "\u180e", "\U000e0100", "\u200b"),
)


@pytest.mark.parametrize("between", SHOWN_AS_NOTHING, ids=ascii)
def test_characters_that_no_terminal_shows_hide_no_secret(between: str):
    """Terminals get texts without them, so that a secret between whose characters they are written would be whole."""
    secret = "sk-Canary+4711/Zzyzx-Umlaut"
    cleaned = KnownSecrets.of(secret).removed_from(f"key: {between.join(secret)}.")
    assert "canary" not in printable(cleaned).casefold()
    assert printable(cleaned).startswith("key: ***")
