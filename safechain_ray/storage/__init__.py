"""Files at any URI (local path, file://, s3://, gs://): whole or not there, patient with a silent store."""

from safechain_ray.storage.files import FileFacts
from safechain_ray.storage.folder import Folder, open_folder, read_uri, write_uri
from safechain_ray.storage.lease import Lease, hold
from safechain_ray.storage.records import parse_json, read_checked_tree, read_record, reason_of
from safechain_ray.storage.retry import OutageState, Patience
from safechain_ray.storage.uris import InsideName, checked_name, place, redact, without_secrets

__all__ = [
    "FileFacts",
    "Folder",
    "InsideName",
    "Lease",
    "OutageState",
    "Patience",
    "checked_name",
    "hold",
    "open_folder",
    "parse_json",
    "place",
    "read_checked_tree",
    "read_record",
    "read_uri",
    "reason_of",
    "redact",
    "without_secrets",
    "write_uri",
]
