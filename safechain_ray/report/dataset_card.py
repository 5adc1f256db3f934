"""The README.md of a built training set: a data card as the Hugging Face hub reads it."""

import json
from typing import Any

import yaml

from safechain_ray.commands.build_dataset import Building
from safechain_ray.commands.training_set_facts import DatasetFacts
from safechain_ray.commands.training_set_published import published_config
from safechain_ray.curation.rows import ROWS_SCHEMA
from safechain_ray.report.dataset import responses_table, rule_words, shortfall, sources_table, steps_table
from safechain_ray.report.document import Document
from safechain_ray.report.markdown import inert, markdown
from safechain_ray.storage import without_secrets

CARD = "README.md"

SIZES = (
    (1_000, "n<1K"),
    (10_000, "1K<n<10K"),
    (100_000, "10K<n<100K"),
    (1_000_000, "100K<n<1M"),
    (10_000_000, "1M<n<10M"),
)

VERDICTS = """\
## What the verdicts mean, and what they don't

- *Safe* means that every judge named above said so of the judged part, at the setting named above. Judges are models or
  rules, and err both ways; no person has read these rows.
- A safe response need not be right, helpful or honest, and a safe answer may follow an unsafe thought where only the
  answer was judged.
- A missing verdict (a judge's error, a refusal of the provider, a failed sample) was never taken for safe.
- Prompts of harmful kinds are harmful texts, even where the responses to them are not.
- Rows are one model's own responses: what it never does safely is not in here; its refusals are, as it words them.
"""


def write_card(built: Building) -> None:
    """README.md in the data set's folder."""
    config = without_secrets(built.config.model_dump(mode="json", exclude_defaults=True))
    built.folder.write_text(CARD, dataset_card(built.facts, config))


def dataset_card(facts: DatasetFacts, config: dict[str, Any]) -> str:
    """The card; whatever names and texts hold is inert in it. `config` is shown without what says where it was made."""
    front = yaml.safe_dump(_front_matter(facts), sort_keys=False, allow_unicode=True)
    tables = markdown(
        Document((steps_table(facts), responses_table(facts), sources_table(facts)), caveats=facts.caveats)
    )
    return "\n".join(
        [
            f"---\n{front}---\n",
            f"# {_title(facts)}\n",
            *_summary(facts),
            tables,
            *_columns(facts),
            VERDICTS,
            *_config(config),
        ]
    )


def _title(facts: DatasetFacts) -> str:
    what = "answers" if facts.answers_only else "safe responses with their thoughts"
    return f"{facts.rows:,} {what}: {inert(facts.model.name)} on {inert(facts.prompts.name)}"


def _front_matter(facts: DatasetFacts) -> dict[str, Any]:
    size = next((name for limit, name in SIZES if facts.rows < limit), "n>10M")
    return {
        "pretty_name": f"{facts.model.name} on {facts.prompts.name}",
        "license": "other",
        "license_name": "see-sources",
        "task_categories": ["text-generation"],
        "tags": ["safety", "alignment", *(() if facts.answers_only else ("reasoning", "chain-of-thought"))],
        "size_categories": [size],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "data/train-*.parquet"}]}],
    }


def _summary(facts: DatasetFacts) -> list[str]:
    setting, judges = facts.setting, ", ".join(inert(judge.name) for judge in facts.judges)
    sampling = setting.sampling
    drawn = f"top-p {sampling.top_p:g}, at most {sampling.max_tokens:,} tokens, strategy {inert(setting.strategy.name)}"
    lines = [
        f"{setting.samples} responses to each prompt (temperature {sampling.temperature:g}, {drawn}), each judged by "
        f"{judges}: the {facts.part}. A prompt is kept where {rule_words(facts)}. One response of those that are safe "
        "and whole is in here: the thought closed, the answer there"
        + (", of which only the answer is given: a control without thoughts." if facts.answers_only else ".")
    ]
    if facts.similarity is not None:
        sets = ", ".join(map(inert, facts.evaluation_sets))
        against = f" No prompt shares 13 words in a row with one of {sets}, or is alike." if sets else ""
        lines.append(
            f"Prompts are alike from a Jaccard index of {facts.similarity:g} on (five characters, MinHash).{against}"
        )
    if facts.missing:
        lines.append(f"**{inert(shortfall(facts))}**")
    return [f"{line}\n" for line in lines]


def _columns(facts: DatasetFacts) -> list[str]:
    thought = "the answer" if facts.answers_only else "the thought in `<think>` and `</think>`, then the answer"
    names = ", ".join(f"`{name}`" for name in ROWS_SCHEMA.names[1:])
    return [
        "## Columns\n",
        f"`messages`: a user turn with the prompt, an assistant turn with {thought}. Where it comes from: {names}.\n",
    ]


def _config(config: dict[str, Any]) -> list[str]:
    text = json.dumps(published_config(config), indent=2)
    return ["## Config\n", f"```json\n{text.replace('```', '` ` `')}\n```", ""]
