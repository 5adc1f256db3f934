"""Comparison of settings prompt by prompt: pairing of settings, paired differences, corrected tests, published ones.

Settings are paired across two runs, or within one run with the baseline strategy.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import Field

from safechain_ray.metrics.counts import PromptCounts
from safechain_ray.metrics.intervals import FrozenModel
from safechain_ray.metrics.published import Counterpart
from safechain_ray.metrics.safety import MetricName, PairedDifference, PairedMeans, holm, paired_difference
from safechain_ray.types import Part, Setting

Key = Callable[[Setting], Hashable]


class Difference(PairedDifference):
    """`p_adjusted` is Holm's over all tests of the comparison; `published` is the published difference."""

    p_adjusted: float | None = None
    published: float | None = None


class OverRefusalDifference(PairedMeans):
    """The second over-refusal minus the first, over the benign prompts of both; below 0 is better."""

    p_adjusted: float | None = None


class JudgeComparison(FrozenModel):
    """Differences by one judge in one part, over harmful prompts.

    `counterparts` are the published settings, if both were published.
    """

    judge: str
    part: Part
    differences: tuple[Difference, ...]
    counterparts: tuple[Counterpart, Counterpart] | None = None


class ComparedSettings(FrozenModel):
    """Two settings over their common prompts; `run` is the name of the second one's run.

    `prompts` counts those in both, in the first and in the second. `same_data` is whether the data sets are identical.
    If not, prompts with equal ids and texts are the same.
    """

    run: str
    first: Setting
    second: Setting
    same_data: bool
    prompts: tuple[int, int, int]
    judges: tuple[JudgeComparison, ...]
    over_refusal: OverRefusalDifference | None = Field(None, description="null without a benign prompt in both")

    @property
    def differences(self) -> tuple[Difference | OverRefusalDifference, ...]:
        """The differences of every judge, then that of over-refusal."""
        of_judges = tuple(each for judge in self.judges for each in judge.differences)
        return of_judges if self.over_refusal is None else (*of_judges, self.over_refusal)


class LeftOut(FrozenModel):
    """A setting that was not compared, and why."""

    run: str
    setting: Setting
    reason: str


class Comparison(FrozenModel):
    """`baseline` names what the others are compared with: a run, or a strategy of the one run.

    `paper` is whether published differences were requested.
    """

    between: Literal["runs", "strategies"]
    baseline: str
    paper: bool
    pairs: tuple[ComparedSettings, ...]
    left_out: tuple[LeftOut, ...] = ()
    caveats: tuple[str, ...] = ()
    other_judges: tuple[str, ...] = Field((), description="judges of one name that do not judge alike, in what")
    notes: tuple[str, ...] = Field(
        (), description="how the runs differ in their benign prompts, or in the judge of refusals"
    )

    @property
    def tests(self) -> int:
        """Number of p-values: the family of Holm's correction."""
        return sum(each.p_value is not None for each in self._differences())

    def corrected(self) -> "Comparison":
        """The same comparison with Holm's correction over all its tests."""
        adjusted = iter(holm([each.p_value for each in self._differences()]))
        pairs = tuple(
            pair.model_copy(
                update={
                    "judges": tuple(
                        judge.model_copy(
                            update={
                                "differences": tuple(
                                    each.model_copy(update={"p_adjusted": next(adjusted)}) for each in judge.differences
                                )
                            }
                        )
                        for judge in pair.judges
                    ),
                    "over_refusal": None
                    if pair.over_refusal is None
                    else pair.over_refusal.model_copy(update={"p_adjusted": next(adjusted)}),
                }
            )
            for pair in self.pairs
        )
        return self.model_copy(update={"pairs": pairs})

    def _differences(self) -> Iterator[Difference | OverRefusalDifference]:
        for pair in self.pairs:
            yield from pair.differences


@dataclass(frozen=True, slots=True)
class Side:
    """One setting of a comparison: the counts of its prompts for a judge and part, and its published counterpart."""

    setting: Setting
    prompts: Sequence[PromptCounts]
    counterpart: Counterpart | None = None


