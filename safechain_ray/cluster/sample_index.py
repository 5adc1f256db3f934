"""Every sample of a run by number, so that a stream of integers is a stream of samples to generate.

The order in which a run's samples are done: of which every beginning is a fair part of the whole.
"""

import zlib
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from safechain_ray.cluster.nodes import beside_driver
from safechain_ray.types import Prompt, Setting


@dataclass(frozen=True)
class SampleSpec:
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
class SampleIndex:
    """Settings x prompts x K, numbered from 0; the K samples of a prompt are neighbours, so they share its prefix."""

    settings: tuple[Setting, ...]
    prompts: Mapping[str, tuple[Prompt, ...]]
    _ends: list[int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        sizes = (len(self.prompts[setting.dataset]) * setting.samples for setting in self.settings)
        object.__setattr__(self, "_ends", list(accumulate(sizes)))

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, number: int) -> SampleSpec:
        place = bisect_right(self._ends, number)
        setting = self.settings[place]
        offset = number - (self._ends[place - 1] if place else 0)
        prompt_number, sample_index = divmod(offset, setting.samples)
        return SampleSpec(setting, self.prompts[setting.dataset][prompt_number], sample_index)

    def __iter__(self) -> Iterator[SampleSpec]:
        return (self[number] for number in range(len(self)))

    def ids(self) -> Iterator[str]:
        """The ids of all samples, one after the other: millions of them need not be held."""
        return (item.sample_id for item in self)

    def numbers_without(self, finished: set[str]) -> list[int]:
        """The numbers of the samples whose ids are not among `finished`."""
        if not finished:
            return list(range(len(self)))
        return [number for number, item in enumerate(self) if item.sample_id not in finished]


class ObjectHolder:
    """Hands something to actors. An object reference as their argument would not survive their restarts."""

    def __init__(self, held: Any) -> None:
        self._held = held

    def fetch(self) -> Any:
        return self._held


def broadcast(what: Any) -> Any:
    """An actor whose `fetch` gives it, for as long as the driver's node lives."""
    return beside_driver(ObjectHolder, what)


def in_balance(sample_specs: SampleIndex, numbers: Sequence[int]) -> list[int]:
    """The sample numbers in balanced order.

    All settings advance together, through prompts in a drawn order that is the same for every setting and every model:
    what is finished when a run is cut off compares setting by setting, prompt by prompt. The K samples of a prompt stay
    neighbours.
    """
    if not numbers:
        return []
    drawn = {dataset: _turns(dataset, len(prompts)) for dataset, prompts in sample_specs.prompts.items()}
    samples = np.array([setting.samples for setting in sample_specs.settings])
    ends = np.cumsum(
        [len(sample_specs.prompts[setting.dataset]) * setting.samples for setting in sample_specs.settings]
    )
    wanted = np.asarray(numbers)
    places = np.searchsorted(ends, wanted, side="right")
    prompts = (wanted - np.array([0, *ends[:-1]])[places]) // samples[places]
    turns = np.empty(len(wanted))
    for place, setting in enumerate(sample_specs.settings):
        here = places == place
        turns[here] = drawn[setting.dataset][prompts[here]]
    ordered: list[int] = wanted[np.lexsort((wanted, places, turns))].tolist()
    return ordered


def _turns(dataset: str, prompts: int) -> NDArray[np.float64]:
    """Of each prompt, when between 0 and 1 its turn comes."""
    order = np.random.default_rng(zlib.crc32(dataset.encode())).permutation(prompts)
    turns = np.empty(prompts)
    turns[order] = (np.arange(prompts) + 0.5) / prompts
    return turns
