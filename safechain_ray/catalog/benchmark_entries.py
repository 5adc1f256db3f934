"""The catalog entry of a reasoning benchmark: its rows, prompt template, grader and styles."""

import re
from collections.abc import Iterator
from string import Formatter
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from safechain_ray.catalog.row_entries import RowsEntry
from safechain_ray.errors import UnknownNameError
from safechain_ray.types.model_errors import CODE

GraderKind = Literal[
    "math",
    "code_completion",
    "code_completion_evalplus",
    "code_asserts",
    "code_asserts_evalplus",
    "code_tests",
    "code_tests_skythought",
    "terms",
]

AnyGrader = GraderKind | Annotated[str, Field(pattern=CODE)]
"""A built-in grader, or Python code as `module:name`."""

DEFAULT_STYLE = "default"

_FIELD = re.compile(r"(\w+)(\[\d+\])?")


class BenchmarkStyle(BaseModel):
    """Another way to ask and grade the same problems, such as that of a published tool.

    A style inherits every field that it does not set. `description` says how the style differs from the default one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    description: str
    prompt: str | None = None
    prompt_without: dict[str, str] | None = None
    prompt_source: str | None = None
    strip: bool | None = None
    grader: AnyGrader | None = None
    max_tokens: int | None = Field(None, ge=1)
    strategy: str | None = Field(None, description="the style's decoding strategy, which a config can't change")

    def overrides(self) -> dict[str, Any]:
        """The fields of the entry that the style replaces."""
        return self.model_dump(exclude_none=True, exclude={"description"})


class BenchmarkEntry(RowsEntry):
    """A benchmark. `grader` names a built-in grader, or Python code of the user.

    Templates contain columns in braces, `{question}`, or one item of a list column, `{tests[0]}`. Literal braces are
    doubled.
    """

    grader: AnyGrader
    more_files: tuple[str, ...] = Field((), description="files beside `source` that hold the rest of the rows")
    id_column: str | None = None
    prompt: str = Field(description="template of what is asked")
    prompt_without: dict[str, str] = Field(
        default_factory=dict, description="templates of rows for which the named column is empty"
    )
    prompt_source: str = Field(description="where the template comes from")
    strip: bool = Field(False, description="drop white space at both ends of each column's text in the template")
    reference: dict[str, str] = Field(description="fields that the grader reads, and the column of each")
    max_tokens: int = Field(16_000, ge=1, description="most tokens of a response, thought included, as published")
    repetition_penalty: float = Field(1.0, gt=0, description="as published")
    strategy: str = Field("default", description="the decoding strategy if the config names none")
    style: str = Field(DEFAULT_STYLE, description="the style that this entry describes")
    styles: dict[str, BenchmarkStyle] = Field(default_factory=dict, description="other styles by name")

    @field_validator("prompt")
    @classmethod
    def _template(cls, template: str) -> str:
        if not list(_columns(template)):
            raise ValueError("the template has no column in braces, such as {question}")
        return template

    @field_validator("prompt_without")
    @classmethod
    def _templates(cls, templates: dict[str, str]) -> dict[str, str]:
        return {column: cls._template(template) for column, template in templates.items()}

    @model_validator(mode="after")
    def _more_files_of_a_file(self) -> Self:
        if self.more_files and self.kind != "file":
            raise ValueError(f"more_files belong to kind file, not to {self.kind}")
        return self

    @model_validator(mode="after")
    def _styles_work(self) -> Self:
        for name in self.styles if self.style == DEFAULT_STYLE else ():
            self.in_style(name)
        return self

    def in_style(self, name: str) -> "BenchmarkEntry":
        """The entry with the fields of a style. Raises UnknownNameError for a style that the benchmark lacks."""
        if name == self.style:
            return self
        if name not in self.styles:
            raise UnknownNameError(f"style of benchmark {self.name}", name, (DEFAULT_STYLE, *self.styles))
        return type(self).model_validate(self.model_dump() | self.styles[name].overrides() | {"style": name})

    @property
    def style_description(self) -> str:
        """How the style differs from the default one; empty for the default style."""
        return self.styles[self.style].description if self.style in self.styles else ""

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that is read, each once."""
        asked = [column for template in (self.prompt, *self.prompt_without.values()) for column in _columns(template)]
        named = [self.id_column] if self.id_column is not None else []
        return tuple(dict.fromkeys([*named, *asked, *self.prompt_without, *self.reference.values()]))


def _columns(template: str) -> Iterator[str]:
    """The columns in a template. Raises ValueError for a field that is not a column."""
    for _, field, form, conversion in Formatter().parse(template):
        if field is None:
            continue
        match = _FIELD.fullmatch(field)
        if match is None or form or conversion:
            raise ValueError(
                f"{{{field}}} is no column. Fix: double literal braces, {{{{{field}}}}}, or write {{column}} or "
                "{column[0]}"
            )
        yield match[1]
