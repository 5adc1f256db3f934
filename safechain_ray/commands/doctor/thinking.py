"""Checks of how a family thinks: its switch and efforts change the prompt, and vLLM has its reasoning parser.

A template that ignores a value writes the same prompt for it, without an error. A run that compares two settings would
then compare one setting with itself.
"""

import ast
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from safechain_ray.catalog.entries import Family
from safechain_ray.commands.doctor import Finding, Subject
from safechain_ray.decoding.base import template_arguments
from safechain_ray.errors import first_line
from safechain_ray.model_files import ChatTemplateError
from safechain_ray.types import NO_ARGUMENTS, StrategySpec

FAMILY = "correct {} of the family, or the model's family"

Render = Callable[[Mapping[str, Any]], str]
"""The prompt with some arguments of the chat template. Raises the errors of `render_chat`."""


def check_switches(
    subject: Subject, family: Family, render: Render, template_kwargs: Mapping[str, Any] = NO_ARGUMENTS
) -> Iterator[Finding]:
    """Whether the prompts with and without a thought differ, and those of all efforts. Nothing without a switch."""
    thinks = template_arguments(StrategySpec(), family, template_kwargs)
    if family.no_think is not None:
        off = template_arguments(StrategySpec(name="no-think"), family, template_kwargs)
        yield _differing(subject, "switch", render, {"with the thought": thinks, "without it": off}, "no_think")
    if family.efforts:
        efforts = {level: {**thinks, "reasoning_effort": level} for level in family.efforts}
        yield _differing(subject, "efforts", render, efforts, "efforts")


def _differing(
    subject: Subject, check: str, render: Render, arguments: Mapping[str, Mapping[str, Any]], key: str
) -> Finding:
    prompts: dict[str, str] = {}
    for name, given in arguments.items():
        try:
            prompt = render(given)
        except Exception as error:  # a template is foreign code, and may raise anything
            reason = error.reason if isinstance(error, ChatTemplateError) else first_line(error)
            return subject.failed(check, f"the chat template does not render {name}: {reason}", FAMILY.format(key))
        if prompt in prompts:
            return subject.failed(
                check, f"the chat template writes one prompt for {prompts[prompt]} and {name}", FAMILY.format(key)
            )
        prompts[prompt] = name
    return subject.ok(check, f"the prompts differ: {', '.join(arguments)}")


@cache
def parsers_of_vllm() -> frozenset[str] | None:
    """Names of the reasoning parsers of the installed vLLM; None without vLLM, or where it names none.

    They are read from the source. An import of vLLM takes seconds.
    """
    found = find_spec("vllm")
    if found is None or found.origin is None:
        return None
    try:
        source = Path(found.origin).with_name("reasoning").joinpath("__init__.py").read_text(encoding="utf-8")
    except OSError:
        return None
    keys = (key for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Dict) for key in node.keys)
    names = (key.value for key in keys if isinstance(key, ast.Constant) and isinstance(key.value, str))
    return frozenset(names) or None


def check_parser(subject: Subject, family: Family) -> Iterator[Finding]:
    """Whether the installed vLLM has the parser that the family names. Nothing for a family that names none."""
    parser, known = family.reasoning_parser, parsers_of_vllm()
    if parser is None:
        return
    if known is None:
        yield subject.not_checked("reasoning parser", "no vLLM with a list of its parsers is installed here")
    elif parser in known:
        yield subject.ok("reasoning parser", f"vLLM has {parser}")
    else:
        yield subject.failed("reasoning parser", f"vLLM has no parser {parser}", FAMILY.format("reasoning_parser"))
