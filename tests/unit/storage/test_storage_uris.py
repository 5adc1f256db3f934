"""URIs: parsing, refusals and redaction."""

import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from safechain_ray.errors import InputError
from safechain_ray.storage import OutageState, open_folder, read_uri, redact, uris, write_uri

IN_STORE = "s3://key:secret@bucket/run?endpoint_override=host:1"


@pytest.mark.parametrize("spelling", ["relative", "absolute", "file URI"])
def test_a_local_folder_may_be_spelt_in_three_ways(
    spelling: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    uri = {"relative": "out", "absolute": str(tmp_path / "out"), "file URI": (tmp_path / "out").as_uri()}[spelling]
    opened = open_folder(uri)
    assert opened.path == str(tmp_path / "out")
    assert opened.is_local


def test_a_relative_folder_stays_where_it_was_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    opened = open_folder("out")
    monkeypatch.chdir("/")
    opened.write_text("a", "text")
    assert (tmp_path / "out" / "a").read_text() == "text"


@pytest.mark.parametrize("uri", ["", "ftp://host/folder", "s3://", "s3://key:sec/ret@bucket/folder", "s3://b/a?nope=1"])
def test_a_uri_that_can_not_be_used_is_refused(uri: str) -> None:
    with pytest.raises(InputError) as refusal:
        open_folder(uri)
    assert "ret@" not in str(refusal.value)


@pytest.mark.parametrize("place", ["file:///data/run", "s3://bucket/run", "gs://bucket/run", "az://container/run"])
def test_what_parsers_of_uris_drop_is_refused(place: str) -> None:
    """`run#1` and `run#2` would both be the folder `run`."""
    for name, reason in (
        ("#1?a=SECRET", "a #. Fix: write it as %23."),
        ("\n1 SECRET#", "a #"),
        ("\t", "a control char"),
    ):
        with pytest.raises(InputError) as refusal:
            open_folder(place + name)
        assert f"a URI can't contain {reason}" in str(refusal.value)
        assert "?a=SECRET" not in str(refusal.value)


def test_a_sign_that_is_written_in_percent_is_a_part_of_the_name(tmp_path: Path) -> None:
    assert open_folder(f"{tmp_path.as_uri()}/run%231").path == f"{tmp_path}/run#1"
    assert open_folder("s3://bucket/run%231?endpoint_override=host:1").path == "bucket/run#1"


def test_a_bucket_is_no_file() -> None:
    for use in (read_uri, lambda uri: write_uri(uri, b"")):
        with pytest.raises(InputError, match=r"s3://bucket\?\*\*\* names no file\. Fix: add the file's name\."):
            use("s3://bucket?endpoint_override=host:1")


@pytest.mark.parametrize(
    ("uri", "fix"),
    [
        ("s3:/bucket/x", "write it as s3://bucket/x, or as ./s3:/bucket/x for a local path"),
        ("gs:bucket/x", "write it as gs://bucket/x, or as ./gs:bucket/x for a local path"),
        ("S3:/bucket/x", "write it as S3://bucket/x"),
        ("abfs:/container/x", "write it as abfs://container/x"),
        ("file:/data/x", "write it as file:///data/x, or as ./file:/data/x for a local path"),
    ],
)
def test_a_uri_that_lacks_a_slash_is_no_local_folder(
    uri: str, fix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for use in (open_folder, read_uri, lambda uri: write_uri(uri, b"")):
        with pytest.raises(InputError) as refusal:
            use(uri)
        assert f"Can't use {uri}: a URI has two slashes" in str(refusal.value)
        assert fix in str(refusal.value)
    assert not list(tmp_path.iterdir())
    assert open_folder(f"./{uri}").path == f"{tmp_path}/{uri}"


def test_a_uri_that_lacks_a_slash_shows_no_secrets() -> None:
    with pytest.raises(InputError) as refusal:
        open_folder("s3:/key:secret@bucket/run?token=hidden")
    assert "secret" not in str(refusal.value)
    assert "hidden" not in str(refusal.value)


@pytest.mark.parametrize("path", ["C:/x", "a/s3:/b", "/s3:/b", "a:b"])
def test_a_colon_alone_makes_no_uri(path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert open_folder(path).is_local


def test_a_folder_that_looks_like_a_uri_is_used_where_it_exists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s3:" / "x").mkdir(parents=True)
    assert open_folder("s3:/x").path == f"{tmp_path}/s3:/x"


def test_a_key_that_is_percent_encoded_is_decoded() -> None:
    opened = open_folder("s3://a%3Ab:s%2Fc@bucket/my%20run/?endpoint_override=host:1&scheme=http")
    assert opened.path == "bucket/my run"
    assert pickle.loads(pickle.dumps(opened)).filesystem == opened.filesystem


def test_the_endpoint_of_the_environment_is_taken_where_the_uri_names_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://store.example:9000/")
    by_environment = open_folder("s3://bucket/run").filesystem
    assert by_environment == open_folder("s3://bucket/run?endpoint_override=store.example:9000&scheme=http").filesystem
    assert by_environment != open_folder("s3://bucket/run?endpoint_override=other:9000&scheme=http").filesystem


def test_a_buckets_region_is_looked_up_again_when_the_first_look_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: list[str | OSError] = [OSError("AWS Error NETWORK_CONNECTION during HeadBucket: no"), "eu-west-1"]

    def look_up(bucket: str) -> str:
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    monkeypatch.setattr(uris.fs, "resolve_s3_region", look_up)
    assert open_folder("s3://bucket/run").filesystem.region == "eu-west-1"


def test_an_unknown_option_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"endpoint is no option of s3://; the options are endpoint_override, scheme"):
        open_folder("s3://bucket/run?endpoint=host:1")


def test_a_folder_in_a_store_shows_no_secrets_and_keeps_its_query() -> None:
    child = open_folder(IN_STORE) / "samples"
    assert str(child) == "s3://***@bucket/run/samples?***"
    assert child.uri == "s3://key:secret@bucket/run/samples?endpoint_override=host:1"
    assert child.path == "bucket/run/samples"
    assert "secret" not in repr(child)


@pytest.mark.parametrize("uri", ["out", "s3://key:secret@bucket/run?region=us-east-1&scheme=http", "gs://bucket/run"])
def test_a_folder_travels_to_another_process_with_its_patience_and_without_its_guard(uri: str) -> None:
    opened = open_folder(uri).with_retry(7, print).guarded(lambda: None)
    copy = pickle.loads(pickle.dumps(opened))
    assert (copy.path, copy.uri, copy.filesystem) == (opened.path, opened.uri, opened.filesystem)
    assert copy.retry.seconds == 7
    assert isinstance(copy.retry.outage, OutageState)
    assert copy.guard is None


def test_one_file_is_read_by_its_uri(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"text")
    assert read_uri(str(tmp_path / "a.txt")) == read_uri((tmp_path / "a.txt").as_uri()) == b"text"


SECRET = st.text("ABC/+=%@'\",?:#", min_size=1)


@given(key=SECRET, path=st.text("xyz/.@", max_size=12), token=SECRET)
def test_no_secret_survives_redaction(key: str, path: str, token: str) -> None:
    for text in (
        f"see s3://id:{key}@bucket/{path}?token={token}! It is there.",
        f"see 's3://id:{key}@bucket/{path}' or https://host:8000/{path}?{token}",
        f"https://host/{path}#{token}",
        f"s3://id:{key}@bucket/{path}#{token}",
        f"https://{key.replace('/', '')}@host/{path}",  # a user with a slash is a host with a path
    ):
        shown = redact(text)
        assert not set("ABC") & set(shown.partition("://")[2])
        assert redact(shown) == shown


def test_a_password_with_blanks_is_no_exception() -> None:
    assert redact("Can't use s3://id:pass word@bucket/x: no") == "Can't use s3://***@bucket/x: no"


@pytest.mark.parametrize(
    "text",
    [
        "zip://data.csv::https://u:ABC@h/set.zip",
        "zip://data/part.csv::https://u:ABC@h/set.zip?x=1",
        "zip://a/b.csv::gzip://c::https://h/set.zip?token=ABC",
        r"{\"url\": \"https:\/\/u:ABC@h\/v1\"}",
        r"https:\\/\\/u:ABC@h",
        "s3://id:A B/C@bucket/x",
        "s3://id:A/B C@bucket/x",
        "a s3://bucket/x and s3://id:A B/C@bucket/x",
    ],
)
def test_no_way_to_write_a_uri_hides_its_secrets(text: str) -> None:
    shown = redact(text)
    assert not set("ABC") & set(shown)
    assert "***" in shown


def test_a_port_is_no_password() -> None:
    text = "Can't reach http://host:8000/v1 for you@example.org, nor zip://a/b.csv::https://h/set.zip"
    assert redact(text) == text


def test_what_no_secret_makes_ambiguous_is_shown() -> None:
    assert redact("Can't reach s3://id:pa@ss@bucket/run?region=x: no such bucket") == (
        "Can't reach s3://***@bucket/run?*** no such bucket"
    )


def test_the_place_of_a_folder_holds_no_part_of_a_password_with_an_at_sign() -> None:
    assert uris.bare_uri("s3://id:pa@ss@bucket/a@b?region=x") == "s3://bucket/a@b"
    assert uris.bare_uri("s3://bucket/a@b") == "s3://bucket/a@b"


def test_redaction_leaves_plain_addresses_alone() -> None:
    for text in ("s3://bucket/run", "https://host:8000/a.csv", "/local/a@b.csv", "gs://bucket/a@b"):
        assert redact(text) == text


@pytest.mark.parametrize("variable", uris.SECRET_VARIABLES)
def test_a_secret_of_the_environment_that_a_server_quotes_is_removed(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "hf_CanaryOfASecret/4711")
    assert redact("403: the token hf_CanaryOfASecret%2F4711 may not read it") == "403: the token *** may not read it"
    monkeypatch.delenv(variable)
    assert redact("403: hf_CanaryOfASecret/4711") == "403: hf_CanaryOfASecret/4711"


def test_a_short_value_of_a_secret_variable_does_not_blot_out_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "run")
    assert redact("the run has ended") == "the run has ended"


@pytest.mark.parametrize("uri", ["/tmp/\udce4", "a\udce4b", "s3://bucket/\udce4"])
def test_a_name_that_is_not_utf8_is_refused_in_one_sentence(uri: str) -> None:
    with pytest.raises(InputError, match=r"\\udce4b?: its name is not UTF-8 text. Fix: rename it"):
        open_folder(uri)
