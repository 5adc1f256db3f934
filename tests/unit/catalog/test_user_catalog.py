"""Catalogs from outside the package: files, folders and plugins; wrong ones; and the code that their entries name."""

import json
import os
import re
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from safechain_ray import catalog
from safechain_ray.benchmarks.base import Problem, grader_builder, grader_entry
from safechain_ray.catalog import sources
from safechain_ray.catalog.code import modules_of_catalogs
from safechain_ray.cli import app
from safechain_ray.config import RunConfig
from safechain_ray.decoding.base import strategies, strategy
from safechain_ray.errors import InputError
from safechain_ray.judges.base import builder
from safechain_ray.runs.resolve import resolve
from safechain_ray.types import StrategySpec
from tests.unit.conftest import Use

FAMILY = "families:\n  mine:\n    tags: {open: '<reason>', close: '</reason>'}\n    source: my card\n"
JUDGE = "judges:\n  by-length:\n    kind: lengths:Longest\n"
LENGTHS = """
from safechain_ray.types import Verdict
from shared_words import LIMIT

class Longest:
    def __init__(self, entry, engine):
        self.name = entry.name

    async def judge(self, prompt, part, text):
        return Verdict(self.name, part, unsafe=len(text) > LIMIT)
"""
BRIEF = """
from safechain_ray.decoding.base import StrategyOptions

class Options(StrategyOptions):
    sentence: str = "Short."

class Brief:
    def __init__(self, options):
        self.options = options

    async def decode(self, task, generate, count_tokens):
        raise NotImplementedError
"""


def call(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def test_a_folder_adds_entries_to_the_built_in_ones_and_says_where_each_is_from(use: Use) -> None:
    built_in = set(catalog.families())
    folder = use(families_yaml=FAMILY, judges_yaml=JUDGE)
    assert set(catalog.families()) == built_in | {"mine"}
    assert catalog.families()["mine"].tags.open == "<reason>"
    assert catalog.origin_of("families", "mine").place == f"{folder}/families.yaml, line 2"
    assert catalog.origin_of("families", "r1").place == "built-in"
    listed = json.loads(call("list", "--source", "--json").stdout)
    assert [(row["section"], row["name"], row["replaces"]) for row in listed] == [
        ("families", "mine", None),
        ("judges", "by-length", None),
    ]
    assert f"{folder}/judges.yaml, line 2" in call("list", "judges", "--source", "--json").stdout


def test_without_a_catalog_of_the_user_nothing_is_from_outside() -> None:
    assert json.loads(call("list", "--source", "--json").stdout) == []
    assert "--catalog" in call("list", "--source").stdout


def test_the_option_is_for_one_command_and_adds_to_the_variable(use: Use, tmp_path: Path) -> None:
    folder = use(families_yaml=FAMILY)
    (tmp_path / "more.yaml").write_text("families:\n  other: {source: a card}\n")
    listed = json.loads(call("list", "families", "--json", "--catalog", str(tmp_path / "more.yaml")).stdout)
    assert {"mine", "other"} <= {row["name"] for row in listed}
    assert os.environ[sources.VARIABLE] == str(folder)
    assert "other" not in catalog.families()


def test_an_entry_that_replaces_another_one_is_reported(use: Use) -> None:
    folder = use(judges_yaml="judges:\n  refusal-match: {kind: refusal_match, phrases: ./words.txt}\n")
    result = call("list", "judges", "--json")
    assert (
        f"Note: judges.refusal-match of {folder}/judges.yaml, line 2 replaces the entry of this pack" in result.stderr
    )
    assert catalog.judges()["refusal-match"].phrases == str(folder.resolve() / "words.txt")
    (row,) = json.loads(call("list", "--source", "--json").stdout)
    assert row["replaces"] == "built-in"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("judges:\n  mine:\n    kind: x\n   bad", ["not valid YAML", "line 4"]),
        ("judge:\n  mine: {kind: x}\n", ["Unknown catalog section", "line 1", "Did you mean 'judges'?"]),
        (
            "judges:\n  mine:\n    kinds: x\n",
            ["judges.mine is wrong", "did you mean 'kind'? (line 3)", "kind: is missing"],
        ),
        ("judges:\n  mine: 3\n", ["line 2", "judges.mine is a number, not an entry"]),
        ("judges: [a]\n", ["judges is a list, not entries by name"]),
        ("- a\n", ["expected sections such as `judges:`", "found a list"]),
        ("judges:\n  a: {kind: x}\n  a: {kind: y}\n", ["'a' is given twice, first in line 2"]),
        ("strategies:\n  mine: {kind: no-module}\n", ["must be module:name, a class or function (found 'no-module')"]),
    ],
)
def test_a_wrong_file_is_refused_with_file_line_and_key(use: Use, text: str, words: list[str]) -> None:
    folder = use(mine_yaml=text)
    result = call("list", "strategies" if "strategies" in text else "judges")
    assert result.exit_code == 2
    assert all(each in " ".join(result.stderr.split()) for each in [*words, str(folder / "mine.yaml"), "Fix: "])


