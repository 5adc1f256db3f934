"""Renders chat templates in a child process under limits.

A chat template is a program by the model's author. Jinja's sandbox blocks files and the network, but not loops. A
template with nested loops (`{% for a in range(99999) %}` twice) blocked `doctor` and a replica's event loop forever.
A thread can't be stopped inside one long operation (`7 ** (10 ** 9)`), but a process can. A loop may depend on the
prompt, so every prompt is rendered there, not only the first one.

One child serves all templates of a process. A prompt costs about 0.1 ms more than rendering in this process, one of
60,000 characters 0.6 ms (two busy cores).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from safechain_ray.errors import RowError
from safechain_ray.limited_process import AnswerError, LimitedProcess, LimitExceededError
from safechain_ray.types import NO_ARGUMENTS, Message

PROCESSOR_SECONDS = 2
"""Processor time of one prompt. Published templates take less than a millisecond, and about 20 ms to compile."""

MEMORY = 2**31

LONGEST_PROMPT = 2**24
"""Characters. A longer one fits no context, and tokenizing it would take minutes."""

_CHILD = LimitedProcess(Path(__file__).with_name("template_worker.py"), PROCESSOR_SECONDS, MEMORY, wall_seconds=120)

_WRAPPER = "vllm.tokenizers.hf"
"""vLLM's wrapper around a tokenizer, which forwards `apply_chat_template`."""


class ChatTemplateError(RowError):
    """A chat template does not render a conversation, for `reason`."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"the chat template does not render: {reason.rstrip('.')}. Fix: use a tokenizer with the model's own chat "
            "template, or give its catalog entry a `chat_template`."
        )
        self.reason = reason


class ChatTemplateLimitError(ChatTemplateError):
    """A chat template takes too long, too much memory, or writes too much."""


def template_turns(messages: Sequence[Message], message_content: Literal["text", "list"]) -> list[dict[str, Any]]:
    """The conversation as the chat template of a model with this `message_content` reads it."""
    if message_content == "list":
        return [{"role": turn.role, "content": [{"type": "text", "text": turn.content}]} for turn in messages]
    return [{"role": turn.role, "content": turn.content} for turn in messages]


def render_chat(
    tokenizer: Any,
    turns: Sequence[dict[str, Any]],
    chat_template: str | None = None,
    *,
    add_generation_prompt: bool = True,
    arguments: Mapping[str, Any] = NO_ARGUMENTS,
) -> str:
    """The conversation as text; `chat_template` of None is the tokenizer's own. `arguments` are the template's.

    Raises ChatTemplateError, and ValueError for a tokenizer without a template.
    """
    if _writes_prompts_in_python(tokenizer):
        return str(
            tokenizer.apply_chat_template(
                turns,
                chat_template=chat_template,
                tokenize=False,
                add_generation_prompt=add_generation_prompt,
                **arguments,
            )
        )
    template = tokenizer.get_chat_template(chat_template)
    special_tokens = {name: _plain(token) for name, token in tokenizer.special_tokens_map.items()}
    inputs = special_tokens | dict(arguments)
    prompt = _answer(["render", template, inputs, list(turns), add_generation_prompt, LONGEST_PROMPT])
    if prompt is None:
        raise ChatTemplateLimitError(f"it wrote more than {LONGEST_PROMPT:,} characters")
    return str(prompt)


def arguments_read(tokenizer: Any, chat_template: str | None = None) -> frozenset[str] | None:
    """Names that a chat template reads, its inputs among them; None for a tokenizer that needs no template.

    Raises the errors of `render_chat`.
    """
    if _writes_prompts_in_python(tokenizer):
        return None
    return frozenset(_answer(["names", tokenizer.get_chat_template(chat_template)]))


def _answer(request: list[Any]) -> Any:
    """The child's answer. Raises ChatTemplateError."""
    try:
        return _CHILD.ask(request)
    except LimitExceededError as error:
        raise ChatTemplateLimitError(f"it {error}") from error
    except AnswerError as error:
        raise ChatTemplateError(str(error)) from error


def check_template_limits(tokenizer: Any, chat_template: str | None) -> None:
    """Render one short turn, so that a template that always loops ends an engine's start, not each of its rows.

    Raises ChatTemplateLimitError. Other errors may be those of this turn alone.
    """
    try:
        render_chat(tokenizer, [{"role": "user", "content": "Hello."}], chat_template)
    except ChatTemplateLimitError:
        raise
    except Exception:  # no template, or one that wants other turns
        return


def _writes_prompts_in_python(tokenizer: Any) -> bool:
    """Whether the tokenizer's class has an `apply_chat_template` of its own, as Mistral's has, not a Jinja template."""
    from transformers import PreTrainedTokenizerBase

    owners = (kind for kind in type(tokenizer).__mro__ if "apply_chat_template" in vars(kind))
    return next(kind for kind in owners if kind.__module__ != _WRAPPER) is not PreTrainedTokenizerBase


def _plain(token: Any) -> Any:
    return [str(each) for each in token] if isinstance(token, list | tuple) else str(token)
