"""Renders chat templates as transformers does, or lists the names that one reads: run by `LimitedProcess`."""

from typing import Any

from jinja2 import Environment, meta, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from transformers.utils.chat_template_utils import render_jinja_template


def answer(request: list[Any]) -> Any:
    """Raises the exceptions of the template."""
    task, *inputs = request
    return names(*inputs) if task == "names" else render(*inputs)


def render(
    template: str, arguments: dict[str, Any], turns: list[Any], add_generation_prompt: bool, longest: int
) -> str | None:
    """None for a prompt of more than `longest` characters."""
    rendered, _ = render_jinja_template(
        [turns], chat_template=template, add_generation_prompt=add_generation_prompt, **arguments
    )
    text: str = rendered[0]
    return text if len(text) <= longest else None


class GenerationTag(Extension):
    """The tag of transformers around an assistant's text, which reads no name."""

    tags = {"generation"}  # noqa: RUF012 (the base class declares an instance variable)

    def parse(self, parser: Parser) -> list[nodes.Node]:
        next(parser.stream)
        return list(parser.parse_statements(("name:endgeneration",), drop_needle=True))


def names(template: str) -> list[str]:
    """The names that the template reads and does not set itself."""
    tree = Environment(autoescape=False, extensions=[GenerationTag, loopcontrols]).parse(template)
    return sorted(meta.find_undeclared_variables(tree))
