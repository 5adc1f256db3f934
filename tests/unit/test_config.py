"""A run config from YAML, flags and assignments: precedence, what is refused and where, settings, JSON schema."""

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from safechain_ray.catalog.published import published_figures
from safechain_ray.config import (
    CONFIG_KINDS,
    RunConfig,
    StudyConfig,
    SweepConfig,
    config_kind,
    json_schema,
    read_config,
    read_config_as,
)
from safechain_ray.errors import InputError
from safechain_ray.types import StrategySpec

FOLDER = Path(__file__).parents[2] / "configs"
WRONG = "wrong config. Fix: correct each key below.\n"
RUNS = [FOLDER / "quickstart.yaml", FOLDER / "story" / "evaluate.yaml"]
SWEEPS = [FOLDER / "paper" / f"{name}.yaml" for name in ("main_table", "strategies", "decoding_study", "fine_grained")]
STUDIES = [FOLDER / "paper" / "judge_study.yaml"]
BENCHMARKS = [FOLDER / "paper" / "benchmarks.yaml", FOLDER / "story" / "benchmarks.yaml"]
SETS = [FOLDER / "paper" / "safechain_dataset.yaml", FOLDER / "story" / "dataset.yaml"]
TRAININGS = [FOLDER / f"{name}.yaml" for name in ("paper/finetune_r1_7b", "paper/finetune_r1_8b", "story/finetune")]
WHOLE = {"model": "R1-7B", "datasets": ["strongreject"], "judges": ["refusal-match"]}
YAML = """
model: R1-7B
datasets:
  - strongreject
  - name: prompts.csv
    limit: 10
strategies: [default, {name: morethink, max_rounds: 3}]
sampling: {temperature: 0.6, top_p: 0.95}
samples: 5
judges: [llama-guard-3-8b]
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(YAML)
    return path


def config(*assignments: str, **keys: Any) -> RunConfig:
    return read_config(None, {**WHOLE, **keys}, assignments)


def refusal(*assignments: str, **keys: Any) -> str:
    with pytest.raises(InputError) as refused:
        config(*assignments, **keys)
    return str(refused.value)


def test_names_alone_are_short_for_a_model_a_data_set_a_strategy_and_a_judge(file: Path):
    read = read_config(file, {}, ())
    assert read.model.name == "R1-7B"
    assert [(dataset.name, dataset.limit) for dataset in read.datasets] == [("strongreject", None), ("prompts.csv", 10)]
    assert read.strategies == (StrategySpec(), StrategySpec(name="morethink", options={"max_rounds": 3}))
    assert [judge.name for judge in read.judges] == ["llama-guard-3-8b"]


def test_flags_win_over_the_file_and_assignments_over_both(file: Path):
    read = read_config(file, {"sampling.temperature": 0.7, "samples": 3}, ["sampling.temperature=0.8"])
    assert (read.sampling.temperature, read.samples, read.sampling.top_p) == (0.8, 3, 0.95)


def test_what_nothing_names_keeps_its_default():
    read = config()
    assert (read.samples, read.parts, read.sampling.temperature, read.output) == (1, ("response",), 0, None)


@pytest.mark.parametrize(
    ("assignment", "found"),
    [
        ("datasets.1.limit=4", lambda read: read.datasets[1].limit),
        ("datasets.0.limit=4", lambda read: read.datasets[0].limit),
        ("model.engine.context_length=4", lambda read: read.model.engine.context_length),
        ("judges.0.engine.context_length=4", lambda read: read.judges[0].engine.context_length),
        ("strategies.1.max_rounds=4", lambda read: read.strategies[1].options["max_rounds"]),
        ("model.engine.engine_kwargs.seed=4", lambda read: read.model.engine.engine_kwargs["seed"]),
    ],
)
def test_an_assignment_reaches_into_lists_and_behind_short_names(file: Path, assignment: str, found: Any):
    assert found(read_config(file, {}, [assignment])) == 4


def test_an_assignment_takes_yaml_on_its_right():
    assert config("strategies=[default, zerothink]", "output=null").strategies[1].name == "zerothink"


def test_a_key_without_a_value_in_the_file_can_be_filled_from_the_command_line(tmp_path: Path):
    path = tmp_path / "run.yaml"
    path.write_text("{model: R1-7B, datasets: [strongreject], judges: [refusal-match], sampling: }")
    assert read_config(path, {"sampling.temperature": 0.6}, ()).sampling.temperature == 0.6


def test_an_unknown_key_is_refused_with_the_file_and_the_key(file: Path):
    file.write_text(YAML + "temprature: 0.6\n")
    with pytest.raises(InputError, match=rf"{file}: {re.escape(WRONG)}  temprature: is no key of the config"):
        read_config(file, {}, ())


def test_a_wrong_value_beside_a_file_is_looked_for_in_both(file: Path):
    with pytest.raises(InputError, match=rf"{file} and command line: {re.escape(WRONG)}  sampling.top_p: .*found 3"):
        read_config(file, {"sampling.top_p": 3}, ())


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"samples": "many"}, "samples: must be a whole number"),
        ({"samples": 0}, "samples: must be at least 1 (found 0)"),
        ({"sampling": {"top_p": 0}}, "sampling.top_p: must be above 0 (found 0)"),
        ({"sampling": {"temprature": 1}}, "sampling.temprature: is no key of the config"),
        ({"datasets": []}, "datasets: must have at least 1 item"),
        ({"datasets": [{"name": "a", "limit": 0}]}, "datasets.0.limit: must be at least 1"),
        ({"datasets": "quickstart"}, "datasets: must be a list (found 'quickstart'): write [quickstart]\n"),
        ({"parts": "reply"}, "parts: must be a list (found 'reply')\n"),
        ({"parts": ["reply"]}, "parts.0: must be 'response', 'thought' or 'answer' (found 'reply')"),
        ({"resources": {"device": "tpu"}}, "resources.device: must be 'auto', 'cpu' or 'cuda' (found 'tpu')"),
        ({"datasets": ["a", "b", "a"]}, f"{WRONG}  datasets names a more than once"),
        ({"judges": ["j", "j"]}, "judges names j more than once"),
        ({"parts": ["answer", "answer"]}, "parts names answer more than once"),
        ({"strategies": ["default", {"name": "default"}]}, "strategies names"),
    ],
)
def test_a_wrong_value_is_refused_with_its_key_and_what_would_be_right(keys: dict[str, Any], says: str):
    assert says in f"{refusal(**keys)}\n"


def test_all_problems_of_a_config_are_reported_at_once():
    with pytest.raises(InputError) as refused:
        read_config(None, {"samples": 0}, ())
    assert [line.split(":")[0].strip() for line in str(refused.value).splitlines()[1:]] == [
        "model",
        "datasets",
        "samples",
        "judges",
    ]


@pytest.mark.parametrize(
    ("assignment", "says"),
    [
        ("samples", "--set samples: the key or the = is missing. Fix: write key=value"),
        ("=3", "--set =3: the key or the = is missing. Fix: write key=value"),
        ("samples=[", "--set samples=… is not valid YAML"),
        ("datasets.3=x", "--set datasets.3: datasets has no item 3; it has 1, number 0. Fix: correct the number"),
        ("datasets.first=x", "datasets has no item first; it has 1, number 0. Fix: correct"),
        ("datasets.3.limit=1", "--set datasets.3.limit: datasets has no item 3; it has 1, number 0. Fix: correct"),
        ("datasets.first.limit=1", "datasets has no item first; it has 1, number 0. Fix: correct"),
        ("settings.0.samples=1", "--set settings.0.samples: settings has no item 0; it has none. Fix: correct"),
        ("judges.2.engine.context_length=4096", "judges has no item 2; it has 2, numbered 0 to 1. Fix: correct"),
        ("samples.most.of=1", "--set samples.most.of: there is no 'most' to set. Fix: correct the key."),
    ],
)
def test_an_assignment_that_leads_nowhere_is_refused(assignment: str, says: str):
    assert says in refusal(assignment, samples=5, settings=[], judges=["refusal-match", "llama-guard-3-8b"])


def test_a_missing_file_is_named(tmp_path: Path):
    with pytest.raises(InputError, match=r"No config file at .*/none\.yaml"):
        read_config(tmp_path / "none.yaml", {}, ())


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"model: [R1-7B", "is not valid YAML"),
        (b"model: {{", "is not valid YAML"),
        (b"- model\n", "expected keys and values at the top, found a list. Fix: write them"),
        (b"prompt\nHow?\n", "expected keys and values at the top, found text. Fix: write them"),
        (b"3\n", "expected keys and values at the top, found a number. Fix: write them"),
        (b"", "expected keys and values at the top, found nothing. Fix: write them"),
        (b"\xff\xfe\x00m", "can't be read as UTF-8 text"),
        (b"model: !!python/object/apply:os.system [echo]", "is not valid YAML"),
    ],
)
def test_a_file_that_is_no_yaml_mapping_is_refused_by_name(file: Path, content: bytes, says: str):
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"run\.yaml") as refused:
        read_config(file, {}, ())
    assert says in str(refused.value)


def test_settings_are_data_sets_times_strategies():
    run = config(datasets=["a", "b"], strategies=["default", "zerothink"], samples=5, sampling={"temperature": 1})
    settings = run.expand_settings({"a": "short-a", "b": "b"})
    assert [(each.dataset, each.strategy.name) for each in settings] == [
        ("short-a", "default"),
        ("short-a", "zerothink"),
        ("b", "default"),
        ("b", "zerothink"),
    ]
    assert {(each.samples, each.sampling.temperature) for each in settings} == {(5, 1.0)}


def test_explicit_settings_take_what_they_leave_out_from_the_run():
    greedy = {"dataset": "a", "samples": 1, "sampling": {"temperature": 0}}
    run = config(
        datasets=["a"],
        samples=5,
        sampling={"temperature": 0.6, "top_p": 0.95},
        settings=[greedy, {"dataset": "a", "strategy": "zerothink"}],
    )
    first, second = run.expand_settings({"a": "a"})
    assert (first.samples, first.sampling.temperature, first.sampling.top_p) == (1, 0, 0.95)
    assert (second.samples, second.sampling.temperature, second.strategy.name) == (5, 0.6, "zerothink")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ([{"dataset": "b"}], "settings.0.dataset: 'b' is not among datasets (a). Fix: name one of them"),
        (
            [{"dataset": "a"}, {"dataset": "a", "strategy": "default"}],
            "is listed more than once. Fix: remove the repetition.",
        ),
        ([{"dataset": "a", "samples": 3}], f"settings.0: {WRONG}  temperature 0 with 3 samples"),
        ([{"dataset": "a", "sampling": {"temprature": 1}}], "sampling.temprature: is no key of the config"),
        ([{"dataset": "a", "sampling": {"top_p": 2}}], f"settings.0: {WRONG}  sampling.top_p"),
    ],
)
def test_a_wrong_explicit_setting_is_refused_with_its_place(settings: list[dict[str, Any]], says: str):
    run = config(datasets=["a"], settings=settings)
    with pytest.raises(InputError) as refused:
        run.expand_settings({"a": "a"})
    assert says in str(refused.value)


def test_equal_greedy_samples_are_refused_with_the_data_set_and_the_strategy_they_come_from():
    with pytest.raises(InputError, match=rf"strongreject with default: {re.escape(WRONG)}.*set a temperature above 0"):
        config(samples=5).expand_settings({"strongreject": "strongreject"})


def test_strategies_that_explicit_settings_would_leave_unread_are_refused():
    says = refusal(settings=[{"dataset": "strongreject"}], strategies=["zerothink"])
    assert "settings and strategies exclude each other" in says


@pytest.mark.parametrize("keys", [{}, {"settings": [{"dataset": "strongreject", "strategy": "zerothink"}]}])
def test_a_config_written_out_whole_reads_back_as_itself(keys: dict[str, Any]):
    run = config(**keys)
    assert read_config(None, run.model_dump(mode="json"), ()) == run


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        (kind, path)
        for kind, paths in (
            ("run", RUNS),
            ("sweep", SWEEPS),
            ("study", STUDIES),
            ("benchmark", BENCHMARKS),
            ("dataset", SETS),
            ("finetune", TRAININGS),
        )
        for path in paths
    ],
    ids=lambda value: getattr(value, "stem", value),
)
def test_the_shipped_configs_fit_the_json_schema_of_their_kind(kind: str, path: Path):
    jsonschema.validate(yaml.safe_load(path.read_text()), json_schema(kind))


def test_every_shipped_config_is_read_by_a_test():
    assert sorted(FOLDER.rglob("*.yaml")) == sorted([*RUNS, *SWEEPS, *STUDIES, *BENCHMARKS, *SETS, *TRAININGS])


@pytest.mark.parametrize("kind", CONFIG_KINDS)
def test_the_json_schemas_beside_the_configs_are_those_that_are_printed(kind: str):
    assert json.loads((FOLDER / f"{kind}.schema.json").read_text()) == json_schema(kind)


@pytest.mark.parametrize(
    "wrong", [{"temprature": 1}, {"samples": 0}, {"model": {"nmae": "x"}}, {"strategies": [{"options": [1]}]}]
)
def test_the_json_schema_refuses_what_reading_refuses(wrong: dict[str, Any]):
    jsonschema.validate(WHOLE, json_schema())
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**WHOLE, **wrong}, json_schema())
    refusal(**wrong)


TWO = ["llama-guard-3-8b", "refusal-match"]


def test_a_vote_is_over_all_judges_by_majority_unless_it_says_otherwise():
    (vote,) = config(judges=TWO, votes=[{"name": "both"}]).votes
    assert (vote.rule, vote.judges) == ("majority", None)


@pytest.mark.parametrize(
    ("judges", "vote", "says"),
    [
        (TWO, {"name": "v", "judges": ["refusal-match", "harmbench"]}, "votes.0.judges: harmbench is not among judges"),
        (TWO, {"name": "refusal-match"}, "votes.0.name: refusal-match is a judge already"),
        (
            TWO[:1],
            {"name": "v"},
            f"{WRONG}  votes.0 needs two judges or more; the run has one (llama-guard-3-8b): add one, or remove it",
        ),
        (TWO, {"name": "v", "judges": TWO[:1] * 2}, "votes.0 needs two judges or more, each once"),
        (TWO, {"name": "v", "judges": TWO[:1]}, "votes.0.judges"),
        (TWO, {"name": "v", "rule": "most"}, "votes.0.rule"),
    ],
)
def test_a_vote_that_can_not_be_counted_is_refused(judges: list[str], vote: dict[str, Any], says: str):
    assert says in refusal(judges=judges, votes=[vote])


def test_two_votes_of_one_name_are_refused():
    assert "votes names v more than once" in refusal(judges=TWO, votes=[{"name": "v"}, {"name": "v", "rule": "any"}])


def test_an_endpoint_with_a_secret_in_its_address_is_refused():
    judge = {"name": "openai-moderation", "endpoint": {"base_url": "https://me:secret@host/v1"}}
    assert "endpoint.base_url" in refusal(judges=[judge])


PROFILED = """
model: R1-7B
datasets: [strongreject]
sampling: {temperature: 0.6, max_tokens: 16000}
samples: 5
settings: [{dataset: strongreject}]
judges: [llama-guard-3-8b]
profiles:
  small:
    model: demo-reasoner
    sampling: {max_tokens: 300}
    settings: null
  wrong: [1]
