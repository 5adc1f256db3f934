"""Settings held against each other prompt by prompt: paired differences, corrected tests, and the published ones.

Which settings are compared with which: those of two runs, or those of one with its baseline strategy.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from safechain_ray.metrics.counts import PromptCounts
from safechain_ray.metrics.paired import PairedDifference, PairedMeans, holm, paired_difference
from safechain_ray.metrics.published import Counterpart
from safechain_ray.metrics.safety import MetricName
from safechain_ray.types import Part, Setting


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Difference(PairedDifference):
    """`p_adjusted` is Holm's over all tests of the comparison; `published` is the difference that was published."""

    p_adjusted: float | None = None
    published: float | None = None


class OverRefusalDifference(PairedMeans):
    """The second over-refusal minus the first, over the benign prompts of both; below 0 is better."""

    p_adjusted: float | None = None


class JudgeComparison(_Model):
    """What one judge sees differ in one part, over harmful prompts.

    `counterparts` are the published settings of both, if both were.
    """

    judge: str
    part: Part
    differences: tuple[Difference, ...]
    counterparts: tuple[Counterpart, Counterpart] | None = None


class ComparedSettings(_Model):
    """Two settings over the prompts that both have; `run` is the name of the second one's run.

    `prompts` counts those in both, in the first and in the second. `same_data` says that the data sets are one and the
    same; where not, prompts are the same where their ids and their texts are.
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
        """Of every judge, then of over-refusal."""
        of_judges = tuple(each for judge in self.judges for each in judge.differences)
        return of_judges if self.over_refusal is None else (*of_judges, self.over_refusal)


class LeftOut(_Model):
    """A setting of a run that nothing was compared with, and why."""

    run: str
    setting: Setting
    reason: str


class Comparison(_Model):
    """`baseline` names what all are compared with: a run, or a strategy of the one run.

    `paper` says whether published differences were asked for.
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
        """How many p-values there are, which is the family of Holm's correction."""
        return sum(each.p_value is not None for each in self._differences())

    def corrected(self) -> "Comparison":
        """The same with Holm's correction over every test in it."""
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
    """A setting as a judge sees a part of it: the counts of its prompts, and what was published of it."""

    setting: Setting
    prompts: Sequence[PromptCounts]
    counterpart: Counterpart | None = None


def compare_sides(judge: str, part: Part, first: Side, second: Side, seed: int = 0) -> JudgeComparison:
    """The second side against the first. With K = 1 the three metrics are one, and with another K on each side
    Safe@K and ConsSafe@K are not of the same thing: then Safe@1 alone is compared.
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
    """The refusals of benign prompts on both sides; these counts hold them as safe verdicts. `samples` is K of each."""
    paired = paired_difference("safe_at_1", first, second, samples, seed)
    return OverRefusalDifference(**paired.model_dump(exclude={"metric"}))


Key = Callable[[Setting], Hashable]

ALIKE: tuple[Key, ...] = (
    lambda setting: setting.setting_id,
    lambda setting: (setting.dataset, setting.strategy.model_dump_json(), _seedless(setting)),
    lambda setting: (setting.dataset, setting.strategy.model_dump_json()),
    lambda setting: (setting.dataset, setting.strategy.name),
)

"""What two settings share to be a pair, the closest likeness first."""


@dataclass(frozen=True, slots=True)
class Pairing:
    """Pairs of settings, the baseline first, and those that have no partner or more than one possible."""

    pairs: tuple[tuple[Setting, Setting], ...]
    alone_first: tuple[Setting, ...] = ()
    alone_second: tuple[Setting, ...] = ()


def pair_runs(first: Sequence[Setting], second: Sequence[Setting]) -> Pairing:
    """Each setting of `first` with the one of `second` that is most like it, in the order of `first`.

    Equal settings are pairs. Of the others, two are a pair where data set and strategy (then options, K and sampling as
    far as they are the same) leave no choice on either side.
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
    """Each setting of another strategy with the one of strategy `baseline` on its data set, sampling and K.

    Where the baseline stands there with several options, none of them is chosen.
    """
    bases = _by(_without_strategy, [setting for setting in settings if setting.strategy.name == baseline])
    pairs: list[tuple[Setting, Setting]] = []
    alone: list[Setting] = []
    for setting in settings:
        if setting.strategy.name == baseline:
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
