"""A point in time on the command line: a time of day, a date with a time, or a span from now."""

import re
import time
from datetime import datetime, timedelta
from typing import Any

import click

SPAN = re.compile(r"\+(?:(\d+)h)?(?:(\d+)m)?")


class Deadline(click.ParamType[float]):
    """Gives seconds since the epoch. A time of day is the next one, here: at 22:00, 07:00 is tomorrow's.

    Here is where the driver is: a job's is on the cluster, whose clock mostly shows UTC.
    """

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            found = when(value, datetime.now().astimezone())
        except ValueError:
            self.fail(f"{value!r} is no time: write 07:00, 2026-12-31T07:00+01:00 or +8h30m.", param, ctx)
        if found <= time.time():
            self.fail(f"{value} has passed.", param, ctx)
        return found


def when(text: str, now: datetime) -> float:
    """The seconds since the epoch that `text` means at `now`. Raises ValueError for what is no time."""
    span = SPAN.fullmatch(text)
    if span and any(span.groups()):
        hours, minutes = (int(number or 0) for number in span.groups())
        try:
            return (now + timedelta(hours=hours, minutes=minutes)).timestamp()
        except OverflowError as error:
            raise ValueError("the time is after the year 9999") from error
    if re.fullmatch(r"\d{1,2}:\d{2}", text):
        hour, minute = map(int, text.split(":"))
        today = now.replace(hour=hour, minute=minute, second=0, microsecond=0)
        return (today if today > now else today + timedelta(days=1)).timestamp()
    return datetime.fromisoformat(text).timestamp()


DEADLINE = Deadline()
