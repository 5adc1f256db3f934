"""Atomic file access at any URI (local path, file://, s3://, gs://, az://), with retries during outages of a store."""

from safechain_ray.storage.files import FileFacts
from safechain_ray.storage.folder import Folder, open_folder, read_uri, write_uri
from safechain_ray.storage.lease import Lease, acquire_lease
from safechain_ray.storage.read_ahead import READERS, read_ahead
from safechain_ray.storage.records import parse_json, read_checked_tree, read_record, reason_of
from safechain_ray.storage.retry import OutageState, RetryPolicy
from safechain_ray.storage.uris import InsideName, bare_uri, checked_name, redact, refuse_mistyped, without_secrets

__all__ = [
    "READERS",
    "FileFacts",
    "Folder",
    "InsideName",
    "Lease",
    "OutageState",
    "RetryPolicy",
    "acquire_lease",
    "bare_uri",
    "checked_name",
    "open_folder",
    "parse_json",
    "read_ahead",
    "read_checked_tree",
    "read_record",
    "read_uri",
    "reason_of",
    "redact",
    "refuse_mistyped",
    "without_secrets",
    "write_uri",
]
