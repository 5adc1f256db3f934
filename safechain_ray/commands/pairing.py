"""Which samples of two runs answer the same prompt, the same time: the pairs that can be compared."""

from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from safechain_ray.cluster.workers.pair_judge import StoredPair
from safechain_ray.commands.judge_passes import ANSWERED
from safechain_ray.metrics.preferences import Unanswered
from safechain_ray.runs.folder import READERS, RunFolder
from safechain_ray.runs.stored_rows import read_samples
from safechain_ray.types import Setting, short_hash

_COLUMNS = ("setting_id", "prompt_id", "sample_index", "sample_id", "category", "prompt", "outcome")

Place = tuple[str, str, int]
"""setting_id of A, prompt_id, sample_index."""


@dataclass(frozen=True, slots=True)
class SamplePairs:
    """Pairs that both have a response, those where a side has none, and how many samples have no counterpart."""

    answered: tuple[StoredPair, ...]
    unanswered: tuple[Unanswered, ...]
    only_a: int
    only_b: int
    other_prompt: int


@dataclass(frozen=True, slots=True)
class _Stored:
    """What is kept of a sample in memory: of its prompt only a hash."""

    sample_id: str
    file: str
    category: str
    prompt: str
    answered: bool


def pair_samples(a: RunFolder, b: RunFolder, settings: Sequence[tuple[Setting, Setting]]) -> SamplePairs:
    """The samples of these pairs of settings by prompt_id and sample_index; the prompts' texts have to be equal."""
    of_a = dict(_stored(a, {first.setting_id: first.setting_id for first, _ in settings}))
    of_b = dict(_stored(b, {second.setting_id: first.setting_id for first, second in settings}))
    both = [place for place in of_a if place in of_b]
    same = [place for place in both if of_a[place].prompt == of_b[place].prompt]
    answered = [place for place in same if of_a[place].answered and of_b[place].answered]
    without = set(same) - set(answered)
    return SamplePairs(
        answered=tuple(_pair(of_a[place], of_b[place]) for place in answered),
        unanswered=tuple(Unanswered(place[0], place[1], of_a[place].category) for place in same if place in without),
        only_a=len(of_a) - len(both),
        only_b=len(of_b) - len(both),
        other_prompt=len(both) - len(same),
    )


def _pair(a: _Stored, b: _Stored) -> StoredPair:
    return StoredPair(a.sample_id, a.file, b.sample_id, b.file)


def _stored(run: RunFolder, settings: dict[str, str]) -> Iterator[tuple[Place, _Stored]]:
    """The samples of `settings`, which maps them to A's."""
    with ThreadPoolExecutor(READERS) as readers:
        for samples in readers.map(lambda name: list(_in_file(run, name, settings)), _files(run)):
            yield from samples


def _files(run: RunFolder) -> Collection[str]:
    return run.samples.list_files(".parquet")


def _in_file(run: RunFolder, name: str, settings: dict[str, str]) -> Iterator[tuple[Place, _Stored]]:
    table = read_samples(run.samples, name, _COLUMNS)
    for setting_id, prompt_id, sample_index, sample_id, category, prompt, outcome in zip(
        *(table[column].to_pylist() for column in _COLUMNS), strict=True
    ):
        if setting_id in settings:
            place = (settings[setting_id], prompt_id, sample_index)
            yield place, _Stored(sample_id, name, category, short_hash(prompt), outcome in ANSWERED)
