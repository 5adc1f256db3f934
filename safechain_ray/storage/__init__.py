"""Files at any URI (local path, file://, s3://, gs://): whole or not there, patient with a silent store."""

from safechain_ray.storage.files import FileFacts
from safechain_ray.storage.folder import Folder, open_folder, read_uri, write_uri
from safechain_ray.storage.lease import Lease, hold
from safechain_ray.storage.patience import Patience, Silence
from safechain_ray.storage.uris import place, redact, without_secrets

__all__ = [
    "FileFacts",
    "Folder",
    "Lease",
    "Patience",
    "Silence",
    "hold",
    "open_folder",
    "place",
    "read_uri",
    "redact",
    "without_secrets",
    "write_uri",
]