def compare_sides(judge: str, part: Part, first: Side, second: Side, seed: int = 0) -> JudgeComparison:
    """Compare the second side with the first.

    With K = 1 the three metrics are equal, and with different K Safe@K and ConsSafe@K are not comparable: then only
    Safe@1 is compared.
    """
    samples = (first.setting.samples, second.setting.samples)
    of_k_samples: tuple[MetricName, ...] = ("cons_safe_at_k", "safe_at_k")
    metrics: tuple[MetricName, ...] = ("safe_at_1", *(of_k_samples if samples[0] == samples[1] > 1 else ()))
    both = (first.counterpart, second.counterpart) if first.counterpart and second.counterpart else None
    differences = []
    for metric in metrics:
        paired = paired_difference(metric, first.prompts, second.prompts, samples, seed)
        published = None
        if both is not None and metric in both[0].shares and metric in both[1].shares:
            published = both[1].shares[metric] - both[0].shares[metric]
        differences.append(Difference(**paired.model_dump(), published=published))
    return JudgeComparison(judge=judge, part=part, differences=tuple(differences), counterparts=both)


def compare_refusals(
    first: Sequence[PromptCounts], second: Sequence[PromptCounts], samples: tuple[int, int], seed: int = 0
) -> OverRefusalDifference:
    """Compare the refusals of benign prompts, which these counts contain as safe verdicts. `samples` is K of each."""
    paired = paired_difference("safe_at_1", first, second, samples, seed)
    return OverRefusalDifference(**paired.model_dump(exclude={"metric"}))


ALIKE: tuple[Key, ...] = (
    lambda setting: setting.setting_id,
    lambda setting: (setting.dataset, setting.strategy.model_dump_json(), _seedless(setting)),
    lambda setting: (setting.dataset, setting.strategy.model_dump_json()),
    lambda setting: (setting.dataset, setting.strategy.name),
)
"""Keys by which two settings can be paired, the strictest first."""


@dataclass(frozen=True, slots=True)
class Pairing:
    """Pairs of settings, the baseline first, and settings with no partner or with several candidates."""

    pairs: tuple[tuple[Setting, Setting], ...]
    alone_first: tuple[Setting, ...] = ()
    alone_second: tuple[Setting, ...] = ()


def pair_runs(first: Sequence[Setting], second: Sequence[Setting]) -> Pairing:
    """Pair each setting of `first` with its closest setting of `second`, in the order of `first`.

    Equal settings are pairs. Of the others, two are a pair if data set and strategy (then options, K and sampling as
    far as they are equal) leave no choice on either side.
    """
    partners: dict[str, Setting] = {}
    taken: set[str] = set()
    for key in ALIKE:
        here, there = _by(key, first), _by(key, second)
        for shared, settings in here.items():
            possible = there.get(shared, [])
            if not len(settings) == len(possible) == 1:
                continue
            here_id, there_id = settings[0].setting_id, possible[0].setting_id
            if here_id not in partners and there_id not in taken:
                partners[here_id] = possible[0]
                taken.add(there_id)
    return Pairing(
        pairs=tuple((each, partners[each.setting_id]) for each in first if each.setting_id in partners),
        alone_first=tuple(each for each in first if each.setting_id not in partners),
        alone_second=tuple(each for each in second if each.setting_id not in taken),
    )


def pair_strategies(settings: Sequence[Setting], baseline: str) -> Pairing:
    """Pair each setting of another strategy with that of strategy `baseline` on its data set, sampling and K.

    `baseline` is a label (`default enable_thinking=true`), or the name of a strategy. A name that is a label too means
    the strategy without options. If a name has several settings with different options there, the setting has no pair.
    """
    labelled = [setting for setting in settings if setting.strategy.label == baseline]
    baselines = labelled or [setting for setting in settings if setting.strategy.name == baseline]
    bases = _by(_without_strategy, baselines)
    pairs: list[tuple[Setting, Setting]] = []
    alone: list[Setting] = []
    for setting in settings:
        if setting in baselines:
            continue
        possible = bases.get(_without_strategy(setting), [])
        if len(possible) == 1:
            pairs.append((possible[0], setting))
        else:
            alone.append(setting)
    return Pairing(tuple(pairs), alone_second=tuple(alone))


def _by(key: Key, settings: Sequence[Setting]) -> dict[Hashable, list[Setting]]:
    groups: defaultdict[Hashable, list[Setting]] = defaultdict(list)
    for setting in settings:
        groups[key(setting)].append(setting)
    return groups


def _without_strategy(setting: Setting) -> Hashable:
    return setting.dataset, setting.sampling.model_dump_json(), setting.samples


def _seedless(setting: Setting) -> Hashable:
    return setting.sampling.model_dump_json(exclude={"seed"}), setting.samples
