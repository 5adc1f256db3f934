"""Catalog entries of rows: data sets of prompts, and training sets."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from safechain_ray.catalog.entries import Entry
from safechain_ray.types import Part

LossOn = Literal["last", "all"]
"""The assistant turns of a conversation that carry loss."""


LAYOUTS = (
    frozenset({"messages_column"}),
    frozenset({"prompt_column", "response_column"}),
    frozenset({"prompt_column", "thought_column", "answer_column"}),
)
"""The columns of a demonstration: a conversation, or a prompt with its response in one or two columns."""


IMPORT_KEYS = frozenset({"label_part", "unsafe_labels", "family"})
"""Keys of an import beside its columns."""


class RowsEntry(Entry):
    """The source of rows: prompts of a data set, problems of a benchmark."""

    kind: Literal["huggingface", "file", "package"]
    source: str = Field(description="Hugging Face id, URL or path, or a file of the package")
    config: str | None = Field(None, description="huggingface: which of the set's configs")
    split: str | None = Field("train", description="huggingface: which split; None takes the only one")
    revision: str | None = None
    load_options: dict[str, str | bool] = Field(
        default_factory=dict, description="huggingface: further arguments for datasets.load_dataset"
    )
    rows: int | None = Field(None, description="rows expected; another count is an error")


class DatasetEntry(RowsEntry):
    """A data set of prompts: its source and the meaning of its columns."""

    prompt_column: str
    prompt_columns: dict[str, str] = Field(
        default_factory=dict, description="category -> the column with its prompts, where this is not prompt_column"
    )
    id_column: str | None = None
    category_column: str | None = None
    benign_categories: tuple[str, ...] | None = Field(
        None, description="categories of prompts that a model should not refuse; null: unknown"
    )


class ResponsesEntry(RowsEntry):
    """A set of responses that exist, for `import`: its source and the meaning of its columns."""

    prompt_column: str | None = None
    response_column: str | None = Field(None, description="one response or a list of them")
    thought_column: str | None = None
    messages_column: str | None = Field(None, description="chats, in place of prompts and responses")
    id_column: str | None = None
    category_column: str | None = None
    label_column: str | None = Field(None, description="labels of people: safe or unsafe")
    label_part: Part = Field("response", description="what the labels are about")
    unsafe_labels: tuple[str, ...] = Field((), description="labels that mean unsafe; all others mean safe")
    family: str | None = Field(None, description="the family with the thinking tags of the responses")

    def keys(self) -> dict[str, Any]:
        """The keys of an import that this entry sets."""
        given = self.model_dump(exclude_none=True, exclude_defaults=True)
        return {key: value for key, value in given.items() if key.endswith("_column") or key in IMPORT_KEYS}


class TrainingSetEntry(RowsEntry):
    """A training set: the source of its demonstrations and the meaning of their columns.

    Either exactly the columns of one of `LAYOUTS` are named, or none. Without names the layout is detected from the
    columns of the data. Thoughts are in the tags of `family`, R1's by default, for every trained model. The opening tag
    may be missing.
    """

    messages_column: str | None = Field(None, description="a list of messages, in OpenAI's or ShareGPT's form")
    prompt_column: str | None = None
    response_column: str | None = Field(None, description="thought, in tags, and answer")
    thought_column: str | None = Field(None, description="the thought alone, without tags")
    answer_column: str | None = Field(None, description="the answer alone")
    input_column: str | None = Field(
        None, description="text appended to the prompt; by default a column `input` or `context`; '' for none"
    )
    system_column: str | None = Field(None, description="the system turn; by default a column `system`; '' for none")
    has_thoughts: bool = Field(True, description="False for a control: answers only, and a thinking tag is an error")
    family: str | None = Field(None, description="the model family in whose tags the thoughts are; r1 by default")
    loss_on: LossOn = Field("last", description="the assistant turns that carry loss")

    @property
    def columns(self) -> dict[str, str]:
        """The named columns, by field."""
        layout = ("messages_column", "prompt_column", "response_column", "thought_column", "answer_column")
        return {name: getattr(self, name) for name in (*layout, "input_column", "system_column") if getattr(self, name)}

    @property
    def layout(self) -> frozenset[str]:
        """The named columns that make a layout."""
        return frozenset(self.columns) - {"input_column", "system_column"}

    @model_validator(mode="after")
    def _one_layout(self) -> Self:
        if self.layout and self.layout not in LAYOUTS:
            known = "; or ".join(", ".join(sorted(layout, reverse=True)) for layout in LAYOUTS)
            raise ValueError(f"the columns named are {', '.join(sorted(self.layout))}; name {known}")
        if self.input_column and self.layout == LAYOUTS[0]:
            raise ValueError("input_column needs prompt_column, but messages_column is named: remove one of them")
        if self.thought_column is not None and not self.has_thoughts:
            raise ValueError("has_thoughts is false, but thought_column names thoughts: remove one of them")
        return self
