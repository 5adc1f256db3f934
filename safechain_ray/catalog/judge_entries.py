"""Catalog entries of judges, and the servers that some of them call."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from safechain_ray.catalog.entries import ApiEntry, EngineNeeds, Entry
from safechain_ray.catalog.judge_forms import (
    FORMS,
    POLICY_ANSWERS,
    POLICY_REQUEST,
    JudgeAnswers,
    JudgeRequest,
    ReadingName,
    form_errors,
)
from safechain_ray.errors import InputError
from safechain_ray.likely_keys import key_fault
from safechain_ray.types import PLAIN_URL, VariableName


class Endpoint(BaseModel):
    """A server that judges. The API key comes from the environment only."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    base_url: str = Field(pattern=PLAIN_URL, description="without a key, a user or a query in it")
    model: str = Field(min_length=1)
    api_key_env: VariableName = Field("", description="environment variable with the key; without it no key is sent")
    max_concurrent: int = Field(16, ge=1, description="concurrent requests")

    def api_key(self, key: str = "judges.N.endpoint.api_key_env") -> SecretStr | None:
        """The API key; None for an endpoint without one. Raises InputError with the config's `key` for its variable."""
        if not self.api_key_env:
            return None
        if not (secret := os.environ.get(self.api_key_env, "").strip()):
            raise InputError(
                f"The environment variable {self.api_key_env} is not set. The key for {self.base_url} is read from it. "
                f"Fix: run `export {self.api_key_env}=...` before the command, "
                f"or name another one with --set {key}=NAME."
            )
        if fault := key_fault(secret, self.api_key_env):
            raise InputError(fault)
        return SecretStr(secret)


class JudgeEntry(Entry):
    """A judge: `kind` selects the code, the other fields are its data.

    Kinds that run a model have `engine`, kinds that call a server have `endpoint`, rules have neither. Judges of kind
    `preference` compare two responses, and only `prefer` uses them. All other judges judge one response. The kinds in
    `FORMS` are data alone: `request` is what the model is sent, and `answers` is how its answer is read.
    """

    kind: str = Field(description="the module of `judges/` with its code, or `preference`")
    engine: EngineNeeds | None = None
    endpoint: Endpoint | None = Field(None, exclude_if=lambda endpoint: endpoint is None)
    phrases: str | None = Field(None, description="refusal_match: the file of refusal phrases, one a line")
    request: JudgeRequest | None = Field(None, exclude_if=lambda request: request is None)
    answers: JudgeAnswers | None = Field(None, exclude_if=lambda answers: answers is None)
    reading: ReadingName | None = Field(
        None, exclude_if=lambda reading: reading is None, description="whether controversial counts as unsafe (strict)"
    )
    policy: str | None = Field(
        None, exclude_if=lambda policy: policy is None, description="text for the slot {policy} of the request"
    )
    policy_file: str | None = Field(
        None, exclude_if=lambda file: file is None, description="UTF-8 file with the policy, instead of `policy`"
    )
    policies: Mapping[str, str] = Field(
        default_factory=dict,
        exclude_if=lambda policies: not policies,
        description="several policies by name, asked in one request each; unsafe if one of them is violated",
    )
    prompt_source: str = Field("", description="where the request and the answers were published", exclude=True)

    @property
    def is_rule(self) -> bool:
        """Whether the judge is a rule: it has no pool of workers, and runs where blocks are written."""
        return self.engine is None and self.endpoint is None

    @property
    def reads_prompt(self) -> bool:
        """Whether the judge is asked about the prompt too. Rules and requests without its slot read the text alone."""
        return not self.is_rule and (self.request is None or "prompt" in self.request.slots)

    @property
    def calls_chat_api(self) -> bool:
        """Whether a chat model behind an API answers the judge's requests."""
        return self.endpoint is not None and self.kind in FORMS

    @property
    def own_tokens(self) -> int:
        """Bound of the tokens of the request's own text and of the answer; 0 for kinds whose request is code."""
        if self.request is None:
            return 0
        texts = (*self.request.texts, self.policy or "", *self.policies.values())
        return self.request.max_tokens + sum(map(len, texts)) // CHARACTERS_A_TOKEN

    @property
    def is_raw(self) -> bool:
        """Whether the judge has a whole prompt of its own, to which no chat template is applied."""
        return self.kind == "harmbench" or (self.request is not None and self.request.raw is not None)

    @model_validator(mode="before")
    @classmethod
    def _with_default_request(cls, fields: Any) -> Any:
        if isinstance(fields, dict) and fields.get("kind") == "policy":
            return {"request": POLICY_REQUEST, "answers": POLICY_ANSWERS, **fields}
        return fields

    @model_validator(mode="after")
    def _has_a_whole_form(self) -> Self:
        if self.kind not in FORMS:
            given = [name for name in FORM_FIELDS if getattr(self, name)]
            if given and self.kind in KINDS_OF_CODE:
                raise ValueError(
                    f"kind {self.kind} takes no {given[0]}. Fix: leave it out, or choose {', '.join(FORMS)}"
                )
            needed = NEEDED_BY_KIND.get(self.kind)
            if needed is not None and getattr(self, needed) is None:
                raise ValueError(f"kind {self.kind} needs {needed}. Fix: add `{needed}:` to the entry")
            return self
        policies = [name for name in ("policy", "policy_file", "policies") if getattr(self, name)]
        problems = [] if len(policies) < 2 else [f"{' and '.join(policies)} are given. Fix: give one of them"]
        if self.request is None:
            problems.append("the request is missing. Fix: add `request:` with messages or raw")
        else:
            problems += form_errors(
                self.kind,
                self.request,
                self.answers,
                has_policy=bool(policies),
                has_reading=self.reading is not None,
                has_engine=self.engine is not None,
            )
        if (self.engine is None) == (self.endpoint is None):
            problems.append("a model answers it. Fix: give `engine:` or `endpoint:`, and not both")
        if problems:
            raise ValueError(f"judge {self.name}: {problems[0]}")
        return self


