"""One object store of each kind for the tests of this folder."""

from collections.abc import Iterator

import pytest

from tests.azure_server import CREDENTIALS as AZURE_CREDENTIALS
from tests.azure_server import AzureStore, azure_store
from tests.gcs_server import GoogleServer, google_store
from tests.s3_server import CREDENTIALS, Store, s3_store


@pytest.fixture(scope="session")
def running_store() -> Iterator[Store]:
    with pytest.MonkeyPatch.context() as patch, s3_store() as store:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        yield store


@pytest.fixture
def store(running_store: Store) -> Iterator[Store]:
    """The store in good health, before a test and after it."""
    running_store.proxy.mode = "passes"
    running_store.proxy.requests.clear()
    running_store.proxy.faults = 0
    yield running_store
    running_store.proxy.mode = "passes"
    running_store.server.thaw()


@pytest.fixture(scope="session")
def google() -> Iterator[GoogleServer]:
    with google_store() as server:
        yield server


@pytest.fixture(scope="session")
def running_azure() -> Iterator[AzureStore]:
    with pytest.MonkeyPatch.context() as patch, azure_store() as store:
        for name, value in AZURE_CREDENTIALS.items():
            patch.setenv(name, value)
        yield store


@pytest.fixture
def azure(running_azure: AzureStore) -> Iterator[AzureStore]:
    """The store in good health, before a test and after it."""
    running_azure.proxy.mode = "passes"
    running_azure.proxy.requests.clear()
    running_azure.proxy.faults = 0
    yield running_azure
    running_azure.proxy.mode = "passes"
