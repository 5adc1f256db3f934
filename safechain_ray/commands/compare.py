"""The compare command: differences between finished runs, or between strategies of one run, prompt by prompt."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from safechain_ray.catalog.published import published_figures
from safechain_ray.errors import InputError
from safechain_ray.likely_keys import name_for_message
from safechain_ray.metrics.comparison import (
    ComparedSettings,
    Comparison,
    LeftOut,
    Pairing,
    Side,
    compare_refusals,
    compare_sides,
    pair_runs,
    pair_strategies,
)
from safechain_ray.metrics.counts import Counts, PromptCounts
from safechain_ray.metrics.published import StandIns, find_counterpart
from safechain_ray.metrics.safety import PromptKinds
from safechain_ray.runs.folder import RunFolder, differences
from safechain_ray.runs.record import RunRecord
from safechain_ray.runs.run_manifest import Asked, RunManifest, counted
from safechain_ray.storage import Folder, open_folder
from safechain_ray.types import Part, Setting


def distinct_names(folders: Sequence[Folder], models: Sequence[str]) -> Sequence[str]:
    """A distinct name for each run: its model, or its folder's name, or its URI."""
    last = [folder.path.rstrip("/").rpartition("/")[2] for folder in folders]
    return next((names for names in (models, last) if len(set(names)) == len(names)), list(map(str, folders)))


@dataclass(frozen=True)
class FinishedRun:
    """A run that can be compared, with a distinct name."""

    folder: RunFolder
    run_manifest: RunManifest
    name: str

    @cached_property
    def counts(self) -> Counts:
        return counted(self.folder, self.run_manifest)

    @cached_property
    def texts(self) -> dict[tuple[str, str], str]:
        """The text of each prompt, by data set and prompt_id; without those that `push` left out.

        A copy of a run that was pushed without prompts has an empty text for each.
        """
        return {prompt: text for prompt, text in self.folder.prompt_texts().items() if text}

    @property
    def asked(self) -> Asked:
        return (*self.run_manifest.asked, *self.run_manifest.added)

    def blocked(self, setting: Setting) -> int:
        """The responses of a setting that a provider blocked."""
        tallies = self.counts.outcome_histograms(setting.setting_id, "blocked").values()
        return sum(blocked * prompts for tally in tallies for (blocked, _), prompts in tally.items())

    def prompts_of(self, setting: Setting, judge: str, part: Part) -> list[PromptCounts]:
        """Raises InputError where a prompt has more rows or verdicts than K: rows that repeat."""
        prompts = self.counts.prompt_counts(setting.setting_id, judge, part)
        if any(each.missing < 0 or each.safe + each.unsafe + each.missing > setting.samples for each in prompts):
            raise InputError(
                f"{self.folder.folder}: rows or verdicts of {setting.setting_id} repeat. Fix: rerun the run's own "
                "command: it removes repeated rows."
            )
        return prompts


def compare_runs(uris: Sequence[str], stand_ins: StandIns | None = None) -> Comparison:
    """Each further run against the first one, setting by setting, over the prompts that both have.

    With `stand_ins` the published differences are listed too. Raises InputError for a folder without a finished run,
    for runs without a common setting, judge or prompt, and for a run that is named twice.
    """
    baseline, *others = _open_runs(uris)
    pairs: list[ComparedSettings] = []
    left_out: list[LeftOut] = []
    judged_otherwise: list[str] = []
    for other in others:
        pairing = pair_runs(baseline.run_manifest.settings, other.run_manifest.settings)
        _check_settings(pairing, baseline, other)
        compared = _compared(pairing, baseline, other, stand_ins)
        if not compared:
            datasets = list(dict.fromkeys(first.dataset for first, _ in pairing.pairs))
            raise InputError(
                f"{baseline.folder.folder} and {other.folder.folder} share no prompt (by id and text) of "
                f"{_listed(datasets)}. {_why_none_is_shared((baseline, other), datasets)}"
            )
        pairs += compared
        left_out += _left_out(pairing, compared, baseline, other)
        judged_otherwise += _judged_otherwise(baseline, other)
    caveats = dict.fromkeys(caveat for run in (baseline, *others) for caveat in run.run_manifest.caveats)
    return Comparison(
        between="runs",
        baseline=baseline.name,
        paper=stand_ins is not None,
        pairs=tuple(pairs),
        left_out=tuple(left_out),
        caveats=tuple(caveats),
        other_judges=tuple(judged_otherwise),
        notes=tuple(_refusal_notes([baseline, *others], pairs)),
    ).corrected()


