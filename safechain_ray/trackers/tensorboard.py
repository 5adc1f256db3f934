"""A run as TensorBoard's event files, in the folder `tensorboard` of the run."""

import shutil
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from tensorboard.summary import Writer

from safechain_ray.trackers.base import TrackedRun

LOGS = "tensorboard"

UPLOAD_SECONDS = 60.0
"""An object store takes the whole file with each upload."""


class TensorboardTracker:
    """Event files, one for each attempt. For an object store they are written here first, and uploaded every minute."""

    def __init__(self, run: TrackedRun) -> None:
        self._remote = None if run.folder.is_local else run.folder
        self._local = Path(tempfile.mkdtemp(prefix="tensorboard-") if self._remote else run.folder.path)
        self._writer = Writer(str(self._local / LOGS))
        self._uploaded = time.monotonic()

    def log(self, values: Mapping[str, float], step: int) -> None:
        for key, value in values.items():
            self._writer.add_scalar(key, value, step)
        self._writer.flush()
        if time.monotonic() - self._uploaded > UPLOAD_SECONDS:
            self._upload()

    def finish(self, figures: Mapping[str, float], step: int, failed: bool) -> None:
        self.log(figures, step)
        self._writer.close()
        self._upload()
        if self._remote is not None:
            shutil.rmtree(self._local, ignore_errors=True)

    def _upload(self) -> None:
        if self._remote is not None:
            for path in sorted((self._local / LOGS).iterdir()):
                self._remote.upload(path, f"{LOGS}/{path.name}")
        self._uploaded = time.monotonic()
