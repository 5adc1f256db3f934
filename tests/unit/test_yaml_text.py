"""YAML that people write: the types of YAML 1.2, no key twice, lines; and numbers that are no booleans."""

import string
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from safechain_ray.cli import app
from safechain_ray.config import read_config
from safechain_ray.errors import InputError
from safechain_ray.types import StrictNumbers
from safechain_ray.types.yaml_text import dump_yaml, lines_of, load_yaml

pytestmark = pytest.mark.usefixtures("own_signals_and_logs")

RUN = """model: demo-reasoner
datasets:
- {{name: quickstart, {dataset}}}
judges: [refusal-match]
sampling: {{{sampling}}}
{more}
"""


def run(folder: Path, dataset: str = "limit: 2", sampling: str = "temperature: 0.6", more: str = "") -> Path:
    path = folder / "run.yaml"
    path.write_text(RUN.format(dataset=dataset, sampling=sampling, more=more), encoding="utf-8")
    return path


def refusal(path: Path | None, *assignments: str) -> str:
    flags = {} if path is not None else {"model": "R1-7B", "datasets": ["strongreject"], "judges": ["refusal-match"]}
    with pytest.raises(InputError) as refused:
        read_config(path, flags, assignments)
    return str(refused.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *((word, word) for word in ("yes", "no", "on", "off", "Yes", "NO", "y", "n", "TruE")),
        *((word, True) for word in ("true", "True", "TRUE")),
        *((word, False) for word in ("false", "False", "FALSE")),
        *((word, None) for word in ("", "~", "null", "Null", "NULL")),
        ("1:30", "1:30"),
        ("190:20:30.15", "190:20:30.15"),
        ("010", 10),
        ("-07", -7),
        ("0o10", 8),
        ("0x1F", 31),
        ("0b11", "0b11"),
        ("1_000", "1_000"),
        ("1e-5", 1e-5),
        ("1.0e-5", 1e-5),
        (".5", 0.5),
        ("5.", 5.0),
        ("-.inf", float("-inf")),
        ("2024-01-01", "2024-01-01"),
        ("'5'", "5"),
        ("!!int '7'", 7),
        ("!!int 0o10", 8),
        ("!!float 7", 7.0),
        ("!!bool 'true'", True),
        ("!!null ''", None),
        ("!!str 5", "5"),
        ("!!seq [1]", [1]),
        ("!!map {a: !!int 1}", {"a": 1}),
    ],
)
def test_plain_scalars_are_what_yaml_1_2_says(text: str, value: Any):
    found = load_yaml(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "value",
    [
        *("!!bool 1", "!!bool yes", "!!bool ''", "!!bool [a]", "!!int x", "!!int 1:30", "!!int ''", "!!float 1:30"),
        *(
            "!!float 1_0",
            "!!null x",
            "!!timestamp x",
            "!!timestamp 2024-01-01",
            "!!binary aGk=",
            "!!set {a}",
            "!mine 1",
        ),
        *("!!omap [a: 1]", "!!pairs [a: 1]", "!!python/name:os.system ''", "!!str [a]", "!!map x", "!!seq {a: 1}"),
        *("!!set {a}", '!!bool "true\\n"', "!!merge <<", "!<x> 1", "[{b: !!bool 1}]"),
    ],
)
def test_tags_outside_the_core_schema_and_values_that_do_not_fit_are_refused(tmp_path: Path, value: str):
    with pytest.raises(yaml.YAMLError, match=r'tag(.|\n)*in "YAML", line 2'):
        load_yaml(f"a: 1\nsamples: {value}\n")
    message = refusal(run(tmp_path, more=f"samples: {value}"))
    assert "line 6" in message
    assert ("samples" in message) == value.startswith(("!!", "[")), "a tag of one's own may be a key"
    assert "Fix: " in message
    assert "Fix: " in refusal(None, f"samples={value}")


