"""The order in which a run's samples are done: of which every beginning is a fair part of the whole."""

import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from safechain_ray.cluster.sample_index import Worklist


def in_balance(worklist: Worklist, numbers: Sequence[int]) -> list[int]:
    """The sample numbers in balanced order.

    All settings advance together, through prompts in a drawn order that is the same for every setting and every model:
    what is finished when a run is cut off compares setting by setting, prompt by prompt. The K samples of a prompt stay
    neighbours.
    """
    if not numbers:
        return []
    drawn = {dataset: _turns(dataset, len(prompts)) for dataset, prompts in worklist.prompts.items()}
    samples = np.array([setting.samples for setting in worklist.settings])
    ends = np.cumsum([len(worklist.prompts[setting.dataset]) * setting.samples for setting in worklist.settings])
    wanted = np.asarray(numbers)
    places = np.searchsorted(ends, wanted, side="right")
    prompts = (wanted - np.array([0, *ends[:-1]])[places]) // samples[places]
    turns = np.empty(len(wanted))
    for place, setting in enumerate(worklist.settings):
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
