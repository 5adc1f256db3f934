"""Compressed files and archives, which the `datasets` library detects by content and not by name."""

import bz2
import gzip
import io
import lzma
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from safechain_ray.datasets.adhoc import adhoc_entry
from safechain_ray.datasets.loading import load_prompts
from safechain_ray.datasets.records import BrokenFileError
from safechain_ray.datasets.unpacking import check_packed
from safechain_ray.errors import InputError

MIB = 2**20


def zipped(data: bytes, name: str = "prompts.csv") -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, data)
    return buffer.getvalue()


def tarred(data: bytes, *, kind: bytes = tarfile.REGTYPE, name: str = "0001.txt", mode: str = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        member = tarfile.TarInfo(name)
        member.type, member.size, member.linkname = kind, len(data), "other.txt"
        archive.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


def old_lzma(data: bytes) -> bytes:
    return lzma.compress(data, lzma.FORMAT_ALONE)


def zstd(data: bytes) -> bytes:
    return pa.compress(data, "zstd", asbytes=True)


def lz4(data: bytes) -> bytes:
    buffer = pa.BufferOutputStream()
    with pa.CompressedOutputStream(buffer, "lz4") as stream:
        stream.write(data)
    return buffer.getvalue().to_pybytes()


def parquet(data: bytes) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"prompt": [data.decode()]}), buffer)
    return b"\0\0\0\0" + buffer.getvalue()[4:]  # readers look at the end alone


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".lzma": old_lzma,
    ".zst": zstd,
    ".zst-1": lambda data: b"\x50\x2a\x4d\x18\x01\0\0\0x" + zstd(data),
    ".lz4": lz4,
    ".zip": zipped,
    ".sfx": lambda data: b"#!/bin/sh\n" + zipped(data),
    ".tar": lambda data: gzip.compress(tarred(data)),
    ".tgz": lambda data: lzma.compress(tarred(data)),
}


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("packer", PACKERS)
def test_archives_are_unpacked_up_to_a_limit(tmp_path: Path, small_limit: None, packer: str, named: bool):
    suffix = packer if named else ".txt"
    file = tmp_path / f"prompts{suffix}"
    file.write_bytes(PACKERS[packer](b"a" * (MIB // 2)))
    check_packed(file, suffix)
    file.write_bytes(PACKERS[packer](b"a" * (MIB + 1)))
    with pytest.raises(BrokenFileError, match="unpacks to more than"):
        check_packed(file, suffix)


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz", ".zst", ".lz4", ".zip"])
def test_a_broken_archive_is_refused(tmp_path: Path, suffix: str):
    file = tmp_path / f"prompts{suffix}"
    for data in (b"no archive", PACKERS[suffix](b"a" * 1000)[:-9]):
        file.write_bytes(data)
        with pytest.raises(BrokenFileError, match="can't be unpacked"):
            check_packed(file, suffix)


@pytest.mark.parametrize("start", [b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07\x00"])
def test_a_format_that_is_not_unpacked_is_refused(tmp_path: Path, start: bytes):
    (tmp_path / "train.txt").write_bytes(start)
    with pytest.raises(InputError, match=r"train.txt of .* which is not unpacked here. Fix: unpack it yourself"):
        load_prompts(adhoc_entry(str(tmp_path), prompt_column="text"), limit=5)


def test_a_pipe_is_refused_and_does_not_hang(tmp_path: Path):
    os.mkfifo(tmp_path / "train.txt")
    with pytest.raises(InputError, match="doesn't contain any data files"):
        load_prompts(adhoc_entry(str(tmp_path), prompt_column="text"))


@pytest.mark.parametrize("data", [b"", b"Why?\n", b"]\n" * 50, bytes(2000), tarred(b"Why?\n")])
def test_other_files_pass(tmp_path: Path, data: bytes):
    (tmp_path / "train.txt").write_bytes(data)
    check_packed(tmp_path / "train.txt", ".txt")


@pytest.mark.parametrize("inner", [gzip.compress, old_lzma, zipped, parquet, zstd])
@pytest.mark.parametrize("outer", [gzip.compress, zipped, tarred, lambda data: bz2.compress(tarred(data))])
def test_a_compressed_file_in_a_compressed_file_is_refused(
    tmp_path: Path, outer: Callable[[bytes], bytes], inner: Callable[[bytes], bytes]
):
    (tmp_path / "train.txt").write_bytes(outer(inner(b"Why?\n")))
    with pytest.raises(BrokenFileError, match="that is compressed itself"):
        check_packed(tmp_path / "train.txt", ".txt")


@pytest.mark.parametrize("kind", [tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_pipes_of_an_archive_are_refused(tmp_path: Path, kind: bytes):
    (tmp_path / "train.txt").write_bytes(tarred(b"", kind=kind))
    with pytest.raises(BrokenFileError, match=r"'0001.txt', which is no file and no folder"):
        check_packed(tmp_path / "train.txt", ".txt")


@pytest.mark.parametrize("name", ["0001.pth", "0001.model.PTH", "0001.npz"])
def test_arrays_of_an_archive_are_refused_before_the_library_decodes_them(tmp_path: Path, name: str):
    (tmp_path / "train.tar").write_bytes(tarred(b"no array", name=name))
    with pytest.raises(InputError, match=rf"{name}', an array and no text. Fix: unpack it yourself"):
        load_prompts(adhoc_entry(str(tmp_path), prompt_column="txt"), limit=5)


def test_many_small_files_of_an_archive_count_for_more_than_their_bytes(tmp_path: Path, small_limit: None):
    with zipfile.ZipFile(tmp_path / "train.zip", "w") as archive:
        for number in range(1100):
            archive.writestr(f"{number}.txt", "")
    with pytest.raises(BrokenFileError, match="unpacks to more than"):
        check_packed(tmp_path / "train.zip", ".zip")


def text(number: int) -> bytes:
    return b"Why?\n" + b"a" * number


@pytest.mark.parametrize(
    ("name", "pack", "column"),
    [
        ("train.txt.gz", gzip.compress, "text"),
        ("train.txt", gzip.compress, "text"),
        ("train.txt", tarred, "text"),
        ("train.txt", lambda data: zipped(data, "train.txt"), "text"),
        ("train.tar", tarred, "txt"),
    ],
)
def test_a_folder_is_weighed_before_the_library_reads_it(
    tmp_path: Path, small_limit: None, name: str, pack: Callable[[bytes], bytes], column: str
):
    entry = adhoc_entry(str(tmp_path), prompt_column=column)
    (tmp_path / name).write_bytes(pack(text(100)))
    assert load_prompts(entry, limit=5).prompts[0].text.startswith("Why?")
    (tmp_path / name).write_bytes(pack(text(2 * MIB)))
    with pytest.raises(InputError, match=rf"{name} of .* unpacks to more than"):
        load_prompts(entry, limit=5)


def test_a_format_that_can_not_be_weighed_is_refused(tmp_path: Path):
    (tmp_path / "train.h5").write_bytes(b"\x89HDF\r\n\x1a\n")
    with pytest.raises(InputError, match=r"has the format 'hdf5', .* Fix: convert it to JSON Lines"):
        load_prompts(adhoc_entry(str(tmp_path), prompt_column="prompt"), limit=5)
