"""The text that a model learns from: the prompt as it is sent in evaluation, then the response as plain text.

The response never goes through the chat template: R1's templates cut assistant text off before `</think>`, and newer
ones write `<think>` themselves. Earlier turns of a conversation do go through it, with their answers alone, as they do
when a conversation continues in use: R1's templates and API leave earlier thoughts out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from safechain_ray.catalog.entries import Family
from safechain_ray.decoding.base import split_opening
from safechain_ray.errors import InputError, first_line
from safechain_ray.model_files import ChatTemplateError, render_chat
from safechain_ray.types import Demonstration, Exchange, Message, ThinkingTags

PROBE_PROMPT = "Which 7 rivers reach the sea at Wismar?"
PROBE_THOUGHT = "Let me recall the 3 harbours."
PROBE_ANSWER = "None that I know of."
PROBE_SYSTEM = "You answer in the manner of 5 harbour masters."
PROBE_EARLIER = Exchange("Which 4 seas have no tides?", "All of them have some.")

OTHER_TEMPLATE = "Give the model a `chat_template` that does, or train another model."


@dataclass(frozen=True, slots=True)
class ExampleText:
    """A demonstration as text; loss is on `opening` and `rest`.

    `prompt` ends where the assistant's turn begins; `opening` is the opening tag with the white space after it, "" for
    a demonstration without a thought; `rest` has everything after that but the end of the turn.
    """

    prompt: str
    opening: str
    rest: str

    @property
    def response(self) -> str:
        return self.opening + self.rest


@dataclass(frozen=True, slots=True)
class TemplateFacts:
    """What a chat template does to thoughts, which is why the response goes round it."""

    opens_thought: bool
    drops_thought: bool


@dataclass(frozen=True, slots=True)
class ChatFormat:
    """How demonstrations are written for one model; `chat_template` of None is the tokenizer's own."""

    tokenizer: Any
    family: Family
    chat_template: str | None = None

    @property
    def tags(self) -> ThinkingTags:
        """Raises InputError for a family without thinking tags."""
        tags = self.family.tags
        if tags is None:
            raise InputError(
                f"Models of family {self.family.name!r} write no thinking tags: only models that think in tags can be "
                "trained. Fix: if this model is of R1's form, give its family as r1."
            )
        return tags

    def text(self, demonstration: Demonstration) -> ExampleText:
        rendered = self.render(self._turns(demonstration), add_generation_prompt=True)
        prompt, opened = split_opening(rendered, self.tags)
        if demonstration.thought is None:
            return ExampleText(prompt, "", demonstration.answer)
        gap = "\n" if self.tags.answer_open is None else "\n\n"
        opening = opened or f"{self.tags.open}{gap}"
        answer = self._answer(demonstration.answer)
        return ExampleText(prompt, opening, f"{demonstration.thought}{gap}{self.tags.close}\n\n{answer}")

    def _answer(self, answer: str) -> str:
        """Sky-T1 writes its answer in tags too, each tag between blank lines, as its published training set has it."""
        tags = self.tags
        return answer if tags.answer_open is None else f"{tags.answer_open}\n\n{answer}\n\n{tags.answer_close}"

    def render(self, turns: tuple[Message, ...], *, add_generation_prompt: bool) -> str:
        """The conversation by the chat template. Raises what `render_chat` raises."""
        plain = [{"role": turn.role, "content": turn.content} for turn in turns]
        return render_chat(self.tokenizer, plain, self.chat_template, add_generation_prompt=add_generation_prompt)

    def encode(self, texts: list[str]) -> list[list[int]]:
        """Token ids of each text. Templates write BOS themselves: the tokenizer's own would be a second one."""
        ids: Mapping[str, list[list[int]]] = self.tokenizer(
            texts, add_special_tokens=False, return_attention_mask=False
        )
        return ids["input_ids"]

    def _turns(self, demonstration: Demonstration) -> tuple[Message, ...]:
        *before, _ = self.family.conversation(demonstration.first_prompt)
        if demonstration.system is not None:
            before = [Message("system", demonstration.system)]
        for each in demonstration.earlier:
            before += [Message("user", each.prompt), Message("assistant", each.answer)]
        return (*before, Message("user", demonstration.prompt))