def test_a_wrong_section_leaves_the_commands_that_do_not_need_it_alone(use: Use) -> None:
    use(models_yaml="models:\n  mine: {sorce: x}\n", families_yaml=FAMILY)
    assert "mine" in catalog.families()
    assert call("list", "judges").exit_code == 0
    assert call("list", "models").exit_code == 2


def test_a_catalog_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    result = call("list", "judges", "--catalog", "nowhere.yaml")
    assert (result.exit_code, "No catalog at" in result.stderr) == (2, True)


def test_a_folder_without_yaml_is_refused(use: Use) -> None:
    use(words_py="")
    with pytest.raises(InputError, match="has no YAML file"):
        catalog.judges()


def test_a_judge_of_the_users_code_judges_and_is_sent_to_nodes_without_its_files(use: Use, tmp_path: Path) -> None:
    from ray import cloudpickle

    from safechain_ray.cluster.session import pickle_catalog_code_by_value

    use(judges_yaml=JUDGE, lengths_py=LENGTHS, shared_words_py="LIMIT = 5\n")
    build = builder(catalog.judges()["by-length"])
    assert {module.__name__ for module in modules_of_catalogs()} == {"lengths", "shared_words"}
    pickle_catalog_code_by_value()
    (tmp_path / "judge.pkl").write_bytes(cloudpickle.dumps(build(catalog.judges()["by-length"], None)))
    elsewhere = (
        "import asyncio, pathlib, sys; from ray import cloudpickle\n"
        "judge = cloudpickle.loads(pathlib.Path('judge.pkl').read_bytes())\n"
        "print(asyncio.run(judge.judge('p', 'response', 'too long')).unsafe, 'lengths' in sys.modules)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(catalog.__file__).parents[2])}
    ran = subprocess.run(
        [sys.executable, "-c", elsewhere], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert ran.stdout.split() == ["True", "False"]


def test_code_that_cannot_be_sent_to_workers_is_refused_before_an_engine_loads(use: Use) -> None:
    from safechain_ray.cluster.session import pickle_catalog_code_by_value

    locked = LENGTHS + "\nimport threading\nLOCK = threading.Lock()\nclass Locked(Longest):\n    lock = LOCK\n"
    folder = use(
        judges_yaml="judges:\n  mine: {kind: 'lengths:Locked'}\n", lengths_py=locked, shared_words_py="LIMIT = 5\n"
    )
    builder(catalog.judges()["mine"])
    place = re.escape(f"judges.mine ({folder}/judges.yaml, line 2): the code can't be sent to workers")
    with pytest.raises(InputError, match=place + ".*pickle.*Fix: make locks.* in __init__"):
        pickle_catalog_code_by_value()


def test_a_metric_of_the_users_code_stays_with_the_command_and_may_hold_a_lock(use: Use) -> None:
    from safechain_ray.catalog.code import code_for_workers

    use(metrics_yaml="metrics:\n  mine: {kind: 'lengths:Longest'}\n", lengths_py=LENGTHS, shared_words_py="LIMIT = 5\n")
    assert catalog.code_of("metrics", "mine", "lengths:Longest") is not None
    assert code_for_workers() == {}


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (
            "broken:Longest",
            "module 'broken' of 'broken:Longest' can't be imported: RuntimeError: no luck (broken.py, line 1)",
        ),
        ("lengths:Shortest", "module 'lengths' has no class or function 'Shortest'; it has LIMIT, Longest, Verdict"),
        ("nowhere:Longest", "module 'nowhere' of 'nowhere:Longest' can't be imported: ModuleNotFoundError"),
        ("json:Longest", "another module 'json' is installed. Fix: rename"),
        ("longest", "Unknown kind of judge (judges.mine, {folder}/judges.yaml, line 2) 'longest'. Known: "),
    ],
)
def test_code_that_cannot_be_loaded_is_refused_with_file_and_entry_and_others_work(
    use: Use, kind: str, words: str
) -> None:
    folder = use(
        judges_yaml=f"judges:\n  mine: {{kind: '{kind}'}}\n",
        lengths_py=LENGTHS,
        shared_words_py="LIMIT = 5\n",
        broken_py="raise RuntimeError('no luck')\n",
        json_py="",
    )
    with pytest.raises(InputError) as refused:
        resolve(config("mine"))
    assert words.format(folder=folder) in str(refused.value)
    assert f"{folder}/judges.yaml, line 2" in str(refused.value)
    assert resolve(config("refusal-match")).judges[0].kind == "refusal_match"


