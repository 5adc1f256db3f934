"""Published figures as counterparts of a run's figures, for safety and for benchmarks, with the known differences."""

from collections.abc import Iterator, Mapping

from safechain_ray import catalog
from safechain_ray.catalog.benchmark_entries import DEFAULT_STYLE
from safechain_ray.catalog.published import Evaluation, Finetuning, PublishedFigures, SafetyFigures
from safechain_ray.errors import UnknownNameError
from safechain_ray.metrics.benchmark import BenchmarkFigures, BenchmarkRunMetrics
from safechain_ray.metrics.intervals import FrozenModel
from safechain_ray.metrics.safety import MetricName
from safechain_ray.metrics.summary import JudgeMetrics, RunMetrics, SettingMetrics, as_setting
from safechain_ray.types import Part, Sampling, Setting, StrategySpec
from safechain_ray.types.arguments import json_text

IN_PLACE_OF_BLOCKED = "the published code judged a fixed refusal in place of each"
"""utils_model.py and resp_gen.py of github.com/uw-nsl/safechain: a fixed sentence, which a judge calls safe."""

WITHOUT_COMPAT = {
    "default": "BOS once, not twice",
    "zerothink": "judged with its prefill; BOS once, not twice",
    "lessthink": "judged with its prefill; BOS once, not twice",
    "morethink": "not the calls of the published code; BOS once, not twice",
}
"""Differences from the published code without `compat: paper`, by strategy."""


class Counterpart(FrozenModel):
    """The published figures of a setting: model (by the table's name), data set, and shares of 1.

    `differs` lists how our setting differs from the published one. If it is empty, the figures are comparable.
    """

    model: str
    dataset: str
    shares: dict[MetricName, float]
    differs: tuple[str, ...]
    externally_filtered: bool


class BesideOurs(Counterpart):
    """The counterpart of one judge's figures on one part in one setting of a run.

    `differences` are our figures minus the published ones. `within_interval` is whether the published figure is in
    our 95% interval. Both omit a metric that is undefined in ours.
    """

    setting_id: str
    judge: str
    part: Part
    differences: dict[MetricName, float]
    within_interval: dict[MetricName, bool]


class StandIns(FrozenModel):
    """Published names used in place of ours: `model` for every model, and a published data set for each mapped one."""

    model: str | None = None
    datasets: Mapping[str, str] = {}

    def check(self, figures: PublishedFigures) -> None:
        """Raises UnknownNameError for a model or a data set without published figures."""
        if self.model is not None and figures.name_of(self.model) is None:
            raise UnknownNameError("published model", self.model, figures.safety)
        for name in self.datasets.values():
            if name not in figures.evaluation.greedy_datasets:
                raise UnknownNameError("published data set", name, figures.evaluation.greedy_datasets)


NO_STAND_INS = StandIns()
"""No substitutes."""


def beside(metrics: RunMetrics, figures: PublishedFigures, stand_ins: StandIns) -> tuple[BesideOurs, ...]:
    """The counterparts of a run's figures, in their order; settings without published figures are skipped."""
    return tuple(
        _beside(setting, judge, counterpart)
        for setting in metrics.settings
        for judge in setting.judges
        for counterpart in [
            find_counterpart(
                figures,
                stand_ins,
                metrics.model,
                as_setting(setting),
                prompts=judge.prompts,
                judge=judge.judge,
                part=judge.part,
                blocked=setting.outcomes["blocked"],
            )
        ]
        if counterpart is not None
    )


