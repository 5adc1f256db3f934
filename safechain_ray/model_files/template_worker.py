"""Renders chat templates as transformers does: run by `LimitedProcess`."""

from typing import Any

from transformers.utils.chat_template_utils import render_jinja_template


def answer(request: list[Any]) -> str | None:
    """None for a prompt of more than `longest` characters. Raises the exceptions of the template."""
    template, special_tokens, turns, add_generation_prompt, longest = request
    rendered, _ = render_jinja_template(
        [turns], chat_template=template, add_generation_prompt=add_generation_prompt, **special_tokens
    )
    text: str = rendered[0]
    return text if len(text) <= longest else None