def check_demonstrations(chat: ChatFormat, demonstrations: Sequence[Demonstration]) -> None:
    """Try the template on a system turn and on earlier turns, where the data has such.

    Raises:
        InputError: the template does not render these turns, loses one, or writes the beginning of sequence twice.
    """
    system = PROBE_SYSTEM if any(each.system is not None for each in demonstrations) else None
    earlier = (PROBE_EARLIER,) if any(each.earlier for each in demonstrations) else ()
    if system is None and not earlier:
        return
    probe = Demonstration(1, PROBE_PROMPT, PROBE_THOUGHT, PROBE_ANSWER, system, earlier=earlier)
    try:
        prompt = chat.text(probe).prompt
    except Exception as error:  # a template is foreign code, and may raise anything
        raise InputError(f"The chat template does not render the turns of this data: {_reason(error)}.") from error
    turns = {"system turn": system, "earlier request": earlier and earlier[0].prompt}
    turns["earlier answer"] = earlier and earlier[0].answer
    lost = [kind for kind, text in turns.items() if text and prompt.count(text) != 1]
    if lost:
        raise InputError(f"The chat template does not write the {lost[0]} exactly once. {OTHER_TEMPLATE}")
    _check_beginning(chat, prompt)


def check_chat_format(chat: ChatFormat) -> TemplateFacts:
    """Try the tokenizer and its template on a probe. Raises InputError for what would teach something else."""
    tags = chat.tags
    demonstration = Demonstration(1, PROBE_PROMPT, PROBE_THOUGHT, PROBE_ANSWER)
    user = chat.family.conversation(PROBE_PROMPT)
    try:
        rendered = chat.render(user, add_generation_prompt=True)
        spoken = chat.text(demonstration).response
        whole = chat.render((*user, Message("assistant", spoken)), add_generation_prompt=False)
    except Exception as error:  # a template is foreign code, and may raise anything
        raise InputError(f"The chat template does not render: {_reason(error)}. {OTHER_TEMPLATE}") from error
    _check_prompt(chat, rendered)
    _check_end(chat, whole)
    text = chat.text(demonstration)
    ids = chat.encode([text.prompt + text.response])[0]
    if chat.tokenizer.decode(ids, skip_special_tokens=False) != text.prompt + text.response:
        raise InputError("The tokenizer does not give a text back from its tokens: take the model's own tokenizer.")
    _, opened = split_opening(rendered, tags)
    return TemplateFacts(opens_thought=bool(opened), drops_thought=PROBE_THOUGHT not in whole)


def _reason(error: Exception) -> str:
    return error.reason if isinstance(error, ChatTemplateError) else first_line(error)


def _check_prompt(chat: ChatFormat, rendered: str) -> None:
    """The request is there once, BOS not twice, and the assistant's turn begins with an open thought or with none."""
    times = rendered.count(PROBE_PROMPT)
    if times != 1:
        raise InputError(f"The chat template writes the request {times} times, not once. {OTHER_TEMPLATE}")
    tags = chat.tags
    turn, opened = split_opening(rendered, tags)
    assistant = turn.rpartition(PROBE_PROMPT)[2]
    if tags.open in assistant or tags.close in assistant:
        raise InputError(
            f"The chat template ends the prompt with {assistant + opened!r}, so that the thought would come after "
            f"thinking tags that are closed or written twice. {OTHER_TEMPLATE}"
        )
    _check_beginning(chat, rendered)


def _check_beginning(chat: ChatFormat, rendered: str) -> None:
    bos = chat.tokenizer.bos_token_id
    beginnings = 0 if bos is None else chat.encode([rendered])[0].count(bos)
    if beginnings > 1:
        raise InputError(f"The chat template writes {chat.tokenizer.bos_token} {beginnings} times. {OTHER_TEMPLATE}")


def _check_end(chat: ChatFormat, whole: str) -> None:
    """The template ends an assistant's turn with the token that ends generation."""
    end = chat.tokenizer.eos_token
    if end is None:
        raise InputError("The tokenizer has no eos_token: the model would never learn to stop. Set it to the model's.")
    _, answer, after = whole.rpartition(chat.tags.answer_close or PROBE_ANSWER)
    if answer and not after.lstrip().startswith(end):
        raise InputError(
            f"The chat template ends a turn with {after[:40]!r}, and the tokenizer's eos_token is {end!r}: the model "
            "would learn to end its turn with another token than it has to. Set eos_token to the template's."
        )
