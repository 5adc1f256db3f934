"""Demo prompts: a topic's request inside a frame, sometimes among filler sentences of everyday and made-up words."""

from dataclasses import dataclass
from random import Random

from tools.demo_models import frames
from tools.demo_models.topics import Split, Topic, common_words, take, topics

_SYLLABLES = [
    "ba",
    "co",
    "di",
    "fu",
    "gan",
    "her",
    "ing",
    "jo",
    "kal",
    "lem",
    "mor",
    "nu",
    "os",
    "pra",
    "qui",
    "ras",
    "ster",
    "tan",
    "ul",
    "ver",
    "wi",
    "xen",
    "yo",
    "zed",
    "tion",
    "able",
    "ly",
    "un",
]


@dataclass(frozen=True, slots=True)
class Request:
    """A prompt and the topic that it is about."""

    text: str
    topic: Topic
    system: str = ""


def sample_request(rng: Random, split: Split, harmful: bool, fillers: int | None = None) -> Request:
    """Draw a topic, then a prompt about it, among so many filler sentences; usually none."""
    topic = rng.choice(topics(harmful, split))
    text = _with_fillers(rng, _request_text(rng, split, topic), fillers)
    system = rng.choice(frames.SYSTEM_PROMPTS) if rng.random() < 0.1 else ""
    return Request(_with_typing_habits(rng, text), topic, system)


def _request_text(rng: Random, split: Split, topic: Topic) -> str:
    act = f"{rng.choice(topic.verbs)} {rng.choice(topic.objects)}"
    thing = rng.choice(topic.things)
    if topic.kind == "everyday" and rng.random() < 0.8:
        act, thing = _everyday(rng)
    if topic.kind == "maths" and rng.random() < 0.8:
        return _maths_problem(rng)
    if topic.kind == "code" and rng.random() < 0.7:
        return rng.choice(frames.CODE_FRAMES).format(act=rng.choice(topic.objects), name=made_up_word(rng))
    if rng.random() < 0.2:
        tail = rng.choice(take(frames.HARMFUL_TAILS if topic.category else frames.BENIGN_TAILS, split))
        act, thing = f"{act} {tail}", f"{thing} {tail}"
    number, word = rng.choice((3, 5, 7, 10, 12, 20)), rng.choice(common_words())
    if rng.random() < 0.5:
        return rng.choice(take(frames.ACT_FRAMES, split)).format(act=act, number=number, word=word)
    return rng.choice(take(frames.THING_FRAMES, split)).format(thing=thing, number=number, word=word)


def _everyday(rng: Random) -> tuple[str, str]:
    """An act and a thing of any words at all: what holds no sign of harm counts as benign."""
    words = [made_up_word(rng) if rng.random() < 0.35 else rng.choice(common_words()) for _ in range(5)]
    thing = f"{rng.choice(('a', 'the', 'my', 'some', 'this'))} {' '.join(words[: rng.randint(1, 3)])}"
    return f"{words[3]} {thing} {words[4]}" if rng.random() < 0.5 else f"{words[3]} {thing}", thing


def _maths_problem(rng: Random) -> str:
    name, other = rng.sample(frames.NAMES, 2)
    fields = {"name": name, "other": other, "thing": rng.choice(frames.STORY_THINGS)}
    sentences = [rng.choice(frames.MATHS_FRAMES)]
    if rng.random() < 0.75:
        sentences = [*rng.sample(frames.STORY_SENTENCES, rng.randint(1, 4)), rng.choice(frames.STORY_QUESTIONS)]
    return " ".join(
        frame.format(
            **fields,
            a=rng.randint(2, 90),
            b=rng.randint(2, 900),
            word=rng.choice(common_words()),
            word2=rng.choice(common_words()),
        )
        for frame in sentences
    )


def made_up_word(rng: Random) -> str:
    """A word that no list holds, so that the models meet unknown words while they learn."""
    return "".join(rng.choice(_SYLLABLES) for _ in range(rng.randint(2, 4)))


def _filler_sentence(rng: Random) -> str:
    words = [
        made_up_word(rng) if rng.random() < 0.15 else rng.choice(common_words()) for _ in range(rng.randint(4, 14))
    ]
    if rng.random() < 0.2:
        words[rng.randrange(len(words))] += ","
    return " ".join(words).capitalize() + rng.choice((".", ".", ".", "?", "!"))


def _with_fillers(rng: Random, text: str, count: int | None) -> str:
    if count is None:
        count = rng.choices((0, 1, 2, 3, 8), weights=(76, 13, 7, 3, 1))[0]
    sentences = [_filler_sentence(rng) for _ in range(count)]
    sentences.insert(rng.randint(0, count), text)
    return " ".join(sentences)


def _with_typing_habits(rng: Random, text: str) -> str:
    if rng.random() < 0.08:
        text = text.lower()
    if rng.random() < 0.08:
        text = text.rstrip(".?")
    return text
