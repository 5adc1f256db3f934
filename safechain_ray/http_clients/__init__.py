"""HTTP clients for endpoints: their proxy, and the environment variables that they send.

Two failures made this module necessary. With `HTTP_PROXY` set, requests to a server on loopback went to the proxy,
which can't reach that server. And OpenAI's SDK adds `OPENAI_ORG_ID`, `OPENAI_PROJECT_ID` and `OPENAI_CUSTOM_HEADERS` to
the requests to any server.

1. A loopback address is reached directly, with any proxy variables.
2. Variables of OpenAI's SDK are used for OpenAI's own hosts only.
3. A proxy that can't be used is refused before anything starts.

The clients for providers are those of `provider_client.py`: bounded, without redirects, and without quoted secrets.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from ipaddress import ip_address
from threading import Lock
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx

from safechain_ray.errors import InputError
from safechain_ray.types.known_secrets import LONG, KnownSecrets

if TYPE_CHECKING:
    from openai import AsyncOpenAI

OPENAI_HOST = "api.openai.com"

PROXY_SCHEMES = ("http", "https", "socks5", "socks5h")

_environment = Lock()


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy and the variable that names it. The URL may hold a password."""

    variable: str
    url: str = field(repr=False)


CONNECT_SECONDS = 20.0
"""Less than the time for an answer: a request that found no server is known not to have been sent."""

NO_KEY = "none"
"""The key for a server without keys, as the SDK requires one."""


def openai_client(base_url: str, api_key: str | None, *, max_retries: int, timeout: float) -> "AsyncOpenAI":
    """The SDK's client for an endpoint. Raises InputError for a proxy that can't be used."""
    from openai import AsyncOpenAI, Timeout

    from safechain_ray.http_clients.provider_client import ProviderClient

    with _without_sdk_variables(base_url):
        return AsyncOpenAI(
            api_key=api_key or NO_KEY,
            base_url=base_url,
            max_retries=max_retries,
            timeout=Timeout(timeout, connect=min(CONNECT_SECONDS, timeout / 2)),
            http_client=ProviderClient(secrets_sent(base_url, api_key), timeout, **connection_options(base_url)),
        )


def secrets_sent(base_url: str, api_key: str | None) -> KnownSecrets:
    """The secrets that requests to `base_url` hold, which its server or proxy may quote: key and proxy password.

    OpenAI's own hosts also get the headers in `OPENAI_CUSTOM_HEADERS`.
    """
    proxy = proxy_for(base_url)
    parts = None if proxy is None else urlsplit(proxy.url)
    custom = os.environ.get("OPENAI_CUSTOM_HEADERS", "") if is_openai(base_url) else ""
    return KnownSecrets.of(
        api_key or "",
        (parts and parts.password) or "",
        *(word for line in custom.splitlines() for word in line.partition(":")[2].split() if len(word) >= LONG),
    )


def connection_options(url: str) -> dict[str, Any]:
    """Keyword arguments of an httpx client for `url`: its one proxy, and certificates as `SSL_CERT_FILE` names them.

    By default httpx prepares all proxies of the environment, and fails for one that `url` does not use. Raises
    InputError for a proxy that can't be used.
    """
    check_proxy(url)
    proxy = proxy_for(url)
    return {"trust_env": False, "proxy": proxy and proxy.url, "verify": httpx.create_ssl_context()}


def is_this_machine(url: str) -> bool:
    """Whether `url` names a loopback address, which no proxy can reach."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def is_openai(url: str) -> bool:
    """Whether `url` is OpenAI's own, regional hosts among them."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    return parts.scheme == "https" and (host == OPENAI_HOST or host.endswith(f".{OPENAI_HOST}"))


def check_proxy(url: str) -> None:
    """Raises InputError where the proxy variables name a proxy for `url` that no client here can use."""
    proxy, host = proxy_for(url), urlsplit(url).hostname
    if proxy is None:
        return
    scheme = urlsplit(proxy.url).scheme
    if scheme not in PROXY_SCHEMES:
        raise InputError(
            f"{proxy.variable}: {scheme}:// is no proxy that requests to {host} can use. "
            f"Fix: name one of {', '.join(f'{each}://' for each in PROXY_SCHEMES)}, or add {host} to NO_PROXY."
        )
    if scheme.startswith("socks") and find_spec("socksio") is None:
        raise InputError(
            f"{proxy.variable} names a SOCKS proxy for {host}, and the package socksio, which speaks SOCKS, is not "
            f"installed. Fix: run pip install socksio, or add {host} to NO_PROXY."
        )


def proxy_for(url: str) -> Proxy | None:
    """The proxy that the environment names for `url`; None where requests go there directly."""
    parts, proxies = urlsplit(url), getproxies()
    if is_this_machine(url) or proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    for name in (parts.scheme, "all"):
        if proxies.get(name):
            upper = f"{name}_proxy".upper()
            value = proxies[name] if "://" in proxies[name] else f"http://{proxies[name]}"
            return Proxy(upper if upper in os.environ else upper.lower(), value)
    return None


@contextmanager
def _without_sdk_variables(base_url: str) -> Iterator[None]:
    """Hide the variables that the SDK reads when a client is made. The SDK has no other way to leave them out."""
    if is_openai(base_url):
        yield
        return
    with _environment:
        hidden = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("OPENAI_")}
        try:
            yield
        finally:
            os.environ.update(hidden)