def config(*judges: object, **others: object) -> RunConfig:
    given = {"model": "demo-reasoner", "datasets": ["quickstart"], "judges": list(judges)}
    return RunConfig.model_validate(given | others)


def test_a_strategy_of_the_users_code_takes_its_options(use: Use) -> None:
    use(
        strategies_yaml="strategies:\n  brief: {kind: 'brief:Brief', description: short, one_request: true}\n",
        brief_py=BRIEF,
    )
    assert strategies()["brief"].one_request is True
    assert strategy(StrategySpec(name="brief", options={"sentence": "Hm."})).options.sentence == "Hm."
    with pytest.raises(InputError, match=r"no option 'sentance'.*known: sentence"):
        strategy(StrategySpec(name="brief", options={"sentance": "Hm."}))
    run = resolve(config("refusal-match", strategies=["default", "brief"]))
    assert [setting.strategy.name for setting in run.settings] == ["default", "brief"]
    assert "brief" in call("list", "strategies").stdout


def test_a_plugin_adds_entries_and_one_that_raises_is_reported(
    use: Use, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "packages" / "my_plugin"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "families.yaml").write_text(FAMILY)
    (package.parent / "bad_plugin.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(str(package.parent))
    points = [EntryPoint(name, name, sources.GROUP) for name in ("my_plugin", "bad_plugin")]
    monkeypatch.setattr(sources, "entry_points", lambda group: points)
    use(judges_yaml=JUDGE)
    assert catalog.origin_of("families", "mine").place == f"{package}/families.yaml (plugin my_plugin), line 2"
    result = call("list", "judges")
    assert result.exit_code == 0
    assert "Note: The catalog plugin bad_plugin (bad_plugin) can't be read, so its entries are missing: ZeroDi" in (
        result.stderr
    )


@pytest.mark.parametrize("missing", ["folder", "config"])
def test_weights_that_are_not_there_are_refused(tmp_path: Path, missing: str) -> None:
    if missing == "config":
        (tmp_path / "weights").mkdir()
    words = {"folder": "No model folder at", "config": "it has no config.json"}[missing]
    with pytest.raises(InputError, match=words):
        resolve(config({"name": "llama-guard-3-8b", "engine": {"source": str(tmp_path / "weights")}}))


def test_a_judge_can_be_defined_in_the_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "g").mkdir()
    (tmp_path / "g" / "config.json").write_text("{}")
    mine = {"name": "mine", "kind": "llama_guard", "engine": {"source": "./g", "parameters": 1, "context_length": 4096}}
    (judge,) = resolve(config(mine)).judges
    assert (judge.name, judge.kind, judge.engine.source, judge.engine.context_length) == (
        "mine",
        "llama_guard",
        "./g",
        4096,
    )
    stored = config(mine).model_dump(mode="json")
    assert RunConfig.model_validate(stored) == config(mine)
    assert "definition" not in config("refusal-match").model_dump(mode="json")["judges"][0]


@pytest.mark.parametrize(
    ("judge", "words"),
    [
        ({"name": "mine", "kind": "llama_guard", "engin": {}}, "engin: is no key of a judge: did you mean 'engine'?"),
        ({"name": "mine", "kind": "llamaguard"}, "Unknown kind of judge (judges.mine, in the config) 'llamaguard'"),
        ({"name": "refusal-match", "kind": "llama_guard"}, "refusal-match is a judge of the catalog"),
    ],
)
def test_a_wrong_definition_of_a_judge_is_refused(judge: dict[str, object], words: str) -> None:
    with pytest.raises(InputError) as refused:
        resolve(config(judge))
    assert words in str(refused.value)