def find_counterpart(
    figures: PublishedFigures,
    stand_ins: StandIns,
    model: str,
    setting: Setting,
    *,
    prompts: int,
    judge: str,
    part: Part,
    blocked: int = 0,
) -> Counterpart | None:
    """Published figures of `model` in `setting` for a judge and part; None for an unknown model, strategy or data set.

    Greedy settings correspond to the greedy figures on the full sets, others to the sampled figures on the small sets.
    Other differences are listed, and the figures are shown nevertheless. `prompts` is the number of prompts that the
    figures cover, `blocked` that of responses blocked by a provider.
    """
    evaluation = figures.evaluation
    name = figures.name_of(stand_ins.model or model)
    table = _table_of(setting.dataset, evaluation, stand_ins)
    if name is None or table is None or setting.strategy.name not in figures.safety[name]:
        return None
    greedy = setting.sampling.greedy
    dataset = (evaluation.greedy_datasets if greedy else evaluation.sampled_datasets)[table]
    differs = [
        *_other_model(model, name, figures),
        *_other_strategy(setting.strategy, name, evaluation),
        *_other_prompts(setting.dataset, dataset, prompts),
        *_other_sampling(setting, evaluation),
        *([f"judge {judge}, not {evaluation.judge}"] if judge != evaluation.judge else ()),
        *([f"the {part}, not the {evaluation.part}"] if part != evaluation.part else ()),
        *([f"{blocked} blocked responses are missing; {IN_PLACE_OF_BLOCKED}"] if blocked else ()),
    ]
    return Counterpart(
        model=name,
        dataset=dataset,
        shares=_shares(figures.safety[name][setting.strategy.name][table], greedy),
        differs=tuple(differs),
        externally_filtered=name in figures.externally_filtered,
    )


def _beside(setting: SettingMetrics, judge: JudgeMetrics, counterpart: Counterpart) -> BesideOurs:
    differences, within = {}, {}
    for name, published in counterpart.shares.items():
        ours = getattr(judge, name)
        if ours.value is not None:
            differences[name] = ours.value - published
            within[name] = ours.low <= published <= ours.high
    return BesideOurs(
        **counterpart.model_dump(),
        setting_id=setting.setting_id,
        judge=judge.judge,
        part=judge.part,
        differences=differences,
        within_interval=within,
    )


def _shares(figures: SafetyFigures, greedy: bool) -> dict[MetricName, float]:
    if greedy:
        return {"safe_at_1": figures.greedy_safe_at_1}
    return {
        "safe_at_1": figures.safe_at_1,
        "cons_safe_at_k": figures.cons_safe_at_k,
        "safe_at_k": figures.safe_at_k,
    }


def _table_of(dataset: str, evaluation: Evaluation, stand_ins: StandIns) -> str | None:
    """The name of a data set, full or small, in the published tables."""
    if dataset in stand_ins.datasets:
        return stand_ins.datasets[dataset]
    names = (evaluation.greedy_datasets, evaluation.sampled_datasets)
    return next((table for known in names for table, name in known.items() if name == dataset), None)


def _other_model(model: str, name: str, figures: PublishedFigures) -> Iterator[str]:
    ran = figures.evaluation.ran.get(name, model)
    if figures.name_of(model) != name:
        yield f"model {model}, not {name}"
    elif model != ran:
        yield f"model {model}; the published code ran {ran}"


def _other_strategy(strategy: StrategySpec, model: str, evaluation: Evaluation) -> Iterator[str]:
    """`model` is the published one. `compat` changes nothing for `default` if the model's template has no BOS."""
    published = evaluation.strategy_options.get(strategy.name, {})
    left_out = {**published, "compat": "none"} if published else {}
    for key, value in {**left_out, **strategy.options}.items():
        if value == published.get(key) or (strategy.name == "default" and model not in evaluation.bos_twice):
            continue
        usual = f", not {published[key]}" if key in published else ""
        reason = f" ({WITHOUT_COMPAT[strategy.name]})" if key == "compat" else ""
        yield f"{strategy.name} with {key}={value}{usual}{reason}"
    for key, argument in (strategy.template_kwargs | strategy.extra_body).items():
        yield f"{strategy.name} with {key}={json_text(argument)}"


