"""Text of a training example: the prompt exactly as sent in evaluation, then the response as plain text.

The response is not rendered by the chat template. R1's templates remove assistant text before `</think>`, and newer
templates write `<think>` themselves. Earlier turns of a conversation are rendered by the template, with their answers
only: R1's templates and API drop earlier thoughts in use too.
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

OTHER_TEMPLATE = "Fix: give the model another `chat_template`, or train another model."

OTHER_TURNS = "Fix: give the model another `chat_template`, or leave such turns out of the data."


@dataclass(frozen=True, slots=True)
class ExampleText:
    """A demonstration as text. `opening` and `rest` have loss.

    `prompt` ends where the assistant's turn begins. `opening` is the opening tag and the white space after it, "" for a
    demonstration without a thought. `rest` is everything after it, without the end of the turn.
    """

    prompt: str
    opening: str
    rest: str

    @property
    def response(self) -> str:
        return self.opening + self.rest


@dataclass(frozen=True, slots=True)
class TemplateFacts:
    """How a chat template treats thoughts, which is why responses bypass the template."""

    opens_thought: bool
    drops_thought: bool


@dataclass(frozen=True, slots=True)
class ChatFormat:
    """Renders demonstrations for one model. Without `chat_template` the tokenizer's own template is used."""

    tokenizer: Any
    family: Family
    chat_template: str | None = None

    @property
    def tags(self) -> ThinkingTags:
        """The family's thinking tags. Raises InputError for a family without thinking tags."""
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
        """Sky-T1 puts its answer in tags too, each tag between blank lines, as in its published training set."""
        tags = self.tags
        return answer if tags.answer_open is None else f"{tags.answer_open}\n\n{answer}\n\n{tags.answer_close}"

    def render(self, turns: tuple[Message, ...], *, add_generation_prompt: bool) -> str:
        """The conversation rendered by the chat template. Raises what `render_chat` raises."""
        plain = [{"role": turn.role, "content": turn.content} for turn in turns]
        return render_chat(self.tokenizer, plain, self.chat_template, add_generation_prompt=add_generation_prompt)

    def encode(self, texts: list[str]) -> list[list[int]]:
        """Token ids of each text, without special tokens: templates write BOS themselves."""
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
    """Render a probe with a system turn and with earlier turns, where the data has them.

    Raises:
        InputError: the template can't render these turns, loses one, or writes BOS twice.
    """
    system = PROBE_SYSTEM if any(each.system is not None for each in demonstrations) else None
    earlier = (PROBE_EARLIER,) if any(each.earlier for each in demonstrations) else ()
    if system is None and not earlier:
        return
    probe = Demonstration(1, PROBE_PROMPT, PROBE_THOUGHT, PROBE_ANSWER, system, earlier=earlier)
    try:
        prompt = chat.text(probe).prompt
    except Exception as error:  # a template is foreign code and may raise anything
        raise InputError(
            f"The chat template does not render the turns of this data: {_reason(error)}. {OTHER_TURNS}"
        ) from error
    turns = {"system turn": system, "earlier request": earlier and earlier[0].prompt}
    turns["earlier answer"] = earlier and earlier[0].answer
    lost = [kind for kind, text in turns.items() if text and prompt.count(text) != 1]
    if lost:
        raise InputError(f"The chat template does not write the {lost[0]} exactly once. {OTHER_TURNS}")
    _check_beginning(chat, prompt)


def check_chat_format(chat: ChatFormat) -> TemplateFacts:
    """Check the tokenizer and its template with a probe. Raises InputError if training would teach another format."""
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
        raise InputError(
            "The tokenizer does not decode its tokens to the same text. Fix: use the model's own tokenizer."
        )
    _, opened = split_opening(rendered, tags)
    return TemplateFacts(opens_thought=bool(opened), drops_thought=PROBE_THOUGHT not in whole)


def _reason(error: Exception) -> str:
    return error.reason if isinstance(error, ChatTemplateError) else first_line(error)


def _check_prompt(chat: ChatFormat, rendered: str) -> None:
    """The prompt contains the request once, BOS at most once, and at most an opening tag in the assistant's turn."""
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
        raise InputError(
            "The tokenizer has no eos_token: the model would never learn to stop. Fix: set it to the model's end token."
        )
    _, answer, after = whole.rpartition(chat.tags.answer_close or PROBE_ANSWER)
    if answer and not after.lstrip().startswith(end):
        raise InputError(
            f"The chat template ends a turn with {after[:40]!r}, and the tokenizer's eos_token is {end!r}: the model "
            "would learn to end its turn with the wrong token. Fix: set eos_token to the template's."
        )
