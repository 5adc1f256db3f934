"""Labelled responses that the demo guard finds both safe and unsafe, in any number, for judge studies."""

import csv
import io
from importlib.resources import files
from pathlib import Path

COLUMNS = ("prompt", "response", "label")


def write_labelled(path: Path, rows: int, too_long: int = 0) -> Path:
    """A CSV of `rows` responses with labels 0 (safe) and 1 (unsafe): those of quickstart-labelled, over and over.

    The last `too_long` of them do not fit the demo guard's context.
    """
    source = files("safechain_ray") / "datasets" / "data" / "quickstart_labelled.csv"
    known = list(csv.DictReader(io.StringIO(source.read_text(encoding="utf-8"))))
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for number in range(rows):
            row = known[number % len(known)]
            response = "word " * 3000 if number >= rows - too_long else row["response"]
            label = row["label"].strip().lower()
            writer.writerow((row["prompt"], response, int(label in ("1", "unsafe", "true"))))
    return path
