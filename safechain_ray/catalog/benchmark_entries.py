"""What the catalog says of a reasoning benchmark: its rows, what is asked of them, and who grades the answers."""

import re
from collections.abc import Iterator
from string import Formatter
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from safechain_ray.catalog.entries import RowsEntry

GraderKind = Literal["math", "code_completion", "code_asserts", "code_tests", "terms"]

_FIELD = re.compile(r"(\w+)(\[\d+\])?")


class BenchmarkEntry(RowsEntry):
    """A benchmark of a known kind of grader: all that is needed to ask its problems and to grade the answers.

    Templates hold columns in braces, `{question}`, or one item of a column that is a list, `{tests[0]}`; braces of
    their own are doubled.
    """

    grader: GraderKind
    more_files: tuple[str, ...] = Field((), description="files beside `source` that hold the rest of the rows")
    id_column: str | None = None
    prompt: str = Field(description="template of what is asked")
    prompt_without: dict[str, str] = Field(
        default_factory=dict, description="templates of rows for which the named column is empty"
    )
    prompt_source: str = Field(description="where the template comes from")
    reference: dict[str, str] = Field(description="what the grader reads of a problem, and the column that holds it")
    max_tokens: int = Field(16_000, ge=1, description="most tokens of a response, thought included, as published")
    repetition_penalty: float = Field(1.0, gt=0, description="as published")

    @field_validator("prompt")
    @classmethod
    def _template(cls, template: str) -> str:
        if not list(_columns(template)):
            raise ValueError("the template holds no column in braces, such as {question}")
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

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column that is read, each once."""
        asked = [column for template in (self.prompt, *self.prompt_without.values()) for column in _columns(template)]
        named = [self.id_column] if self.id_column is not None else []
        return tuple(dict.fromkeys([*named, *asked, *self.prompt_without, *self.reference.values()]))


def _columns(template: str) -> Iterator[str]:
    """The columns that a template holds. Raises ValueError for a field that is none."""
    for _, field, form, conversion in Formatter().parse(template):
        if field is None:
            continue
        match = _FIELD.fullmatch(field)
        if match is None or form or conversion:
            raise ValueError(
                f"{{{field}}} is no column; double the braces that are to stay: {{{{{field}}}}}, or write {{column}} "
                "or {column[0]}"
            )
        yield match[1]
