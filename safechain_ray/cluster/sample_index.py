"""Every sample of a run by number, so that a stream of integers is a stream of samples to generate."""

from bisect import bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from typing import Any

from safechain_ray.cluster.nodes import beside_driver
from safechain_ray.types import Prompt, Setting


@dataclass(frozen=True)
class WorkItem:
    """One sample to generate."""

    setting: Setting
    prompt: Prompt
    sample_index: int

    @cached_property
    def sample_id(self) -> str:
        return self.setting.sample_id(self.prompt.prompt_id, self.sample_index)

    @cached_property
    def seed(self) -> int | None:
        return self.setting.sample_seed(self.prompt.prompt_id, self.sample_index)


@dataclass(frozen=True)
class Worklist:
    """Settings x prompts x K, numbered from 0; the K samples of a prompt are neighbours, so they share its prefix."""

    settings: tuple[Setting, ...]
    prompts: Mapping[str, tuple[Prompt, ...]]
    _ends: list[int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        sizes = (len(self.prompts[setting.dataset]) * setting.samples for setting in self.settings)
        object.__setattr__(self, "_ends", list(accumulate(sizes)))

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, number: int) -> WorkItem:
        place = bisect_right(self._ends, number)
        setting = self.settings[place]
        offset = number - (self._ends[place - 1] if place else 0)
        prompt_number, sample_index = divmod(offset, setting.samples)
        return WorkItem(setting, self.prompts[setting.dataset][prompt_number], sample_index)

    def __iter__(self) -> Iterator[WorkItem]:
        return (self[number] for number in range(len(self)))

    def ids(self) -> Iterator[str]:
        """The ids of all samples, one after the other: millions of them need not be held."""
        return (item.sample_id for item in self)

    def numbers_without(self, finished: set[str]) -> list[int]:
        """The numbers of the samples whose ids are not among `finished`."""
        if not finished:
            return list(range(len(self)))
        return [number for number, item in enumerate(self) if item.sample_id not in finished]


class _Holder:
    """Hands something to actors. An object reference as their argument would not survive their restarts."""

    def __init__(self, held: Any) -> None:
        self._held = held

    def fetch(self) -> Any:
        return self._held


def share(what: Any) -> Any:
    """An actor whose `fetch` gives it, for as long as the driver's node lives."""
    return beside_driver(_Holder, what)
