"""Whether a server's chat template opens the thought, so that its answers hold no opening tag.

Behind such a server a thought that was cut before its closing tag has no tag at all, and was judged as an answer. The
response alone does not show which of the two it is. Other answers of the same server do.
"""

from safechain_ray.engines.api_answers import ApiAnswer
from safechain_ray.types import Message, TagForm, ThinkingTags, read_tags

PROBE = (Message("user", "Reply with one word: ready"),)
"""Sent once if an answer is ambiguous and no other answer has shown how the server writes thoughts."""

PROBE_TOKENS = 2048


class ThoughtOpening:
    """Whether a server's template opens the thought: from the config, else from the server's answers.

    - An answer that closes a thought which it never opened shows that the template opens thoughts. It outweighs others.
    - An answer that opens its thought itself, has its reasoning in a separate field, or ended by itself without any
      tag, shows that the template does not.
    - A text that names the closing tag without an opening tag may be a thought. It never shows that the template opens
      nothing: thoughts that were cut later would be judged as answers.
    """

    def __init__(self, said: bool | None, tags: ThinkingTags | None) -> None:
        self._said = said
        self._seen: bool | None = None
        self._tags = tags

    @property
    def opens(self) -> bool | None:
        """None where nothing is known yet."""
        return self._seen if self._said is None else self._said

    def opens_before(self, answer: ApiAnswer) -> bool:
        """Whether a text without tags is a thought.

        Evidence from other answers applies only to texts that were cut. So a complete text gives the same row at any
        time of the run.
        """
        if self._said is not None:
            return self._said
        return bool(self._seen) and answer.finish_reason == "length"

    def note(self, answer: ApiAnswer) -> None:
        """Learn from one answer."""
        if self._tags is None:
            return
        form = read_tags(answer.content, self._tags).form
        if answer.reasoning is None and form == "unopened":
            self._seen = True
        elif self._seen is None and self._shows_no_opening(answer, form):
            self._seen = False

    def _shows_no_opening(self, answer: ApiAnswer, form: TagForm) -> bool:
        if form in ("closed", "unclosed"):
            return True
        names_closing_tag = self._tags is not None and self._tags.close in answer.content
        return not names_closing_tag and (answer.reasoning is not None or answer.finish_reason == "stop")

    def is_ambiguous(self, answer: ApiAnswer) -> bool:
        """Whether an answer may be either a cut thought or a cut answer."""
        return (
            self._tags is not None
            and self.opens is None
            and answer.reasoning is None
            and bool(answer.content.strip())
            and read_tags(answer.content, self._tags).form == "none"
        )
