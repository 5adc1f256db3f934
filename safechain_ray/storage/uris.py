"""Resolution of URIs to file systems, redaction of secrets in URIs, and validation of names inside a folder.

Credentials come from the usual chains: AWS_* variables, profiles (AWS_PROFILE) and the machine's role for s3://;
GOOGLE_APPLICATION_CREDENTIALS, gcloud or the machine for gs://; AZURE_* variables or the managed identity for az://,
abfs:// and abfss://. An s3:// URI may contain credentials, but the environment is the better place. A URI of Azure may
not.

Names from a bucket, a run's folder or a data set are validated before they become part of a path. A record that others
may write can contain `/etc/passwd` or `../../x`, which would lead out of the folder.
"""

import os
import re
from functools import cache
from typing import Annotated, Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

import pyarrow as pa
from pyarrow import fs
from pydantic import AfterValidator

from safechain_ray.errors import InputError, StorageError, StoreUnavailableError
from safechain_ray.storage.azure_uris import (
    ACCOUNT_VARIABLE,
    AZURE_FLAGS,
    AZURE_FORM,
    AZURE_SCHEMES,
    AZURE_SECRET_VARIABLES,
    AZURE_TEXTS,
    CONTAINER_IN_URI,
    MissingAccountError,
    azure_location,
    refuse_credentials,
)
from safechain_ray.storage.retry import RetriesExhaustedError, RetryPolicy, explained, store_error_of
from safechain_ray.types.known_secrets import KnownSecrets
from safechain_ray.types.thinking import well_formed

SCHEMES = ("file", "s3", "gs", "gcs", *AZURE_SCHEMES)

_MISTYPED = re.compile(r"(?i:(file|s3|gs|gcs|az|abfss?|hf|https?|package):(?!//)/?|([a-z][a-z0-9+.-]+):/(?!/))")
"""The start of a URI with one slash too few, such as s3:/bucket/x; `C:/x` is none."""

S3_TEXTS = ("endpoint_override", "scheme", "region", "tls_ca_file_path")

S3_FLAGS = ("anonymous", "allow_bucket_creation", "force_virtual_addressing")

ENDPOINT_VARIABLES = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")

SECRET_VARIABLES = (
    "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    *AZURE_SECRET_VARIABLES,
    "RAY_AUTH_TOKEN",
    "WANDB_API_KEY",
    "MLFLOW_TRACKING_TOKEN",
    "MLFLOW_TRACKING_PASSWORD",
)
"""Variables whose values a server may quote in an error. API clients remove their own keys, which have other names."""

CONNECT_TIMEOUT = 5.0

REQUEST_TIMEOUT = 10.0
"""Seconds without a byte before a request is aborted. The SDK's default of 3 s interrupts deletions of folders."""

GCS_RETRY_SECONDS = 30
"""Google's client retries by itself. Its default of 15 minutes would hide an outage for that long."""

_USER_INFO = re.compile(r"(?<=://)(?:[^/?#\s]*|[^/\s@:]*:[^\s@]*)@")  # the second form: a secret that contains a slash

_QUERY = re.compile(r"(\b\w+://[^\s?]*)\?\S+")

_URI = re.compile(
    r"(\b\w+:(?:\\{0,7}/){2})"
    r"((?:[^/\s@:]{0,256}:(?:[^/@\n]{0,256}|(?![0-9]+/)[^@\n]{0,256})@)?\S*)"
)
"""A URI in a text, to the next blank. JSON may escape its slashes.

A password may contain blanks and slashes; `@` ends it. Digits before a slash are a port.
"""

_NESTED = re.compile(r"\b\w+:(?:\\{0,7}/){2}")
"""The start of the inner URI of `zip://member::https://host/file.zip`."""

_HOLDS_USER_INFO = re.compile(r"[^/@]*@|[^/\s@:]*:[^@]*@")