"""


@pytest.fixture
def profiled(tmp_path: Path) -> Path:
    path = tmp_path / "run.yaml"
    path.write_text(PROFILED)
    return path


def test_a_profile_lays_its_values_over_the_file_and_takes_keys_away(profiled: Path):
    small = read_config(profiled, {}, (), "small")
    assert (small.model.name, small.samples, small.settings) == ("demo-reasoner", 5, ())
    assert (small.sampling.temperature, small.sampling.max_tokens) == (0.6, 300)


def test_without_a_profile_the_others_values_are_left_alone(profiled: Path):
    assert read_config(profiled, {}, ()).model.name == "R1-7B"


def test_flags_win_over_a_profile(profiled: Path):
    assert read_config(profiled, {"samples": 2}, ["sampling.max_tokens=7"], "small").sampling.max_tokens == 7


@pytest.mark.parametrize(
    ("profile", "says"),
    [
        ("smal", "Unknown profile 'smal'. Did you mean 'small'?"),
        ("wrong", "profiles: expected keys and values below the name of each profile. Fix: indent them"),
    ],
)
def test_a_profile_that_is_not_there_or_no_mapping_is_refused(profiled: Path, profile: str, says: str):
    with pytest.raises(InputError, match=re.escape(says)):
        read_config(profiled, {}, (), profile)


def test_a_wrong_value_names_the_profile_beside_the_file(profiled: Path):
    profiled.write_text(PROFILED.replace("max_tokens: 300", "max_tokens: 0"))
    with pytest.raises(InputError, match=rf"run\.yaml \(profile small\): {re.escape(WRONG)}  sampling\.max_tokens"):
        read_config(profiled, {}, (), "small")


def test_one_parameter_varies_at_a_time_and_lists_that_meet_make_one_setting():
    run = config(
        samples=5, sampling={"temperature": 1.0}, vary={"temperature": [0.5, 1.0], "top_p": [0.9, 1.0], "top_k": [-1]}
    )
    points = [
        (setting.sampling.temperature, setting.sampling.top_p, setting.sampling.top_k)
        for setting in run.expand_settings({"strongreject": "strongreject"})
    ]
    assert points == [(0.5, 1.0, -1), (1.0, 1.0, -1), (1.0, 0.9, -1)]


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"vary": {"temprature": [1]}}, "vary.temprature"),
        ({"vary": {"top_p": [0.5]}, "settings": [{"dataset": "strongreject"}]}, "settings and vary exclude each other"),
    ],
)
def test_what_cannot_vary_is_refused(keys: dict[str, Any], says: str):
    assert says in refusal(**keys)


def test_a_value_that_cannot_be_sampled_is_refused_with_its_point():
    says = f"strongreject with default, top_p 1.5: {WRONG}  sampling.top_p"
    with pytest.raises(InputError, match=re.escape(says)):
        config(vary={"top_p": [0.5, 1.5]}).expand_settings({"strongreject": "strongreject"})


def sweep_file(folder: Path, models: str) -> Path:
    path = folder / "sweep.yaml"
    path.write_text(
        f"models: {models}\ndatasets: [strongreject]\njudges: [refusal-match]\noutput: s3://bucket/sweep/\n"
    )
    return path


def test_the_options_of_a_sweeps_uri_stay_behind_the_folders_of_its_runs(tmp_path: Path):
    path = sweep_file(tmp_path, "[R1-7B]")
    (run,) = read_config_as(
        SweepConfig, path, {"output": "s3://bucket/sweep/?scheme=http&endpoint_override=host:1"}
    ).runs()
    assert run.output == "s3://bucket/sweep/R1-7B?scheme=http&endpoint_override=host:1"


def test_a_sweep_is_a_run_for_each_model_in_a_folder_of_its_own(tmp_path: Path):
    path = sweep_file(tmp_path, "[R1-7B, {name: some/Model-X, family: r1}]")
    assert config_kind(path) == "sweep"
    runs = read_config_as(SweepConfig, path, {"samples": 1}).runs()
    assert [(run.model.name, run.output) for run in runs] == [
        ("R1-7B", "s3://bucket/sweep/R1-7B"),
        ("some/Model-X", "s3://bucket/sweep/Model-X"),
    ]
    assert runs[0].model_copy(update={"model": None, "output": None}) == runs[1].model_copy(
        update={"model": None, "output": None}
    )


def test_two_models_that_would_share_a_folder_are_refused(tmp_path: Path):
    path = sweep_file(tmp_path, "[one/r1, {name: two/r1, family: r1}]")
    with pytest.raises(InputError, match="models names r1 more than once"):
        read_config_as(SweepConfig, path, {})


def test_the_papers_main_table_is_1113_samples_of_12_models():
    sweep = read_config_as(SweepConfig, FOLDER / "paper" / "main_table.yaml", {})
    assert len(sweep.models) == 12
    full, sampled = [setting for setting in sweep.settings if setting.dataset.startswith("strongreject")]
    assert (full.samples, full.sampling, sampled.samples, sweep.samples) == (1, {"temperature": 0, "top_p": 1}, None, 5)


def test_the_papers_decoding_grids_are_31_values_which_make_29_settings_a_data_set():
    sweep = read_config_as(SweepConfig, FOLDER / "paper" / "decoding_study.yaml", {})
    published = published_figures().decoding_study
    assert sweep.vary == {
        "temperature": published.temperature,
        "top_p": published.top_p,
        "top_k": published.top_k,
    }
    assert [model.name for model in sweep.models] == list(published.models)
    names = {dataset.name: dataset.name for dataset in sweep.datasets}
    assert sum(map(len, sweep.vary.values())) == 31
    assert len(sweep.expand_settings(names)) == 29 * 2


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_each_sweep_of_the_paper_has_a_demo_profile_that_needs_no_download(path: Path):
    demo = read_config_as(SweepConfig, path, {}, profile="demo")
    assert [model.name for model in demo.models] == ["demo-reasoner"]
    assert [dataset.name for dataset in demo.datasets] == ["quickstart"]
    assert demo.output != read_config_as(SweepConfig, path, {}).output


def test_the_papers_judge_study_has_a_demo_profile_too():
    assert read_config_as(StudyConfig, STUDIES[0], {}, profile="demo").data == "quickstart-labelled"


@pytest.mark.parametrize(
    ("assignment", "says"),
    [
        ("sampling.temperature=2.5", "sampling: temperature must be at most 2 (found 2.5)"),
        ("vary={temperature: [1, 3]}", "vary: temperature must be at most 2 (found 3)"),
        (
            "settings=[{dataset: a, sampling: {temperature: 2.1}}]",
            "sampling: temperature must be at most 2 (found 2.1)",
        ),
        ("sampling.temprature=1", "sampling.temprature: is no key of the config: did you mean 'temperature'?"),
        ("model.engine.tensor_paralel_size=2", "did you mean 'tensor_parallel_size'?"),
        ("temprature=1", "temprature: is no key of the config: did you mean 'sampling.temperature'?"),
        ("tensor_parallel_size=2", "did you mean 'model.engine.tensor_parallel_size'?"),
        ("context_length=2", "did you mean 'model.engine.context_length'?"),
        ("samples.most=1", "samples: must be a whole number (found keys and values)"),
        ("dataset=x", "dataset: is no key of the config: did you mean 'datasets'?"),
        ("datasets.0.limt=3", "datasets.0.limt: is no key of the config: did you mean 'limit'?"),
        ("zzz=1", "zzz: is no key of the config\n"),
    ],
)
def test_a_wrong_key_is_refused_with_the_nearest_known_one(assignment: str, says: str):
    with pytest.raises(InputError) as refused:
        read_config(None, {"model": "demo-reasoner", "datasets": [{"name": "quickstart"}]}, [assignment])
    assert says in f"{refused.value}\n"


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("main_table", "sweep"),
        ("judge_study", "judge-study"),
        ("benchmarks", "benchmark"),
        ("safechain_dataset", "build-dataset"),
        ("finetune_r1_7b", "finetune"),
    ],
)
def test_the_config_of_another_command_is_refused_with_that_command(name: str, command: str):
    path = FOLDER / "paper" / f"{name}.yaml"
    with pytest.raises(InputError) as refused:
        read_config(path, {}, [])
    kind = next(name for name, kind in CONFIG_KINDS.items() if kind.command == command)
    assert f"{path} is a {kind} config: its key " in str(refused.value)
    assert f"Fix: run `safechain-ray {command} --config {path}`" in str(refused.value)
    assert (f"`safechain-ray plan --config {path}`" in str(refused.value)) == (command == "sweep")


def test_the_config_of_a_run_given_to_a_sweep_is_refused_with_evaluate():
    with pytest.raises(InputError, match="belongs to `safechain-ray evaluate`"):
        read_config_as(SweepConfig, FOLDER / "quickstart.yaml", {}, [])


@pytest.mark.parametrize("number", ["0x" + "f" * 5000, "9" * 5000, str(2**63), f"-{2**63 + 1}"])
@pytest.mark.parametrize("key", ["samples", "sampling.seed", "model.api.extra_body.x"])
def test_a_whole_number_beyond_64_bits_is_refused_in_a_file_and_in_an_assignment(
    tmp_path: Path, number: str, key: str
) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(
        "{"
        + "".join(f"{part}: {{" for part in key.split(".")[:-1])
        + f"{key.split('.')[-1]}: {number}"
        + "}" * key.count(".")
        + "}"
    )
    for path, assignments in ((file, ()), (None, (f"{key}={number}",))):
        with pytest.raises(InputError, match=r"a whole number must be from -9223372036854775808 to") as refused:
            read_config(path, {}, assignments)
        assert len(str(refused.value)) < 500


@pytest.mark.parametrize("number", ["9" * 100, 1e30, 2**64])
def test_a_whole_number_beyond_64_bits_is_refused_however_it_is_given(number: object) -> None:
    with pytest.raises(InputError, match=r"samples: must be from -9223372036854775808 to"):
        read_config(None, {"samples": number}, ())
