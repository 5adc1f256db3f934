"""What a process and its children print lands in a file, and the file's end can be shown."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from safechain_ray.engines.start import captured_output, last_lines

NATIVE = "import os; os.write(1, b'child out\\n'); os.write(2, b'child err\\n')"


def test_the_output_of_native_code_and_of_a_child_process_lands_in_the_file(tmp_path: Path):
    log = tmp_path / "logs" / "engine.log"
    with captured_output(log):
        os.write(2, b"native err\n")
        subprocess.run([sys.executable, "-c", NATIVE], check=True, timeout=60)
    assert {"native err", "child out", "child err"} <= set(log.read_text().splitlines())


def test_output_comes_back_after_the_block_an_error_in_it_too(capfd: pytest.CaptureFixture[str], tmp_path: Path):
    log = tmp_path / "engine.log"

    def fail() -> None:
        with captured_output(log):
            os.write(1, b"inside\n")
            raise ValueError

    with pytest.raises(ValueError, match=r"^$"):
        fail()
    os.write(1, b"after\n")
    assert capfd.readouterr().out == "after\n"
    assert log.read_text() == "inside\n"


def test_a_second_engine_writes_behind_the_first(tmp_path: Path):
    log = tmp_path / "engine.log"
    for line in (b"first\n", b"second\n"):
        with captured_output(log):
            os.write(1, line)
    assert log.read_text() == "first\nsecond\n"


def test_the_last_lines_of_a_log_are_shown_whatever_its_bytes_are(tmp_path: Path):
    log = tmp_path / "engine.log"
    log.write_bytes(b"one\ntwo\n\xff three\n")
    assert last_lines(log, 2) == "two\n\N{REPLACEMENT CHARACTER} three"
    assert last_lines(log, 10).splitlines()[0] == "one"


def test_a_missing_log_is_said_in_words(tmp_path: Path):
    assert last_lines(tmp_path / "none.log") == "(the engine wrote no log)"