class SingleAttemptS3(fs.S3FileSystem):  # type: ignore[misc]  # pyarrow has no types
    """S3 file system without the client's own retries, also when pickled: `RetryPolicy` retries and reports."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=1))

    def __reduce__(self) -> tuple[Any, ...]:
        _, (options,) = super().__reduce__()
        return _single_attempt, (options,)


def _single_attempt(options: dict[str, Any]) -> SingleAttemptS3:
    return SingleAttemptS3(**options)


def redact(text: str) -> str:
    """`text` without user information, query and fragment of every URI in it, and without the environment's secrets.

    A password may hold any character. `@`, `/`, `?`, quotes and blanks in it make its end ambiguous. Where it is
    ambiguous, too much is removed: everything up to the last `@`, and a query or fragment up to the next blank.
    """
    values = tuple(filter(None, map(os.environ.get, SECRET_VARIABLES)))
    return _URI.sub(_redacted_uri, _known(values).removed_from(text))


def _redacted_uri(match: re.Match[str]) -> str:
    container = CONTAINER_IN_URI.match(match[0])
    start = container[0] if container else match[1]
    return start + _shown(match[0][len(start) :])


@cache
def _known(values: tuple[str, ...]) -> KnownSecrets:
    return KnownSecrets.of(*values)


def without_secrets(tree: Any) -> Any:
    """A config for display: `redact` applied to every text in its mappings and lists."""
    if isinstance(tree, dict):
        return {key: without_secrets(value) for key, value in tree.items()}
    if isinstance(tree, list):
        return [without_secrets(value) for value in tree]
    return redact(tree) if isinstance(tree, str) else tree


def bare_uri(uri: str) -> str:
    """The URI without user information and query: the same location for every user and endpoint.

    A `#` is kept, because it may be part of an object's name, and so is the container of an abfss:// URI.
    """
    container = CONTAINER_IN_URI.match(uri)
    return _QUERY.sub(r"\1", uri if container else _USER_INFO.sub("", uri))


def _shown(rest: str) -> str:
    """The part of a URI after `://`, without its secrets."""
    before, at, after = rest.rpartition("@")
    if not (at and _HOLDS_USER_INFO.match(rest)):
        begin, inner = re.search("[?#]", rest), _NESTED.search(rest)
        if inner and (begin is None or inner.start() < begin.start()):
            return rest[: inner.end()] + _shown(rest[inner.end() :])
        return f"{rest[: begin.end()]}***" if begin else rest
    # A `?` or `#` before the last `@` may begin a query or fragment that holds the `@`.
    return f"***@{'***' if re.search('[?#]', before) else _shown(after)}"


def refuse_mistyped(uri: str) -> None:
    """Raises InputError for a URI that lacks a slash, which would become a local folder `s3:`.

    A local path of this name that exists is accepted.
    """
    start = _MISTYPED.match(uri)
    if start is None or os.path.lexists(uri):
        return
    scheme = start[1] or start[2]
    rest = uri[start.end() :].lstrip("/")
    meant = redact(f"{scheme}://{'/' if scheme.lower() == 'file' else ''}{rest}")
    given = uri[: start.end()] + meant.partition("://")[2].lstrip("/")  # `redact` finds secrets in URIs only
    raise InputError(
        f"Can't use {given}: a URI has two slashes after {scheme}:. "
        f"Fix: write it as {meant}, or as ./{given} for a local path."
    )


def joined(uri: str, name: str) -> str:
    """The URI or path of `name` below `uri`; the query stays at the end."""
    if not name:
        return uri
    head, mark, query = uri.partition("?") if "://" in uri else (uri, "", "")
    return f"{head.rstrip('/')}/{name}{mark}{query}"


def resolve(uri: str, retry: RetryPolicy) -> tuple[fs.FileSystem, str]:
    """The file system of `uri` and the path in it.

    A bucket's region is looked up, with retries, only if the URI has neither a region nor an endpoint.

    Raises:
        InputError: the text can't be parsed as a URI, or is one that lacks a slash.
        StorageError: the bucket's region can't be looked up.
    """
    if well_formed(uri) != uri:
        shown = redact(uri.encode("utf-8", "backslashreplace").decode())
        raise InputError(f"Can't use the path {shown}: its name is not UTF-8 text. Fix: rename it.")
    if not uri:
        raise InputError(
            "The path of a folder is empty. Fix: give a local path, s3://bucket/folder, gs://bucket/folder or "
            "az://container/folder."
        )
    refuse_mistyped(uri)
    if "://" not in uri:
        return fs.LocalFileSystem(), os.path.abspath(os.path.expanduser(uri))
    _refuse_dropped_characters(uri)
    scheme = uri.partition("://")[0]
    if scheme not in SCHEMES:
        known = ", ".join(f"{known}://" for known in SCHEMES)
        raise InputError(
            f"Can't use {redact(uri)}: {scheme}:// is not supported. Fix: give a local path, or one of {known}."
        )
    form = AZURE_FORM if scheme in AZURE_SCHEMES else f"{scheme}://bucket/folder"
    try:
        filesystem, path = _opened(uri, scheme, retry)
    except (pa.ArrowInvalid, ValueError) as error:
        # A parser's message quotes the whole URI, in a form where `redact` may miss a secret.
        quotes = any(word in str(error) for word in ("parse", "netloc"))
        reason = "it is not a well-formed URI" if quotes else str(error).replace(uri, redact(uri))
        shown = redact(uri.replace(" ", "%20"))  # the query after a blank may have a secret
        raise InputError(f"Can't use {shown}: {redact(reason)}. Fix: write it as {form}.") from None
    except OSError as error:
        kind = StoreUnavailableError if isinstance(error, RetriesExhaustedError) else StorageError
        raise kind(f"Can't reach {redact(uri)}: {explained(store_error_of(error), redact)}") from error
    if not path.strip("/") and scheme != "file":
        raise InputError(f"{redact(uri)} names no bucket. Fix: write it as {form}.")
    return filesystem, path


def _refuse_dropped_characters(uri: str) -> None:
    """Raises InputError for characters that parsers of URIs drop: `run#1` and `run#2` would be one folder, `run`."""
    for pattern, name, fix in (
        ("#", "a #", "write it as %23"),
        (r"[\x00-\x1f\x7f]", "a control character", "remove it"),
    ):
        if re.search(pattern, uri):
            shown = redact(re.sub(r"[\x00-\x20\x7f]", "%20", uri))
            raise InputError(f"Can't use {shown}: a URI can't contain {name}. Fix: {fix}.")


def _opened(uri: str, scheme: str, retry: RetryPolicy) -> tuple[fs.FileSystem, str]:
    if scheme == "s3":
        return _s3(uri, retry)
    if scheme in AZURE_SCHEMES:
        return _azure(uri)
    found: tuple[fs.FileSystem, str] = fs.FileSystem.from_uri(_google_retries(uri, scheme))
    return found


def _s3(uri: str, retry: RetryPolicy) -> tuple[fs.S3FileSystem, str]:
    parts = urlsplit(uri)
    user, _, bucket = parts.netloc.rpartition("@")
    if ":" in bucket or not bucket:
        raise ValueError("it names no bucket, or a key in it contains a slash (which is written %2F)")
    options = _s3_options(parts)
    if user:
        key, _, secret = user.partition(":")
        options |= {"access_key": unquote(key), "secret_key": unquote(secret)}
    if "endpoint_override" not in options:
        options |= _endpoint_of_environment()
    if "endpoint_override" not in options and "region" not in options:
        options["region"] = retry.call(lambda: fs.resolve_s3_region(bucket))
    filesystem = SingleAttemptS3(
        **options,
        allow_delayed_open=True,  # a small file needs one request rather than the three of a multipart upload
        connect_timeout=CONNECT_TIMEOUT,
        request_timeout=REQUEST_TIMEOUT,
    )
    return filesystem, f"{bucket}{unquote(parts.path)}".rstrip("/")


def _s3_options(parts: SplitResult) -> dict[str, str | bool]:
    return _options(parts, S3_TEXTS, S3_FLAGS)


def _options(parts: SplitResult, texts: tuple[str, ...], flags: tuple[str, ...]) -> dict[str, str | bool]:
    options: dict[str, str | bool] = {}
    for key, value in parse_qsl(parts.query, keep_blank_values=True):
        if key not in (*texts, *flags):
            shown = key if re.fullmatch(r"\w+", key) else "an entry of its query"
            raise ValueError(
                f"{shown} is no option of {parts.scheme}://; the options are {', '.join((*texts, *flags))}"
            )
        options[key] = value.lower() in ("true", "1") if key in flags else value
    return options


def _endpoint_of_environment() -> dict[str, str | bool]:
    """The endpoint in the environment variables that AWS's own tools read."""
    url = next((os.environ[name] for name in ENDPOINT_VARIABLES if os.environ.get(name)), None)
    if url is None:
        return {}
    scheme, _, endpoint = url.rpartition("://")
    return {"endpoint_override": endpoint.rstrip("/"), "scheme": scheme or "https"}


