"""Prompt selection: near-duplicate and contamination filters, and a seeded draw balanced over the kinds of prompts.

Near-duplicates are found by MinHash and locality-sensitive hashing (datasketch), and confirmed by their exact Jaccard
index. A prompt also overlaps with an evaluation set if they share a run of words, because jailbreaks wrap a request in
other text. 13 words are the usual measure of contamination (GPT-3, arXiv:2005.14165).

Chinese, Japanese, Thai and similar scripts have no blanks between words. Each of their characters is a token, and a run
has as many tokens as 13 words have characters in that script. All text is compared in Unicode's form NFKC, case folded,
without invisible characters, so that neither decomposed accents nor full-width letters hide a prompt.
"""

import re
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from unicodedata import category, normalize

from datasketch import MinHash, MinHashLSH

from safechain_ray.types import Prompt, short_hash

SHINGLE = 5
"""In characters: prompts are too short for shingles of words."""

PERMUTATIONS = 128

MISSES_COUNT_MORE = (0.1, 0.9)
"""Weights of false and missed candidates in the choice of bands. False candidates are removed exactly later."""

RUN = 13

SHORTEST_RUN = 5
"""A shorter evaluation prompt than a run counts if it occurs whole. Below this length only similarity counts."""

NEAR_DUPLICATE = "near-duplicate of another one"

WORDS_A_CHARACTER = (
    (
        2 / 3,
        ((0x3041, 0x30FF), (0x31F0, 0x31FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF)),
    ),
    (1 / 4, ((0x0E01, 0x0EFF), (0x1000, 0x109F), (0x1780, 0x17FF))),
)
"""Scripts without blanks, by code points, with the words per character.

A Chinese or Japanese word has about one and a half characters, a word of Thai, Lao, Burmese or Khmer about four.
"""

_WORD = re.compile(r"\w+")

UNUSABLE = "no prompt, or a repeated one"

NOT_DRAWN = "not drawn"

Objection = Callable[[Prompt], str | None]
"""Returns why a prompt may not be drawn, or None. Called once per prompt, in the order of the draw."""


class Overlap:
    """Filter of prompts that overlap with `evaluation` sets, or with an earlier accepted prompt.

    `similarity` is the Jaccard index of character shingles above which two prompts are near-duplicates.
    """

    def __init__(self, similarity: float, near_duplicates: bool, evaluation: Mapping[str, Iterable[str]]) -> None:
        self._similarity = similarity
        self._near_duplicates = near_duplicates
        self._index = MinHashLSH(threshold=similarity, num_perm=PERMUTATIONS, weights=MISSES_COUNT_MORE)
        self._indexed: list[tuple[str, str]] = []  # (reason of an objection, text)
        self._runs: dict[int, dict[tuple[str, ...], str]] = {}  # by length
        for name, texts in evaluation.items():
            for text in texts:
                self._index_evaluation_text(reason_of(name), folded(text))

    def __call__(self, prompt: Prompt) -> str | None:
        text = folded(prompt.text)
        shingles = _shingles(text)
        sketch = _sketch(shingles)
        reason = self._shared_run(text) or self._near_duplicate(shingles, sketch)
        if reason is None and self._near_duplicates:
            self._index_text(NEAR_DUPLICATE, text, sketch)
        return reason

    def _index_text(self, reason: str, text: str, sketch: MinHash) -> None:
        self._index.insert(len(self._indexed), sketch)
        self._indexed.append((reason, text))

    def _index_evaluation_text(self, reason: str, text: str) -> None:
        self._index_text(reason, text, _sketch(_shingles(text)))
        words = text.split()
        tokens_a_word = len(words) / max(1.0, sum(map(_words_in, words)))
        length = min(round(RUN * tokens_a_word), len(words))
        if length >= round(SHORTEST_RUN * tokens_a_word):
            for run in _runs(words, length):
                self._runs.setdefault(length, {}).setdefault(run, reason)

    def _shared_run(self, text: str) -> str | None:
        words = text.split()
        for length, reasons in self._runs.items():
            for run in _runs(words, length):
                if run in reasons:
                    return reasons[run]
        return None

    def _near_duplicate(self, shingles: frozenset[str], sketch: MinHash) -> str | None:
        """The objection of the earliest indexed text that is similar."""
        candidates: list[int] = sorted(self._index.query(sketch))
        for number in candidates:
            reason, other = self._indexed[number]
            if jaccard(shingles, _shingles(other)) >= self._similarity:
                return reason
        return None