def test_a_judges_weights_can_be_others_which_makes_another_run(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    ours = {"name": "llama-guard-3-8b", "engine": {"source": "me/my-guard"}}
    (judge,), known = resolve(config(ours)).judges, resolve(config("llama-guard-3-8b"))
    assert (judge.engine.source, judge.engine.revision) == ("me/my-guard", None)
    assert resolve(config(ours)).identity() != known.identity()
    with pytest.raises(InputError, match=r"engine\.source is for judges"):
        resolve(config("refusal-match", model={"name": "R1-7B", "engine": {"source": "me/mine"}}))


def test_a_hub_id_that_the_catalog_has_is_its_entry() -> None:
    (judge,) = resolve(config("meta-llama/Llama-Guard-3-8B")).judges
    assert judge == resolve(config("llama-guard-3-8b")).judges[0]


GRADER = """
from safechain_ray.benchmarks.base import Grade

class Exact:
    reads = "response"
    version = 3

    def grade(self, problem, answer):
        return Grade(correct=answer.strip() == problem.reference["gold"], extracted=answer)
"""
BENCHMARK = """
benchmarks:
  mine:
    kind: file
    source: ./mine.jsonl
    grader: {grader}
    prompt: "What is {{question}}?"
    prompt_source: mine
    reference: {{gold: answer}}
"""


def test_a_benchmark_is_graded_by_the_users_code_with_the_properties_of_its_class(use: Use) -> None:
    use(benchmarks_yaml=BENCHMARK.format(grader="lengths:Exact"), lengths_py=GRADER)
    entry = catalog.benchmarks()["mine"]
    found = grader_entry(entry)
    assert (found.runs_code, found.reads, found.version) == (False, "response", 3)
    problem = Problem("p", "What is 1 + 1?", {"gold": "2"})
    assert grader_builder(entry)().grade(problem, " 2 ").correct is True
    assert catalog.benchmarks()["math500"].grader == "math"


def test_a_grader_that_is_neither_built_in_nor_code_is_refused_with_the_known_ones(use: Use) -> None:
    folder = use(benchmarks_yaml=BENCHMARK.format(grader="exact"))
    result = call("list", "benchmarks")
    assert result.exit_code == 2
    assert f"{folder}/benchmarks.yaml: benchmarks.mine is wrong" in result.stderr
    assert "'math'" in result.stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("judges:\n  a/b: {kind: refusal_match}\n", "line 2: 'a/b' is no name for an entry of judges"),
        ("judges:\n  '..': {kind: refusal_match}\n", "line 2: '..' is no name for an entry of judges"),
        ("judges:\n  1: {kind: refusal_match}\n", "line 2: the name 1 in judges is a number. Fix: put it into quotes."),
        ("judges:\n  mine: {kind: llama_guard}\n", "kind llama_guard needs engine. Fix: add `engine:` to the entry"),
        ("judges:\n  mine: {kind: openai_moderation}\n", "kind openai_moderation needs endpoint"),
    ],
)
def test_a_name_or_judge_that_can_not_work_is_refused(use: Use, text: str, words: str) -> None:
    use(judges_yaml=text)
    with pytest.raises(InputError) as refused:
        catalog.judges()
    assert words in str(refused.value)


def test_an_empty_file_has_no_entries_and_a_hidden_one_is_not_read(use: Use) -> None:
    folder = use(empty_yaml="# nothing yet\n", families_yaml=FAMILY)
    (folder / "._families.yaml").write_bytes(b"\x00\xff")
    assert "mine" in catalog.families()


def test_a_catalog_that_is_named_twice_is_read_once(use: Use, tmp_path: Path) -> None:
    folder = use(families_yaml=FAMILY)
    result = call("list", "families", "--catalog", str(folder / "families.yaml"), "--catalog", str(folder))
    assert (result.exit_code, result.stderr) == (0, "")


@pytest.mark.parametrize("path", ["", f"a{os.pathsep}b"])
def test_a_path_that_the_variable_can_not_hold_is_refused(path: str) -> None:
    result = call("list", "judges", "--catalog", path)
    assert (result.exit_code, "is no path" in result.stderr) == (2, True)