def _azure(uri: str) -> tuple[fs.PyFileSystem, str]:
    parts = urlsplit(uri)
    refuse_credentials(parts)
    try:
        location = azure_location(parts, _options(parts, AZURE_TEXTS, AZURE_FLAGS))
    except MissingAccountError as error:
        raise InputError(
            f"Can't use {redact(uri)}: {error}. Fix: set {ACCOUNT_VARIABLE}, add ?account_name=NAME, or write it as "
            "abfss://container@account.dfs.core.windows.net/folder."
        ) from None
    try:
        from safechain_ray.storage.azure import open_azure
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "obstore":
            raise
        raise InputError(
            f"{redact(uri)} is in Azure Blob Storage, which needs the package obstore. "
            "Fix: pip install 'safechain-ray[azure]', on all nodes."
        ) from error
    return open_azure(location), f"{location.container}{unquote(parts.path)}".rstrip("/")


def _google_retries(uri: str, scheme: str) -> str:
    if scheme == "file" or "retry_limit_seconds" in uri:
        return uri
    return f"{uri}{'&' if '?' in uri else '?'}retry_limit_seconds={GCS_RETRY_SECONDS}"


def stays_inside(name: str) -> bool:
    """Whether `name` is a relative path without `.`, `..` or empty parts, so that it stays inside its folder.

    Names that no file can have (a NUL, a lone surrogate) are refused too.
    """
    plain = all(part not in ("", ".", "..") for part in name.split("/"))
    return plain and "\0" not in name and name == name.encode("utf-8", "replace").decode("utf-8")


def checked_name(name: str) -> str:
    """Return `name` unchanged. Raises ValueError if it leads out of its folder."""
    if not stays_inside(name):
        raise ValueError(f"{name!r} is no name inside the folder: it must be a relative path without `..`")
    return name


InsideName = Annotated[str, AfterValidator(checked_name)]
"""A validated name in a record that pydantic reads."""
