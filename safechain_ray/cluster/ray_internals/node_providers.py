"""Ray's node providers of AWS and Google Cloud, which get an on-demand fallback.

Public API looked for: `ray.autoscaler.node_provider.NodeProvider` is the interface alone. The providers that start
machines are only in private modules. A cluster config names a class of its own by `provider.module`. The providers are
not optional, as no cluster starts without them: the error shows how to start one without the on-demand fallback.
"""

from importlib import import_module
from typing import Any

PROVIDERS = {
    "aws": ("ray.autoscaler._private.aws.node_provider", "AWSNodeProvider", "boto3"),
    "gcp": ("ray.autoscaler._private.gcp.node_provider", "GCPNodeProvider", "google-api-python-client"),
}
"""Module, class, and the package that the module needs, by the name that `provider.type` has for it."""


def node_provider(cloud: str) -> Any:
    """The class of Ray's node provider for `cloud`, a key of PROVIDERS.

    Raises:
        ImportError: The installed Ray has no such class, or the cloud's package is not installed.
    """
    module, name, package = PROVIDERS[cloud]
    try:
        return getattr(import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise ImportError(
            f"Ray's node provider for {cloud} can't be imported ({error}). Fix: install {package}, or write "
            f"`provider.type: {cloud}` in place of `external` in the cluster config, which starts spot nodes only."
        ) from error
