"""`python -m tools.record_templates FOLDER`: record what real chat templates write, without the templates themselves.

A chat template is its author's work, so no copy of one is part of this project. What a template writes for a fixed
conversation is a fact, and the tests hold the families of the catalog against it. Long lines that are a template's own
prose are recorded by length and hash. `sources.yaml` names for each record
the model, the file that the template was read from, and the tokens of the model's tokenizer. FOLDER has these files,
renamed to NAME.jinja, or NAME.py for a model whose prompts vLLM writes in Python.

Example:
    python -m tools.record_templates ~/chat-templates
"""

import argparse
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import yaml
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from safechain_ray.catalog import families
from safechain_ray.catalog.entries import Family
from safechain_ray.commands.doctor.judge import RESPONSE
from safechain_ray.commands.doctor.model import PROBE, strategies_of
from safechain_ray.decoding.base import template_arguments
from safechain_ray.model_files import arguments_read, render_chat
from safechain_ray.types import StrategySpec

RECORDS = Path(__file__).parents[1] / "tests" / "fixtures" / "chat_renderings"

FIXED_DATE = (
    "{% macro strftime_now(format) %}"
    "{% if format == '%Y-%m-%d' %}2026-01-01{% else %}01 Jan 2026{% endif %}"
    "{% endmacro %}"
)
"""Comes before a template that writes the current date, so that a record is the same on any day."""


LONG_LINE = 100
"""Characters of a template's own prose from which a line is recorded by length and hash."""


def tokenizer_of(tokens: Mapping[str, Any], chat_template: str | None) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer with the model's special and added tokens; its other tokens are single bytes.

    `tokens` has bos, eos, adds_bos, special and added, as `sources.yaml` describes them.
    """
    bos, eos = tokens.get("bos"), tokens.get("eos")
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={symbol: number for number, symbol in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    special = dict.fromkeys(token for token in (bos, eos, *tokens.get("special", ())) if token is not None)
    backend.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in special])
    backend.add_tokens([AddedToken(token, normalized=False) for token in tokens.get("added", ())])
    if bos is not None and tokens.get("adds_bos"):
        backend.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, backend.token_to_id(bos))]
        )
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=bos, eos_token=eos, chat_template=chat_template)


def conversations(family: Family | None, content_is_list: bool) -> Iterator[list[dict[str, Any]]]:
    """The request alone, and with the family's system prompt; for a guard (no family) request and response."""
    if family is not None:
        yield [{"role": "user", "content": PROBE}]
        if family.system_prompt is not None:
            yield [{"role": turn.role, "content": turn.content} for turn in family.conversation(PROBE)]
        return
    turns: list[dict[str, Any]] = [
        {"role": "user", "content": PROBE},
        {"role": "assistant", "content": RESPONSE},
    ]
    if content_is_list:
        turns = [{**turn, "content": [{"type": "text", "text": turn["content"]}]} for turn in turns]
    yield turns


def argument_sets(family: Family | None) -> list[dict[str, Any]]:
    """The arguments that runs of the family give its template: none, those of each strategy and of each effort."""
    if family is None:
        return [{}]
    sets = [{}, *(template_arguments(spec, family) for spec in strategies_of(family))]
    own = template_arguments(StrategySpec(), family)
    sets.extend({**own, "reasoning_effort": effort} for effort in family.efforts)
    return [chosen for number, chosen in enumerate(sets) if chosen not in sets[:number]]


def record(name: str, entry: Mapping[str, Any], file: Path) -> dict[str, Any]:
    """The record of one template. Raises the errors of `render_chat`."""
    text = file.read_text(encoding="utf-8")
    family = families()[entry["family"]] if "family" in entry else None
    if file.suffix == ".py":
        tokenizer = _written_by_vllm(name, entry["tokens"])
    else:
        tokenizer = tokenizer_of(entry["tokens"], (FIXED_DATE if "strftime_now" in text else "") + text)
    reads = arguments_read(tokenizer_of(entry["tokens"], text) if file.suffix == ".jinja" else tokenizer)
    own = [PROBE, RESPONSE, *([] if family is None or family.system_prompt is None else [family.system_prompt])]
    keep = [*own, *tokenizer.get_added_vocab()]
    renderings = [
        {
            "arguments": arguments,
            "turns": turns,
            "prompt": shortened(render_chat(tokenizer, turns, arguments=arguments), keep),
        }
        for turns in conversations(family, entry.get("content") == "list")
        for arguments in argument_sets(family)
    ]
    return {
        **entry,
        "sha256": sha256(file.read_bytes()).hexdigest(),
        "reads": None if reads is None else sorted(reads),
        "renderings": renderings,
    }


def shortened(prompt: str, keep: Sequence[str]) -> str:
    """The prompt without the template's long lines. Texts of `keep` are left whole: turns and tokens."""

    def of_line(line: str) -> str:
        digest = sha256(line.encode()).hexdigest()[:12]
        return line if len(line) < LONG_LINE else f"[{len(line)} characters, sha256 {digest}]"

    parts = re.split("(" + "|".join(re.escape(text) for text in sorted(keep, key=len, reverse=True)) + ")", prompt)
    return "".join(part if part in keep else "\n".join(map(of_line, part.split("\n"))) for part in parts)


def _written_by_vllm(name: str, tokens: Mapping[str, Any]) -> Any:
    """The tokenizer of a model whose prompts the installed vLLM writes. Raises KeyError for any other model."""
    from vllm.tokenizers.deepseek_v4 import get_deepseek_v4_tokenizer

    return {"deepseek-v4": get_deepseek_v4_tokenizer}[name](tokenizer_of(tokens, None))


def main() -> None:
    parser = argparse.ArgumentParser(description="Record what real chat templates write.")
    parser.add_argument("folder", type=Path, help="folder with NAME.jinja for the names of sources.yaml")
    folder: Path = parser.parse_args().folder
    sources = yaml.safe_load((RECORDS / "sources.yaml").read_text(encoding="utf-8"))
    for name, entry in sources.items():
        file = next((file for suffix in (".jinja", ".py") if (file := folder / f"{name}{suffix}").is_file()), None)
        if file is None:
            print(f"{name}: no {name}.jinja in {folder}, so its record is unchanged.")
            continue
        made = record(name, entry, file)
        text = json.dumps(made, ensure_ascii=False, indent=1) + "\n"
        (RECORDS / f"{name}.json").write_text(text, encoding="utf-8")
        print(f"{name}: {len(made['renderings'])} renderings.")


if __name__ == "__main__":
    main()