def compare_strategies(uri: str, strategy: str, stand_ins: StandIns | None = None) -> Comparison:
    """Each setting of one run against the one with this strategy, on the same data set with the same sampling.

    `strategy` is a strategy's name, or its label with options, for example `default enable_thinking=true`.

    Raises InputError for a folder without a finished run, and for a run without a setting to compare.
    """
    strategy = " ".join(strategy.split())
    (run,) = _open_runs([uri])
    pairing = pair_strategies(run.run_manifest.settings, strategy)
    strategies = [setting.strategy for setting in run.run_manifest.settings]
    known = sorted({each.label for each in strategies})
    if len(known) == 1:
        raise InputError(
            f"{run.folder.folder} has one strategy, {known[0]}, so it has none to compare. Fix: evaluate several "
            "strategies in one run, or compare two runs."
        )
    if not any(strategy in (each.name, each.label) for each in strategies):
        raise InputError(
            f"Strategy {name_for_message(strategy)!r} is not in {run.folder.folder}. Its strategies: "
            f"{', '.join(known)}. Fix: give one of them with --baseline."
        )
    if not pairing.pairs:
        raise InputError(
            f"{run.folder.folder} has no setting to compare with strategy {strategy!r} on the same data set with the "
            f"same sampling. It has: {_listed(setting.setting_id for setting in run.run_manifest.settings)}. "
            f"Fix: give another --baseline ({', '.join(known)}), or evaluate several strategies in one run."
        )
    compared = _compared(pairing, run, run, stand_ins)
    return Comparison(
        between="strategies",
        baseline=strategy,
        paper=stand_ins is not None,
        pairs=tuple(compared),
        left_out=tuple(_left_out(pairing, compared, run, run)),
        caveats=run.run_manifest.caveats,
    ).corrected()


def compare_own_strategies(uri: str) -> Comparison | None:
    """The strategies of one run against `default`, or against its first one; None where there is nothing to compare.

    Raises InputError for a folder without a finished run.
    """
    (run,) = _open_runs([uri])
    labels = list(dict.fromkeys(setting.strategy.label for setting in run.run_manifest.settings))
    baseline = "default" if "default" in labels else labels[0]
    if not pair_strategies(run.run_manifest.settings, baseline).pairs or not run.asked:
        return None
    compared = compare_strategies(uri, baseline)
    return compared if compared.pairs else None


def _open_runs(uris: Sequence[str]) -> list[FinishedRun]:
    folders = [RunFolder(open_folder(uri)) for uri in uris]
    paths = [(each.folder.filesystem, each.folder.path.rstrip("/")) for each in folders]
    for each, path in zip(folders, paths, strict=True):
        if paths.count(path) > 1:
            raise InputError(f"{each.folder} is named twice. Fix: name each run once.")
    manifests = [RunRecord.of_finished(each).run_manifest for each in folders]
    manifests = _with_common_kinds(manifests)
    names = distinct_names([each.folder for each in folders], [run_manifest.model for run_manifest in manifests])
    return [FinishedRun(*each) for each in zip(folders, manifests, names, strict=True)]


def _with_common_kinds(manifests: Sequence[RunManifest]) -> list[RunManifest]:
    """A category that is benign in one run is benign in all runs: the same prompt can't be harmful in another."""
    common: dict[str, PromptKinds] = {}
    for run_manifest in manifests:
        for name, kinds in run_manifest.kinds.items():
            known = common.get(name, PromptKinds()).benign_categories or ()
            common[name] = PromptKinds(tuple(dict.fromkeys([*known, *(kinds.benign_categories or ())])))
    return [
        replace(run_manifest, kinds={name: common[name] for name in run_manifest.kinds}) for run_manifest in manifests
    ]


def _refusal_notes(runs: Sequence[FinishedRun], pairs: Sequence[ComparedSettings]) -> Iterator[str]:
    """Who finds the refusals, where that is not the same in all runs."""
    if all(pair.over_refusal is None for pair in pairs):
        return
    finders = {run.name: run.run_manifest.refusals[0] for run in runs}
    if len(set(finders.values())) > 1:
        yield f"Refusals are found by {', '.join(f'{finder} in {name}' for name, finder in finders.items())}."


def _check_settings(pairing: Pairing, baseline: FinishedRun, other: FinishedRun) -> None:
    if pairing.pairs:
        return
    raise InputError(
        "The runs have no setting in common, and no data set and strategy with exactly one setting in each run. "
        "Fix: name runs with a common setting.\n"
        + "\n".join(
            f"  {run.folder.folder}: {_listed(setting.setting_id for setting in run.run_manifest.settings)}"
            for run in (baseline, other)
        )
    )


def _asked_of_both(baseline: FinishedRun, other: FinishedRun) -> Asked:
    both = tuple(each for each in baseline.asked if each in other.asked)
    if not both:
        raise InputError(
            "The runs have no judge and part in common. Fix: add one with `safechain-ray judge RUN --judge J`.\n"
            + "\n".join(
                f"  {run.folder.folder}: {_listed(f'{judge} ({part})' for judge, part in run.asked)}"
                for run in (baseline, other)
            )
        )
    return both


def _compared(
    pairing: Pairing, baseline: FinishedRun, other: FinishedRun, stand_ins: StandIns | None
) -> list[ComparedSettings]:
    """The pairs that have prompts in common."""
    asked = _asked_of_both(baseline, other)
    compared = (_compared_pair(baseline, first, other, second, asked, stand_ins) for first, second in pairing.pairs)
    return [each for each in compared if each.prompts[0]]


