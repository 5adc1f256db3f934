"""Location of a URI of Azure Blob Storage: container, account and endpoint. It needs no package of Azure.

Forms:
1. `az://container/folder` (also `abfs://container/folder`), as fsspec writes it. The account is in `?account_name=` or
   in AZURE_STORAGE_ACCOUNT_NAME, the endpoint in `?endpoint=` or in AZURE_STORAGE_ENDPOINT.
2. `abfss://container@account.dfs.core.windows.net/folder`, as Hadoop and Spark write it. The host is the endpoint.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import SplitResult, parse_qsl, urlsplit

AZURE_SCHEMES = ("az", "abfs", "abfss")

AZURE_FORM = "az://container/folder, or as abfss://container@account.dfs.core.windows.net/folder"

AZURE_TEXTS = ("account_name", "endpoint")

AZURE_FLAGS = ("anonymous",)

ACCOUNT_VARIABLE = "AZURE_STORAGE_ACCOUNT_NAME"

ENDPOINT_VARIABLES = ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT")

AZURE_SECRET_VARIABLES = (
    "AZURE_STORAGE_ACCOUNT_KEY",
    "AZURE_STORAGE_ACCESS_KEY",
    "AZURE_STORAGE_MASTER_KEY",
    "AZURE_STORAGE_SAS_KEY",
    "AZURE_STORAGE_SAS_TOKEN",
    "AZURE_STORAGE_TOKEN",
    "AZURE_STORAGE_CLIENT_SECRET",
    "AZURE_CLIENT_SECRET",
    "AZURE_ENCRYPTION_KEY",
    "AZURE_FABRIC_SESSION_TOKEN",
)
"""Variables with credentials that obstore reads."""

CONTAINER_IN_URI = re.compile(r"abfss?://[a-z0-9$][a-z0-9-]{1,62}@(?=[a-z0-9-]+\.(?:dfs|blob)\.)")
"""The start of `abfss://container@account.dfs.core.windows.net/`. The part before the `@` is no secret."""

_CONTAINER = re.compile(r"\$?[a-z0-9](?:-?[a-z0-9])+")

_HOST = re.compile(r"([a-z0-9-]+)\.(?:dfs|blob)\.([a-z0-9.-]+)")

_SECRET_OPTIONS = frozenset({"sig", "sas", "sas_token", "sas_key", "account_key", "access_key", "client_secret"})

_NO_KEYS = (
    "it contains a credential, which belongs in the environment (AZURE_STORAGE_ACCOUNT_KEY, AZURE_STORAGE_SAS_TOKEN)"
)


@dataclass(frozen=True)
class Location:
    """A container with its account. `endpoint` is a URL, or empty for Azure's public cloud."""

    container: str
    account: str
    endpoint: str = ""
    anonymous: bool = False


class MissingAccountError(ValueError):
    """Neither the URI nor the environment names the account."""


def refuse_credentials(parts: SplitResult) -> None:
    """Raises ValueError for a key in the URI. obstore would ignore the key, and the URI would be stored in records."""
    names = {name.lower() for name, _ in parse_qsl(parts.query, keep_blank_values=True)}
    if re.fullmatch(r"[^:]*:[0-9]{1,5}", parts.netloc):
        raise ValueError("it has a port; name the whole endpoint in ?endpoint=")
    if ":" in parts.netloc or names & _SECRET_OPTIONS:
        raise ValueError(_NO_KEYS)


def refuse_line_breaks() -> None:
    """Raises OSError for a credential with a line break, at which obstore panics. A file's last line often has one."""
    for name in AZURE_SECRET_VARIABLES:
        if re.search(r"[\r\n]", os.environ.get(name, "")):
            raise OSError(f"Azure Error InvalidAccessKey: {name} has a line break")


def azure_location(parts: SplitResult, options: Mapping[str, str | bool]) -> Location:
    """The location of a parsed URI.

    Raises:
        MissingAccountError: there is no account.
        ValueError: the URI has another form, or contains a credential.
    """
    container, at, host = parts.netloc.rpartition("@") if "@" in parts.netloc else (parts.netloc, "", "")
    account, endpoint = str(options.get("account_name", "")), str(options.get("endpoint", ""))
    if at:
        found = _HOST.fullmatch(host)
        if found is None or parts.scheme == "az":
            raise ValueError("the part after the @ is no account.dfs.core.windows.net of an abfss:// URI")
        if account not in ("", found[1]):
            raise ValueError("its option account_name is not the account of its host")
        account = found[1]
        endpoint = endpoint or f"https://{found[1]}.blob.{found[2]}"
    if not (_CONTAINER.fullmatch(container) and 3 <= len(container) <= 63):
        raise ValueError(
            "it names no container, or one that cannot exist (3 to 63 lower-case letters, digits and single hyphens)"
        )
    usual = os.environ.get(ACCOUNT_VARIABLE, "")
    account = account or usual
    if not account:
        raise MissingAccountError("it names no storage account")
    of_environment = "" if endpoint else next(filter(None, map(os.environ.get, ENDPOINT_VARIABLES)), "")
    if of_environment and usual not in ("", account):  # with a SAS token the endpoint's own account would be written to
        raise ValueError(
            f"its account is not that of {ACCOUNT_VARIABLE}, and the environment has an endpoint; name the "
            "account's own in ?endpoint="
        )
    endpoint = endpoint or of_environment
    return Location(container, account, _checked_endpoint(endpoint), bool(options.get("anonymous", False)))


def _checked_endpoint(endpoint: str) -> str:
    parts = urlsplit(endpoint)
    if endpoint and (parts.scheme not in ("http", "https") or not parts.hostname):
        raise ValueError("its endpoint is no URL such as https://account.blob.core.windows.net")
    if parts.username or parts.query:
        raise ValueError(_NO_KEYS)
    return endpoint.rstrip("/")