def test_a_strategy_that_replaces_a_built_in_one_is_reported_and_makes_another_run(use: Use) -> None:
    before = resolve(config("refusal-match")).identity()
    use(strategies_yaml="strategies:\n  default: {kind: 'brief:Brief', needs_tags: false}\n", brief_py=BRIEF)
    assert resolve(config("refusal-match")).identity() == before | {"strategy_code": {"default": "brief:Brief"}}
    assert "replaces the strategy of this package" in call("list", "strategies").stderr
    (row,) = json.loads(call("list", "--source", "--json").stdout)
    assert row["replaces"] == "built-in"


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("raise SystemExit(0)", "can't be imported: SystemExit"),
        ("def Brief(options): raise SystemExit(0)", "its code failed: SystemExit"),
        ("def Brief(options): return None", "it has no `async def decode`"),
        ("class Brief:\n    Options = dict\n", "Options of brief:Brief is no StrategyOptions"),
        ("Brief = 5", "has no class or function 'Brief'"),
    ],
)
def test_a_strategy_whose_code_can_not_work_is_refused_before_an_engine_starts(use: Use, code: str, words: str) -> None:
    use(strategies_yaml="strategies:\n  brief: {kind: 'brief:Brief'}\n", brief_py=code)
    with pytest.raises(InputError) as refused:
        resolve(config("refusal-match", strategies=["brief"]))
    assert words in str(refused.value)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("def Longest(entry): pass", "lengths:Longest failed: TypeError"),
        ("def Longest(entry, engine): raise SystemExit(0)", "lengths:Longest failed: SystemExit"),
        ("def Longest(entry, engine): return None", "returned a NoneType whose `judge` is missing"),
        (
            "class Longest:\n    def __init__(self, entry, engine): pass\n    def judge(self): pass",
            "returned a Longest whose `judge` is not async",
        ),
        (
            "class Longest:\n    name = 'fixed'\n    def __init__(self, entry, engine): pass\n"
            "    async def judge(self): pass",
            "returned a judge whose `name` is 'fixed'. Fix: set it to the entry's name, 'by-length'",
        ),
    ],
)
def test_a_rule_whose_code_can_not_work_is_refused_before_an_engine_starts(use: Use, code: str, words: str) -> None:
    use(judges_yaml=JUDGE, lengths_py=code)
    with pytest.raises(InputError) as refused:
        resolve(config("by-length"))
    assert words in str(refused.value)


def test_passwords_of_sources_are_not_listed(use: Use) -> None:
    use(datasets_yaml="datasets:\n  d: {kind: file, source: 'https://me:hunter2@h/x.csv', prompt_column: p}\n")
    for arguments in (["--json"], []):
        assert "hunter2" not in call("list", "datasets", *arguments).stdout


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        (
            "models:\n  mine: {source: deepseek-ai/DeepSeek-R1-Distill-Llama-8B, family: r1, parameters: 8, "
            "context_length: 4096}\n",
            {"model": "deepseek-ai/DeepSeek-R1-Distill-Llama-8B"},
        ),
        (
            "judges:\n  mine: {kind: llama_guard, engine: {source: meta-llama/Llama-Guard-3-8B, parameters: 8, "
            "context_length: 4096}}\n",
            {"judges": ["meta-llama/Llama-Guard-3-8B"]},
        ),
        (
            "datasets:\n  mine: {kind: huggingface, source: AmazonScience/FalseReject, prompt_column: prompt}\n",
            {"datasets": ["AmazonScience/FalseReject"]},
        ),
    ],
)
def test_a_hub_id_of_a_built_in_and_a_users_entry_is_ambiguous(use: Use, text: str, asked: dict[str, object]) -> None:
    use(mine_yaml=text)
    with pytest.raises(InputError, match=r"is the source of several entries of .*: .*, mine"):
        resolve(
            RunConfig.model_validate(
                {"model": "demo-reasoner", "datasets": ["quickstart"], "judges": ["demo-guard"]} | asked
            )
        )


def test_a_wrong_entry_of_a_plugin_is_left_out_and_reported(
    use: Use, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "packages" / "old_plugin"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("print('hello from a plugin')")
    (package / "families.yaml").write_text(FAMILY + "  newer: {source: a card, unknown_key: 1}\n")
    monkeypatch.syspath_prepend(str(package.parent))
    monkeypatch.setattr(sources, "entry_points", lambda group: [EntryPoint("old", "old_plugin", sources.GROUP)])
    use(judges_yaml=JUDGE)
    result = call("list", "families", "--json")
    assert {"mine", "r1"} <= {row["name"] for row in json.loads(result.stdout)}
    assert "Note: An entry of a plugin is left out:" in result.stderr
    assert "families.newer is wrong" in result.stderr
    assert "unknown_key: is no key of an entry of families" in result.stderr