def reason_of(evaluation_set: str) -> str:
    return f"overlaps with {evaluation_set}"


def folded(text: str) -> str:
    """Normalised text: lower-case words with one space between them, without punctuation.

    A character of a script without blanks is a word of its own.
    """
    if text.isascii():
        return " ".join(_WORD.findall(text.casefold())) or text.strip()
    text = normalize("NFKC", normalize("NFKC", text).casefold())
    return " ".join(_tokens(text)) or text.strip()


def _tokens(text: str) -> Iterator[str]:
    """Words with their combining marks; characters of scripts without blanks one by one."""
    word = ""
    for character in text:
        kind = category(character)
        if kind == "Cf":  # zero-width blanks and joiners, soft hyphens
            continue
        belongs = kind[0] == "M" or character == "_" or character.isalnum()
        if word and (not belongs or (kind[0] != "M" and (_is_whole_token(character) or _is_whole_token(word[0])))):
            yield word
            word = ""
        if belongs:
            word += character
    if word:
        yield word


def _is_whole_token(character: str) -> bool:
    return _words_in(character) < 1


def _words_in(token: str) -> float:
    """Number of words that a token counts for: 1, or less for a character of a script without blanks."""
    code = ord(token[0])
    if code < 0x0E01:
        return 1.0
    return next((words for words, ranges in WORDS_A_CHARACTER if any(a <= code <= b for a, b in ranges)), 1.0)


def jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    """Shared elements divided by all elements, in [0, 1]."""
    return len(one & other) / len(one | other)


def _shingles(text: str) -> frozenset[str]:
    return frozenset(text[start : start + SHINGLE] for start in range(max(1, len(text) - SHINGLE + 1)))


def _sketch(shingles: frozenset[str]) -> MinHash:
    sketch = MinHash(num_perm=PERMUTATIONS)
    sketch.update_batch([shingle.encode() for shingle in shingles])
    return sketch


def _runs(words: list[str], length: int) -> Iterable[tuple[str, ...]]:
    return (tuple(words[start : start + length]) for start in range(len(words) - length + 1))


@dataclass(frozen=True, slots=True)
class Draw:
    """The prompts in the order of the draw, the number of rows, and the left-out ones by reason.

    Both counts are by kind.
    """

    prompts: tuple[Prompt, ...]
    rows: Mapping[str, int]
    left_out: Mapping[str, Mapping[str, int]]


def no_objection(prompt: Prompt) -> None:
    """Accept every prompt."""


def draw_prompts(prompts: Iterable[Prompt], number: int | None, seed: int, objection: Objection = no_objection) -> Draw:
    """Draw `number` prompts, or all of them, in round-robin order over the kinds.

    Each kind gives equally many; the turns of an exhausted kind go to the others. A prompt's category is its kind. The
    draw depends on the seed and not on the order of the rows. A prompt with an error is never drawn.
    """
    rows: Counter[str] = Counter()
    left_out: dict[str, Counter[str]] = {UNUSABLE: Counter()}
    of_kind: dict[str, list[Prompt]] = {}
    for prompt in prompts:
        rows[prompt.category] += 1
        if prompt.error is None:
            of_kind.setdefault(prompt.category, []).append(prompt)
        else:
            left_out[UNUSABLE][prompt.category] += 1
    queues = deque(
        deque(sorted(of_kind[kind], key=lambda prompt: short_hash(seed, prompt.prompt_id))) for kind in sorted(of_kind)
    )
    drawn: list[Prompt] = []
    while queues and (number is None or len(drawn) < number):
        waiting = queues.popleft()
        while waiting:
            prompt = waiting.popleft()
            reason = objection(prompt)
            if reason is None:
                drawn.append(prompt)
                break
            left_out.setdefault(reason, Counter())[prompt.category] += 1
        if waiting:
            queues.append(waiting)
    left_out[NOT_DRAWN] = Counter(prompt.category for waiting in queues for prompt in waiting)
    return Draw(tuple(drawn), rows, left_out)
