"""az://, abfs:// and abfss://: parsing, refusals and redaction. They need neither obstore nor a server."""

import sys
import time
from urllib.parse import urlsplit

import pytest

from safechain_ray.errors import InputError, StorageError
from safechain_ray.storage import open_folder, redact
from safechain_ray.storage.azure_uris import AZURE_SECRET_VARIABLES, Location, azure_location
from safechain_ray.storage.uris import bare_uri

IN_HOST = "abfss://container@account.dfs.core.windows.net/runs/a"


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT", *AZURE_SECRET_VARIABLES):
        monkeypatch.delenv(name, raising=False)


def location(uri: str, **options: str | bool) -> Location:
    return azure_location(urlsplit(uri), options)


def test_the_account_is_in_the_query_or_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "mine")
    assert location("az://container/a") == location("abfs://container/a") == Location("container", "mine")
    assert location("az://container/a", account_name="other").account == "other"


def test_the_host_of_an_abfss_uri_is_account_and_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "mine")
    monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", "https://mine.example.com")
    assert location(IN_HOST) == Location("container", "account", "https://account.blob.core.windows.net")
    china = location("abfs://container@account.blob.core.chinacloudapi.cn/a")
    assert china.endpoint == "https://account.blob.core.chinacloudapi.cn"


def test_the_endpoint_of_the_environment_is_taken_where_the_uri_names_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "mine")
    monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", "http://127.0.0.1:10000/mine/")
    assert location("az://container/a").endpoint == "http://127.0.0.1:10000/mine"
    assert location("az://container/a", endpoint="https://host/x").endpoint == "https://host/x"


@pytest.mark.parametrize(
    ("uri", "reason"),
    [
        ("az://", "it names no container"),
        ("az:///folder", "it names no container"),
        ("az://Upper/folder", "it names no container, or one that cannot exist"),
        ("az://con--tainer/folder", "one that cannot exist"),
        ("az://container@account.dfs.core.windows.net/folder", "the part after the @ is no account"),
        ("abfss://container@account/folder", "the part after the @ is no account"),
        ("abfss://container@account.dfs.core.windows.net/a?account_name=other", "is not the account of its host"),
        ("az://container:80/folder?account_name=a", "it has a port; name the whole endpoint in ?endpoint="),
        ("az://container/folder?account_name=a&sig%3DSECRET", "an entry of its query is no option of az://"),
        ("az://u:SECRET\u2100@container/folder", "it is not a well-formed URI"),
        ("az://container/my folder?account_name=a&sig=SECRET", "it contains a credential"),
        ("abfs://account:SECRET@container/folder", "it contains a credential"),
        ("az://container/folder?account_name=a&account_key=SECRET", "it contains a credential"),
        ("az://container/folder?sv=2024&sig=SECRET", "it contains a credential"),
        ("az://container/folder?account_name=a&endpoint=https://u:SECRET@host/a", "it contains a credential"),
        ("az://container/folder?account_name=a&endpoint=host:10000", "its endpoint is no URL"),
        ("az://container/folder?region=x", "region is no option of az://; the options are account_name, endpoint"),
    ],
)
def test_a_uri_that_can_not_be_used_is_refused_with_the_form(uri: str, reason: str) -> None:
    with pytest.raises(InputError) as refusal:
        open_folder(uri)
    assert reason in str(refusal.value)
    assert "Fix: write it as az://container/folder, or as abfss://container@account.dfs.core" in str(refusal.value)
    assert "SECRET" not in str(refusal.value)


def test_an_account_of_the_uri_is_not_reached_through_the_endpoint_of_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", "http://127.0.0.1:10000/mine")
    assert location("az://container/a", account_name="mine").endpoint == "http://127.0.0.1:10000/mine"
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "mine")
    assert location("az://container/a", account_name="mine").endpoint == "http://127.0.0.1:10000/mine"
    with pytest.raises(
        ValueError, match=r"not that of AZURE_STORAGE_ACCOUNT_NAME, .* name the account's own in \?endp"
    ):
        location("az://container/a", account_name="production")
    assert location("az://container/a", account_name="production", endpoint="https://p").account == "production"


def test_a_credential_with_a_line_break_is_refused_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("obstore")
    monkeypatch.setenv("AZURE_STORAGE_TOKEN", "hunter2\n")
    with pytest.raises(StorageError, match=r"AZURE_STORAGE_TOKEN has a line break") as refusal:
        open_folder("az://container/a?account_name=x")
    assert "hunter2" not in str(refusal.value)


@pytest.mark.parametrize(
    "environment",
    [
        {"AZURE_USE_AZURE_CLI": "true", "PATH": "/nowhere"},
        {"AZURE_USE_AZURE_CLI": "maybe"},
        {"AZURE_FEDERATED_TOKEN_FILE": "/no/such/file", "AZURE_CLIENT_ID": "a", "AZURE_TENANT_ID": "b"},
        {"AZURE_STORAGE_SAS_TOKEN": "hunter2"},
    ],
)
def test_a_login_that_can_not_work_is_refused_without_retries(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]
) -> None:
    pytest.importorskip("obstore")
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    began = time.monotonic()
    with pytest.raises(StorageError, match=r"the store refuses it.*CredentialUnusable.*Fix: check AZURE_") as refusal:
        open_folder("az://container/a?account_name=x&endpoint=http://127.0.0.1:9/x").with_retry(60).list_files()
    assert time.monotonic() - began < 30
    assert "hunter2" not in str(refusal.value)


def test_a_missing_account_names_the_variable() -> None:
    with pytest.raises(InputError, match=r"it names no storage account\. Fix: set AZURE_STORAGE_ACCOUNT_NAME, add \?"):
        open_folder("az://container/folder")


@pytest.mark.parametrize("scheme", ["az", "abfs", "abfss"])
def test_a_uri_that_lacks_a_slash_is_no_local_folder(scheme: str) -> None:
    for given in (f"{scheme}:container/x", f"{scheme}:/container/x"):
        with pytest.raises(InputError, match=f"Fix: write it as {scheme}://container/x, or as ./"):
            open_folder(given)


def test_another_scheme_of_azure_is_refused_with_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"wasbs:// is not supported\. Fix: .* az://, abfs://, abfss://"):
        open_folder("wasbs://container@account.blob.core.windows.net/a")


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "safechain_ray.storage.azure", raising=False)
    for name in ("obstore", "obstore.store"):  # an earlier test may have imported either
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(InputError, match=r"package obstore\. Fix: pip install 'safechain-ray\[azure\]', on all nodes"):
        open_folder(IN_HOST)


def test_the_container_is_shown_and_a_secret_is_not() -> None:
    assert redact(f"Can't read {IN_HOST}: no") == f"Can't read {IN_HOST}: no"
    assert redact(f"{IN_HOST}?sig=SECRET") == f"{IN_HOST}?***"
    assert redact("abfss://SECRET@account.dfs.core.windows.net/a") == "abfss://***@account.dfs.core.windows.net/a"
    assert redact("abfss://id:secret@account.dfs.core.windows.net/a") == "abfss://***@account.dfs.core.windows.net/a"
    assert redact("az://container/a?account_name=x") == "az://container/a?***"


def test_two_containers_of_an_account_are_two_locations() -> None:
    assert bare_uri(f"{IN_HOST}?endpoint=x") == IN_HOST
    assert bare_uri("az://container/a?account_name=x") == "az://container/a"