@pytest.mark.parametrize("value", ["!!bool 1", "!!timestamp x", "!!float 1:30", "!!bool yes"])
def test_a_wrong_tag_ends_with_exit_code_2(tmp_path: Path, value: str):
    for more, arguments in ((f"samples: {value}", []), ("", ["--set", f"samples={value}"])):
        result = CliRunner().invoke(app, ["plan", "--config", str(run(tmp_path, more=more)), *arguments])
        assert result.exit_code == 2, result.output
        assert "samples" in result.stderr
        assert "Fix: " in result.stderr


TAGS = st.sampled_from(["bool", "int", "float", "null", "str", "seq", "map", "timestamp", "binary", "set", "merge"])


@given(TAGS, st.text(string.printable, max_size=10))
def test_any_tagged_text_is_read_or_refused_as_yaml(tag: str, text: str):
    test_any_text_is_read_or_refused_as_yaml.hypothesis.inner_test(f"a: !!{tag} {text}")


def test_a_key_given_twice_is_refused_with_both_lines():
    with pytest.raises(yaml.YAMLError, match=r"'b' is given twice, first in line 3") as refused:
        load_yaml("a:\n- c: 1\n  b: 1\n  d: 2\n  'b': 2\n", "run.yaml")
    assert 'in "run.yaml", line 5' in str(refused.value)


def test_a_merged_key_may_be_overridden_and_other_mappings_may_have_the_same():
    text = "base: &base {a: 1, b: 2}\nx: {<<: *base, b: 3}\ny: {<<: [*base], a: 4}\n"
    assert load_yaml(text) == {"base": {"a": 1, "b": 2}, "x": {"a": 1, "b": 3}, "y": {"a": 4, "b": 2}}
    assert lines_of(text)["x", "b"] == 2


def test_every_key_and_item_has_its_line():
    text = "# about\na:\n  b:\n  - c: 1\n    d: 2\n  - 3\n"
    assert lines_of(text) == {
        ("a",): 2,
        ("a", "b"): 3,
        ("a", "b", 0): 4,
        ("a", "b", 0, "c"): 4,
        ("a", "b", 0, "d"): 5,
        ("a", "b", 1): 6,
    }


def aliases_of_aliases(depth: int) -> str:
    return "a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, depth))


def test_aliases_of_aliases_that_stand_for_many_values_are_refused():
    assert lines_of(aliases_of_aliases(15))["a14",] == 15
    for read in (load_yaml, lines_of):
        with pytest.raises(yaml.YAMLError, match=r"more than 1,000,000 values"):
            read(aliases_of_aliases(60))
    merged = "a0: &a0 {x: 1, y: 1}\n" + "".join(
        f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}\n" for n in range(1, 10)
    )
    with pytest.raises(yaml.YAMLError, match=r"more than 1,000,000 values"):
        load_yaml(merged)


@pytest.mark.parametrize("text", ["a: &a [*a]", "a: &a {b: {c: *a}}", "a: &a\n  <<: *a\n", "&a {*a : 1}"])
def test_an_alias_of_what_it_is_in_is_refused(text: str):
    with pytest.raises(yaml.YAMLError, match="this alias refers to a value that contains it"):
        load_yaml(text)


PLAIN = st.text(string.ascii_letters + string.digits + ".:_-+~ ", max_size=6)
TREES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | PLAIN,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(PLAIN, inner, max_size=3),
    max_leaves=8,
)


@given(TREES)
def test_what_is_dumped_reads_the_same_under_both_versions(tree: Any):
    text = dump_yaml(tree)
    assert load_yaml(text) == tree
    assert yaml.safe_load(text) == tree


