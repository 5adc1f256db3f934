"""What a sweep will come to: counts from the catalog without a download, and figures that follow the assumptions."""

from pathlib import Path
from typing import Any

import pytest

from safechain_ray.commands.sweep.estimate import Assumptions, RunEstimate, estimate_sweep
from safechain_ray.config import SweepConfig, read_config_as
from safechain_ray.datasets import loading
from safechain_ray.errors import InputError

PAPER = Path(__file__).parents[4] / "configs" / "paper"


def estimated(file: str = "main_table", assumptions: Assumptions | None = None, **flags: Any) -> list[RunEstimate]:
    config = read_config_as(SweepConfig, PAPER / f"{file}.yaml", flags)
    return list(estimate_sweep(config, assumptions or Assumptions()))


@pytest.fixture(autouse=True)
def _no_downloads(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("an estimate downloads nothing")

    monkeypatch.setattr(loading, "read_file", refuse)
    monkeypatch.setattr(loading, "read_hub", refuse)


def test_the_papers_main_table_has_12_models_of_1113_samples_each():
    estimates = estimated()
    assert [estimate.rows for estimate in estimates] == [1113] * 12
    assert [setting.rows for setting in estimates[0].settings] == [313, 300, 250, 250]
    assert {estimate.response_tokens.at_most for estimate in estimates} == {1113 * 16_000}


def test_gpus_are_those_of_a_replica_and_apis_have_none():
    gpus = {estimate.model: (estimate.is_api, estimate.gpus, estimate.judge_gpus) for estimate in estimated()}
    assert (gpus["R1-7B"], gpus["R1-70B"], gpus["Kimi-k1.5"]) == ((False, 1, 1), (False, 4, 1), (True, 0, 1))


def test_an_apis_cost_is_that_of_its_prices_and_unknown_without_them():
    by_model = {estimate.model: estimate for estimate in estimated()}
    dollars = by_model["R1"].dollars
    assert dollars is not None
    assert dollars.expected == pytest.approx((0.55 * 1113 * 300 + 2.19 * 1113 * 2000) / 1e6)
    assert dollars.at_most == pytest.approx((0.55 * 1113 * 300 + 2.19 * 1113 * 16_000) / 1e6)
    assert by_model["Kimi-k1.5"].dollars is None


def test_gpu_hours_follow_the_assumptions():
    seven = Assumptions(start_minutes=0)
    hours = next(each for each in estimated(assumptions=seven) if each.model == "R1-7B").gpu_hours
    assert hours is not None
    tokens = 1113 * 2000
    decoding = tokens * (65e-6 + 2 * 7.62e9 / (989e12 * 0.17)) / 3600
    judging = (tokens + 1113 * 300) * 2 * 8.03e9 / (989e12 * 0.40) / 3600
    assert hours.expected == pytest.approx(decoding + judging)
    assert hours.at_most > 4 * hours.expected


def test_a_response_is_never_expected_to_be_longer_than_max_tokens():
    responses = estimated(**{"sampling.max_tokens": 500})[0].response_tokens
    assert responses.expected == responses.at_most == 1113 * 500


def test_models_on_cpus_have_no_gpu_hours():
    demo = read_config_as(SweepConfig, PAPER / "main_table.yaml", {}, profile="demo")
    (estimate,) = estimate_sweep(demo, Assumptions())
    assert (estimate.gpus, estimate.judge_gpus, estimate.gpu_hours, estimate.dollars) == (0, 0, None, None)
    assert estimate.rows == 20 + 20 * 3


def test_a_limit_counts_and_a_set_of_unknown_size_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.undo()
    prompts = tmp_path / "own.csv"
    prompts.write_text("prompt\n" + "".join(f"question {number}\n" for number in range(7)))
    config = SweepConfig.model_validate(
        {
            "models": ["R1-7B"],
            "datasets": [str(prompts), {"name": "xstest", "limit": 3}],
            "judges": ["refusal-match"],
            "output": str(tmp_path),
        }
    )
    (estimate,) = estimate_sweep(config, Assumptions())
    assert [setting.prompts for setting in estimate.settings] == [7, 3]


def test_a_model_that_cannot_follow_a_strategy_is_refused():
    with pytest.raises(InputError, match="zerothink"):
        estimated(settings=[{"dataset": "strongreject", "strategy": "zerothink"}])