def _other_prompts(dataset: str, published: str, prompts: int) -> Iterator[str]:
    rows = catalog.datasets()[published].rows
    if dataset != published:
        yield f"{prompts} prompts of {dataset}, not the {rows} of {published}"
    elif prompts != rows:
        yield f"{prompts} of {rows} prompts"


def _other_sampling(setting: Setting, evaluation: Evaluation) -> Iterator[str]:
    sampling, usual = setting.sampling, Sampling()
    wanted: dict[str, float] = {"max_tokens": evaluation.max_tokens, "repetition_penalty": usual.repetition_penalty}
    if not sampling.greedy:
        wanted |= {"temperature": evaluation.temperature, "top_p": evaluation.top_p, "top_k": usual.top_k}
        if setting.samples != evaluation.samples:
            yield f"K = {setting.samples}, not {evaluation.samples}"
    for key, value in wanted.items():
        if getattr(sampling, key) != value:
            yield f"{key} {getattr(sampling, key):g}, not {value:g}"


class PublishedPass(FrozenModel):
    """The published pass@1 of one benchmark as a share of 1, for `model` by its published name.

    `differs` lists how our run differs from the published one. `difference` is ours minus the published figure, and
    `within_interval` is whether that figure is in our 95% interval; both are None if ours is undefined.
    """

    benchmark: str
    model: str
    share: float
    differs: tuple[str, ...]
    difference: float | None
    within_interval: bool | None


def published_passes(
    metrics: BenchmarkRunMetrics, finetuning: Finetuning, stand_in: str | None = None
) -> tuple[PublishedPass, ...]:
    """The published figure of each benchmark that has one; empty for a model without published figures.

    `stand_in` is the published model to compare with, if its name differs. Raises UnknownNameError if it is unknown.
    """
    rows = finetuning.rows()
    wanted = stand_in or metrics.model
    name = next((name for name in rows if name.casefold() == wanted.casefold()), None)
    if name is None:
        if stand_in is not None:
            raise UnknownNameError("published model", stand_in, rows)
        return ()
    other = [] if metrics.model.casefold() == name.casefold() else [f"model {metrics.model}, not {name}"]
    return tuple(
        _benchmark_beside(
            figures, name, rows[name][figures.dataset], other, finetuning.styles.get(figures.dataset, DEFAULT_STYLE)
        )
        for figures in metrics.benchmarks
        if figures.dataset in rows[name]
    )


def _benchmark_beside(
    figures: BenchmarkFigures, model: str, share: float, other: list[str], style: str
) -> PublishedPass:
    ours = figures.grades.pass_at.get(1)
    difference = within = None
    if ours is not None and ours.value is not None and ours.low is not None and ours.high is not None:
        difference, within = ours.value - share, ours.low <= share <= ours.high
    return PublishedPass(
        benchmark=figures.dataset,
        model=model,
        share=share,
        differs=(*other, *_differs(figures, style)),
        difference=difference,
        within_interval=within,
    )


def _differs(figures: BenchmarkFigures, style: str) -> Iterator[str]:
    """Known differences between our run of one benchmark and the published one, whose style is `style`."""
    entry = catalog.benchmarks()[figures.dataset].in_style(style)
    problems, whole = figures.grades.problems, figures.problems_published
    if whole is not None and problems != whole:
        yield f"{problems:,} of {whole:,} problems"
    if figures.style != entry.style:
        means = f" ({entry.style_description})" if entry.style_description else ""
        yield f"style {figures.style}, not {entry.style}{means}"
    usual = catalog.benchmarks()[figures.dataset].in_style(figures.style).strategy
    if figures.strategy != usual:
        yield f"strategy {figures.strategy}, not {usual}"
    if not figures.greedy:
        yield f"sampled at temperature {figures.sampling['temperature']:g}, not greedy"
    published = {"max_tokens": entry.max_tokens, "repetition_penalty": entry.repetition_penalty}
    for key, value in published.items():
        if figures.sampling[key] != value:
            yield f"{key} {figures.sampling[key]:g}, not {value:g}"