@given(st.text(string.printable, max_size=40))
def test_any_text_is_read_or_refused_as_yaml(text: str):
    try:
        load_yaml(text)
    except yaml.YAMLError as error:
        refused = str(error)
    else:
        lines_of(text)
        return
    assert refused


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ({"more": "samples: yes"}, "samples: must be a whole number (found 'yes') (line 6)"),
        ({"more": "samples: true"}, "samples: a number is expected, not true or false (line 6)"),
        ({"sampling": "temperature: on"}, "sampling.temperature: must be a number"),
        ({"sampling": "temperature: true"}, "sampling.temperature: a number is expected"),
        ({"dataset": "limit: 1:30"}, "datasets.0.limit: must be a whole number"),
        ({"dataset": "limit: true"}, "datasets.0.limit: a number is expected, not true or false (line 3)"),
        ({"more": "samples: 2\nsamples: 3"}, "the key 'samples' is given twice, first in line 6"),
        ({"more": "resources: {max_cost: true}"}, "resources.max_cost: a number is expected"),
        ({"more": "sample: 3"}, "sample: is no key of the config: did you mean 'samples'? (line 6)"),
    ],
)
def test_what_is_no_number_is_refused_with_its_key_and_line(tmp_path: Path, written: dict[str, str], says: str):
    path = run(tmp_path, **written)
    result = CliRunner().invoke(app, ["plan", "--config", str(path)])
    assert result.exit_code == 2, result.output
    assert says in result.stderr
    assert str(path) in result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("value", ["yes", "true"])
def test_an_option_of_a_strategy_is_as_strict(tmp_path: Path, value: str):
    path = run(tmp_path, more=f"strategies: [{{name: morethink, max_rounds: {value}}}]")
    result = CliRunner().invoke(app, ["plan", "--config", str(path)])
    assert result.exit_code == 2, result.output
    assert "'max_rounds'" in result.stderr


def test_what_was_written_is_what_is_read(tmp_path: Path):
    read = read_config(run(tmp_path, "prompt_column: no", "seed: 010", "samples: '5'\noutput: 2024-01-01"), {}, ())
    assert (read.datasets[0].prompt_column, read.sampling.seed, read.samples, read.output) == (
        "no",
        10,
        5,
        "2024-01-01",
    )


def test_a_list_whose_only_item_is_wrong_is_not_called_too_short(tmp_path: Path):
    assert "at least 1 item" not in refusal(run(tmp_path, "limit: 0"))


def test_the_line_is_that_of_the_profile_and_none_where_a_flag_wins(tmp_path: Path):
    path = run(tmp_path, more="samples: 2\nprofiles:\n  wrong: {samples: 0}")
    with pytest.raises(InputError, match=r"samples: .*\(line 8\)"):
        read_config(path, {}, (), "wrong")
    message = refusal(path, "samples=0")
    assert "samples: must be at least 1" in message
    assert "(line" not in message


@pytest.mark.parametrize("given_as", ["5", "'5'", "0x5", "05"])
def test_numbers_can_be_set(given_as: str):
    flags = {"model": "R1-7B", "datasets": ["strongreject"], "judges": ["refusal-match"]}
    assert read_config(None, flags, [f"samples={given_as}"]).samples == 5


@pytest.mark.parametrize("given_as", ["yes", "true", "1:30", "5.5", "{a: 1, a: 2}"])
def test_other_values_can_not(given_as: str):
    assert "samples" in refusal(None, f"samples={given_as}")


def test_a_config_with_a_byte_order_mark_and_below_the_home_folder_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = run(tmp_path)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    monkeypatch.setenv("HOME", str(tmp_path))
    assert read_config(Path("~/run.yaml"), {}, ()).model.name == "demo-reasoner"


def test_what_config_show_prints_is_read_back(tmp_path: Path):
    path = run(tmp_path, "prompt_column: '010', id_column: 'no', category_column: '1e3'")
    shown = CliRunner().invoke(app, ["config", "show", "--config", str(path)])
    again = tmp_path / "again.yaml"
    again.write_text(shown.stdout)
    assert read_config(again, {}, ()) == read_config(path, {}, ())


class Inner(BaseModel):
    on: bool


class Numbers(StrictNumbers):
    one: int | None = None
    many: tuple[float, ...] = ()
    named: dict[str, float] = Field(default_factory=dict)
    either: bool | int = 0
    inner: Inner | int = 0
    anything: Any = None


def test_booleans_are_refused_for_numbers_alone():
    for wrong in ({"one": True}, {"many": [1, False]}, {"named": {"a": True}}):
        with pytest.raises(ValueError, match="a number is expected"):
            Numbers(**wrong)
    read = Numbers(one=1, many=[1], named={"a": 2}, either=True, inner={"on": True}, anything=[True])
    assert read.either is True
    assert read.many == (1.0,)