def _why_none_is_shared(runs: Sequence[FinishedRun], datasets: Sequence[str]) -> str:
    """The fix, after the runs whose prompts are withheld: prompts without a text are never equal."""
    withheld = [
        f"{run.folder.folder} has no texts of {name}"
        for run in runs
        for name in datasets
        if not any(dataset == name for dataset, _ in run.texts)
    ]
    if not withheld:
        return "Fix: compare runs with the same prompts."
    return (
        f"{'; '.join(withheld)}: they were left out when the run was pushed, so prompts of other data can't be "
        "matched. Fix: compare the original runs, or runs with exactly the same data."
    )


def _compared_pair(
    baseline: FinishedRun,
    first: Setting,
    other: FinishedRun,
    second: Setting,
    asked: Asked,
    stand_ins: StandIns | None,
) -> ComparedSettings:
    here = {each: baseline.prompts_of(first, *each) for each in asked}
    there = {each: other.prompts_of(second, *each) for each in asked}
    ids = [{prompt.prompt_id for prompt in prompts[asked[0]]} for prompts in (here, there)]
    same_data = baseline.run_manifest.fingerprints[first.dataset] == other.run_manifest.fingerprints[first.dataset]
    shared = ids[0] & ids[1]
    if not same_data:
        here_texts, there_texts = baseline.texts, other.texts
        keys = {each: (first.dataset, each) for each in shared}
        shared = {each for each, key in keys.items() if key in here_texts and here_texts[key] == there_texts.get(key)}
    benign = shared & (_benign(baseline, first, here[asked[0]]) | _benign(other, second, there[asked[0]]))
    harmful = shared - benign
    judges = tuple(
        compare_sides(
            *each,
            _side(baseline, first, each, here[each], harmful, stand_ins),
            _side(other, second, each, there[each], harmful, stand_ins),
        )
        for each in (asked if harmful else ())
    )
    refusals = None
    if benign:
        refusals = compare_refusals(
            _only(baseline.prompts_of(first, *baseline.run_manifest.refusals), benign),
            _only(other.prompts_of(second, *other.run_manifest.refusals), benign),
            (first.samples, second.samples),
        )
    return ComparedSettings(
        run=other.name,
        first=first,
        second=second,
        same_data=same_data,
        prompts=(len(shared), len(ids[0]), len(ids[1])),
        judges=judges,
        over_refusal=refusals,
    )


def _benign(run: FinishedRun, setting: Setting, prompts: Sequence[PromptCounts]) -> set[str]:
    kinds = run.run_manifest.kinds[setting.dataset]
    return {prompt.prompt_id for prompt in prompts if kinds.is_benign(prompt.category)}


def _only(prompts: Sequence[PromptCounts], prompt_ids: Collection[str]) -> list[PromptCounts]:
    return [prompt for prompt in prompts if prompt.prompt_id in prompt_ids]


def _side(
    run: FinishedRun,
    setting: Setting,
    asked: tuple[str, Part],
    prompts: Sequence[PromptCounts],
    shared: Collection[str],
    stand_ins: StandIns | None,
) -> Side:
    shared_prompts = _only(prompts, shared)
    if stand_ins is None:
        return Side(setting, shared_prompts)
    judge, part = asked
    expected = run.run_manifest.expected_prompts[setting.dataset]
    counterpart = find_counterpart(
        published_figures(),
        stand_ins,
        run.run_manifest.model,
        setting,
        prompts=expected,
        judge=judge,
        part=part,
        blocked=run.blocked(setting),
    )
    return Side(setting, shared_prompts, counterpart)


def _left_out(
    pairing: Pairing, compared: Sequence[ComparedSettings], baseline: FinishedRun, other: FinishedRun
) -> Iterator[LeftOut]:
    done = {(each.first.setting_id, each.second.setting_id) for each in compared}
    for run, alone in ((baseline, pairing.alone_first), (other, pairing.alone_second)):
        for setting in alone:
            yield LeftOut(run=run.name, setting=setting, reason="no counterpart, or more than one")
    for first, second in pairing.pairs:
        if (first.setting_id, second.setting_id) not in done:
            yield LeftOut(run=other.name, setting=second, reason=f"no prompt in common with {baseline.name}")


def _judged_otherwise(baseline: FinishedRun, other: FinishedRun) -> Iterator[str]:
    """Judges of both runs that have a name in common and decide otherwise, with the difference."""
    here, there = baseline.run_manifest.judge_identities, other.run_manifest.judge_identities
    for name in dict.fromkeys(judge for judge, _ in _asked_of_both(baseline, other)):
        if found := differences(here[name], there[name]):
            yield f"{name} is not the same judge in {baseline.name} and in {other.name}: {'; '.join(found)}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(dict.fromkeys(names))
