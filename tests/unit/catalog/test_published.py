"""The paper's published figures: all there, as shares, under names that the catalog knows."""

import pytest
import yaml

from safechain_ray import catalog
from safechain_ray.catalog.published import published_figures
from tests.real_data import needs_real_data, real

RESULTS = real("paper/results.yaml")


def test_safety_figures_are_shares_by_model_strategy_and_data_set():
    figures = published_figures().safety["R1-7B"]["lessthink"]["wildjailbreak"]
    assert figures.model_dump() == {
        "greedy_safe_at_1": 0.64,
        "safe_at_1": 0.584,
        "cons_safe_at_k": 0.56,
        "safe_at_k": 0.4,
    }


def test_twelve_models_were_evaluated_and_six_of_them_under_every_strategy():
    safety = published_figures().safety
    assert len(safety) == 12
    every = {"default", "zerothink", "lessthink", "morethink"}
    assert [name for name, strategies in safety.items() if set(strategies) == every] == [
        f"R1-{size}" for size in ("1.5B", "7B", "8B", "14B", "32B", "70B")
    ]


def test_safe_at_k_is_never_above_safe_at_1():
    for strategies in published_figures().safety.values():
        for datasets in strategies.values():
            for figures in datasets.values():
                assert figures.safe_at_k <= figures.safe_at_1


def test_the_pilots_judges_have_accuracy_and_f1_as_shares_and_r_as_it_is():
    guard = published_figures().pilot.judges["Llama-Guard"]
    assert (guard.judge, guard.accuracy, guard.f1, guard.pearson_r) == ("llama-guard-3-8b", 0.882, 0.861, 0.776)


def test_a_pair_of_models_is_published_for_either_side():
    pairwise = published_figures().pairwise
    assert pairwise.between("R1-70B", "Llama-3.3-70B-Instruct") == (0.323, 0.22, 0.457)
    assert pairwise.between("Llama-3.3-70B-Instruct", "R1-70B") == (0.457, 0.22, 0.323)
    assert pairwise.between("R1-70B", "R1-8B") is pairwise.between("R1-8B", "R1-7B") is None


def test_its_data_sets_and_its_judge_are_in_the_catalog():
    evaluation = published_figures().evaluation
    assert {*evaluation.greedy_datasets.values(), *evaluation.sampled_datasets.values()} <= set(catalog.datasets())
    assert evaluation.judge in catalog.judges()


def test_a_model_under_another_name_in_the_catalog_is_found_by_both_names():
    figures = published_figures()
    for known, name in figures.also_known.items():
        assert known in {*catalog.models(), *catalog.api_models()}
        assert figures.name_of(known) == figures.name_of(name) == name
    assert figures.name_of("demo-reasoner") is None


@needs_real_data("paper/results.yaml")
def test_every_figure_is_the_papers():
    paper = yaml.safe_load(RESULTS.read_text())
    ours = published_figures()
    for model, strategies in ours.safety.items():
        for strategy, datasets in strategies.items():
            there = paper["overall"][model] if strategy == "default" else paper["strategies"][model][strategy]
            for dataset, figures in datasets.items():
                assert list(figures.model_dump().values()) == pytest.approx([n / 100 for n in there[dataset]])
    assert set(ours.externally_filtered) == {name for name, row in paper["overall"].items() if "external_filter" in row}
    for name, judge in ours.pilot.judges.items():
        there = paper["evaluators"][name]
        assert [judge.accuracy, judge.f1, judge.pearson_r] == pytest.approx(
            [there["acc"] / 100, there["f1"] / 100, there["pcc"]]
        )
    for model, rows in paper["finetuning"].items():
        for data, row in rows.items():
            assert ours.finetuning.models[model][data] == pytest.approx([n / 100 for n in row])
    for name, row in paper["pairwise"].items():
        assert ours.pairwise.against[name] == pytest.approx([n / 100 for n in row])
    for parameter, grid in paper["decoding_study"].items():
        assert list(getattr(ours.decoding_study, parameter)) == grid
