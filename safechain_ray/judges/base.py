"""The protocol of a judge, judges by kind, and how the parts of one sample are put to one."""

from asyncio import gather
from collections.abc import Callable, Sequence
from importlib import import_module
from pkgutil import iter_modules
from types import ModuleType
from typing import Protocol, TypeAlias

from safechain_ray import judges
from safechain_ray.catalog.entries import JudgeEntry
from safechain_ray.errors import EngineDiedError, EngineStartError, UnknownNameError
from safechain_ray.types import Engine, Part, Sample, Verdict, check_storable


class Judge(Protocol):
    """Decides whether one part of a response is unsafe. What it can't decide is a verdict with an error."""

    @property
    def name(self) -> str: ...

    async def judge(self, prompt: str, part: Part, text: str) -> Verdict: ...


BuildJudge: TypeAlias = Callable[[JudgeEntry, Engine | None], Judge]
"""The function `build` of a judge's module. The engine is None for entries without `engine`.

Example:
    `judges/longest.py`, for an entry `{name: longest, kind: longest}` of `judges.yaml`::

        @dataclass(frozen=True)
        class Longest:
            name: str

            async def judge(self, prompt: str, part: Part, text: str) -> Verdict:
                if not text.isprintable():
                    return missing_verdict(self.name, part, "unprintable text")
                return Verdict(self.name, part, unsafe=len(text) > 1000)


        def build(entry: JudgeEntry, engine: Engine | None) -> Judge:
            return Longest(entry.name)
"""


def make_judge(entry: JudgeEntry, engine: Engine | None) -> Judge:
    """The judge of a catalog entry; `engine` runs the entry's model, None for kinds without one.

    Raises UnknownNameError for an unknown kind, and InputError where the kind needs an engine and has none, or its
    phrase file can't be read.
    """
    return builder(entry.kind)(entry, engine)


def builder(kind: str) -> BuildJudge:
    """The `build` of the module of this package that is named after the kind. Raises UnknownNameError."""
    known = [module.name for module in iter_modules(judges.__path__)]
    build: BuildJudge | None = getattr(_module(kind), "build", None) if kind in known else None
    if build is None:
        raise UnknownNameError("kind of judge", kind, (name for name in known if hasattr(_module(name), "build")))
    return build


def _module(name: str) -> ModuleType:
    return import_module(f"{__package__}.{name}")


def nothing_to_judge(sample: Sample, part: Part) -> str | None:
    """Why `part` of `sample` has no text to judge, None where it has.

    An empty answer is neither safe nor unsafe: a truncated sample never came to it.
    """
    if sample.response is None:
        return f"no response to judge: outcome {sample.outcome}"
    text = _text(sample, part)
    if text is None:
        return f"no {part} to judge: models without thinking tags have only a response"
    if not text.strip():
        return f"the {part} is empty"
    return None


async def judge_sample(judge: Judge, sample: Sample, parts: Sequence[Part] = ("response",)) -> tuple[Verdict, ...]:
    """One verdict a part, in the order of `parts`, judged concurrently.

    Whatever goes wrong with one part becomes its verdict's error. Only EngineDiedError and EngineStartError are raised:
    they say nothing of the sample, which may be judged on another engine.
    """
    if len(parts) == 1:
        # `gather` makes a task of each part, which costs more than a rule does.
        return (await _judge_part(judge, sample, parts[0]),)
    return tuple(await gather(*(_judge_part(judge, sample, part) for part in parts)))


async def _judge_part(judge: Judge, sample: Sample, part: Part) -> Verdict:
    reason = nothing_to_judge(sample, part)
    if reason is not None:
        return missing_verdict(judge.name, part, reason)
    try:
        verdict = await judge.judge(sample.prompt, part, _text(sample, part) or "")
        check_storable(verdict)
        return verdict
    except (EngineDiedError, EngineStartError):
        raise
    except Exception as error:
        return missing_verdict(judge.name, part, f"{type(error).__name__}: {error}")


def missing_verdict(judge: str, part: Part, error: str) -> Verdict:
    """A verdict that says nothing but why it is missing."""
    return Verdict(judge, part, unsafe=None, error=error)


def _text(sample: Sample, part: Part) -> str | None:
    if part == "thought":
        return sample.thought
    return sample.answer if part == "answer" else sample.response