CHARACTERS_A_TOKEN = 3
"""Fewest characters of a token in English prose, on average. Tokenizers of the guards reach 4 to 5."""

FORM_FIELDS = ("request", "answers", "reading", "policy", "policy_file", "policies")

NEEDED_BY_KIND = {"llama_guard": "engine", "harmbench": "engine", "openai_moderation": "endpoint"}
"""What a kind can't judge without."""

KINDS_OF_CODE = ("llama_guard", "harmbench", "openai_moderation", "refusal_match", "preference")
"""Kinds of this package whose requests and parsers are code."""


def with_policy_text(judge: JudgeEntry, key: str = "judges.N.policy_file") -> JudgeEntry:
    """The judge with the text of its policy file. Workers on other nodes need not have the file.

    `key` is where the path was given, for messages.

    Raises InputError for a file that can't be read or is empty.
    """
    if judge.policy_file is None:
        return judge
    try:
        text = Path(judge.policy_file).expanduser().read_text(encoding="utf-8-sig").strip()
    except (OSError, RuntimeError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"judges: the policy {judge.policy_file} of {judge.name} can't be read: {reason}. "
            f"Fix: give a UTF-8 text file in {key}."
        ) from error
    if not text:
        raise InputError(f"judges: the policy {judge.policy_file} of {judge.name} is empty. Fix: write a policy.")
    return judge.model_copy(update={"policy": text, "policy_file": None})


def judging_api(judge: JudgeEntry) -> ApiEntry:
    """The chat model at a judge's endpoint. Its answers are short, and no template opens a thought in them."""
    assert judge.endpoint is not None
    return ApiEntry(
        name=judge.name,
        base_url=judge.endpoint.base_url,
        api_model=judge.endpoint.model,
        api_key_env=judge.endpoint.api_key_env or None,
        max_concurrent=judge.endpoint.max_concurrent,
        opens_thought=False,
        is_judge=True,
        judge_key="judge" if judge.kind == "preference" else "judges.N",
    )
