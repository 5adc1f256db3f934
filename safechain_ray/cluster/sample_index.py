"""Sample index: maps numbers to the samples of a run, so that a stream carries integers instead of prompts.

`interleave` orders the samples of a run, so that a run that is cut off has a fair part of each setting.
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
    """Settings x prompts x K, numbered from 0. The K samples of a prompt are neighbours, and so share its KV cache."""

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
        """The ids of all samples, as an iterator: there may be millions."""
        return (item.sample_id for item in self)

    def numbers_without(self, completed: set[str]) -> list[int]:
        """The numbers of the samples whose ids are not in `completed`."""
        if not completed:
            return list(range(len(self)))
        return [number for number, item in enumerate(self) if item.sample_id not in completed]


class ObjectHolder:
    """Actor that gives an object to other actors. An object reference as argument would not survive their restarts."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def fetch(self) -> Any:
        return self._value


def broadcast(value: Any) -> Any:
    """An actor whose `fetch` returns `value` while the driver's node is alive."""
    return beside_driver(ObjectHolder, value)


def interleave(sample_specs: SampleIndex, numbers: Sequence[int]) -> list[int]:
    """The sample numbers in an order that interleaves the settings.

    All settings advance together, through the prompts in one random order for every setting and model. The rows of a
    run that is cut off can be compared setting by setting and prompt by prompt. The K samples of a prompt stay
    neighbours.
    """
    if not numbers:
        return []
    positions_of = {dataset: _positions(dataset, len(prompts)) for dataset, prompts in sample_specs.prompts.items()}
    samples = np.array([setting.samples for setting in sample_specs.settings])
    ends = np.cumsum(
        [len(sample_specs.prompts[setting.dataset]) * setting.samples for setting in sample_specs.settings]
    )
    wanted = np.asarray(numbers)
    setting_of = np.searchsorted(ends, wanted, side="right")
    prompts = (wanted - np.array([0, *ends[:-1]])[setting_of]) // samples[setting_of]
    positions = np.empty(len(wanted))
    for number, setting in enumerate(sample_specs.settings):
        here = setting_of == number
        positions[here] = positions_of[setting.dataset][prompts[here]]
    ordered: list[int] = wanted[np.lexsort((wanted, setting_of, positions))].tolist()
    return ordered


def _positions(dataset: str, prompts: int) -> NDArray[np.float64]:
    """The position of each prompt in the random order, between 0 and 1."""
    order = np.random.default_rng(zlib.crc32(dataset.encode())).permutation(prompts)
    positions = np.empty(prompts)
    positions[order] = (np.arange(prompts) + 0.5) / prompts
    return positions
