"""Detection of a training set's layout from its column names, if the config names no columns.

A set whose columns can be read in several ways is refused, with all of them in the message.
"""

from collections.abc import Collection, Mapping

from safechain_ray.catalog.training_entries import TrainingSetEntry
from safechain_ray.datasets.records import Records, as_text
from safechain_ray.errors import InputError

CANDIDATES: Mapping[str, tuple[str, ...]] = {
    "messages_column": ("messages", "conversations", "conversation"),
    "prompt_column": ("prompt", "instruction", "question", "query", "problem"),
    "response_column": ("response", "completion", "output", "answer"),
    "thought_column": ("thought", "thinking", "reasoning", "reasoning_content"),
}
"""Usual names in lower case: TRL's, Alpaca's and ShareGPT's, and those of published reasoning sets."""

INPUTS = ("input", "context")
"""Columns that belong to the prompt: Alpaca's and Dolly's."""

SYSTEM, HISTORY = "system", "history"
"""Alpaca's columns of earlier turns, as LLaMA-Factory reads them."""


def with_layout(entry: TrainingSetEntry, records: Records) -> TrainingSetEntry:
    """`entry` with the columns that hold its demonstrations, and the columns that belong to their prompts.

    Raises:
        InputError: the set has no column for a layout, or more than one; or two columns hold text that belongs to the
            prompt.
    """
    named = {} if entry.layout else _detected(records)
    system = _by_lower_case(records).get(SYSTEM)
    if entry.system_column is None and system is not None:
        named["system_column"] = system
    used = {*entry.columns.values(), *named.values()}
    if entry.input_column is None and (entry.prompt_column or "prompt_column" in named):
        named |= _input_column(records, used)
    return entry.model_copy(update=named)


def _input_column(records: Records, used: Collection[str]) -> dict[str, str]:
    """The column whose text follows the prompt. A model that never sees this text learns answers without a reason."""
    columns = [column for column in records.columns if column.lower() in INPUTS and column not in used]
    filled = [column for column in columns if any(as_text(row.get(column)).strip() for row in records.rows)]
    if len(filled) > 1:
        raise InputError(
            f"The columns {' and '.join(filled)} of {records.source} may both belong to the prompt. Fix: name one of "
            "them with training_set.input_column, or '' for none."
        )
    found = filled or columns
    return {"input_column": found[0]} if found else {}


def _by_lower_case(records: Records) -> dict[str, str]:
    return {column.lower(): column for column in records.columns}


def _detected(records: Records) -> dict[str, str]:
    columns = _by_lower_case(records)
    found = {field: [columns[name] for name in names if name in columns] for field, names in CANDIDATES.items()}
    layouts = [{"messages_column": column} for column in found["messages_column"]]
    for prompt in found["prompt_column"]:
        for response in found["response_column"]:
            pair = {"prompt_column": prompt, "response_column": response}
            apart = [
                {"prompt_column": prompt, "thought_column": thought, "answer_column": response}
                for thought in found["thought_column"]
            ]
            layouts += apart or [pair]
    if len(layouts) == 1:
        return layouts[0]
    names = ", ".join(records.columns)
    fix = (
        "Fix: name the columns in training_set: messages_column; or prompt_column and response_column; or "
        "prompt_column, thought_column and answer_column."
    )
    if not layouts:
        raise InputError(
            f"{records.source} has no column 'messages', and no other columns that are known to hold demonstrations. "
            f"Its columns: {names}. {fix}"
        )
    readings = "".join(f"\n  {', '.join(f'{field}: {column}' for field, column in each.items())}" for each in layouts)
    raise InputError(f"The columns of {records.source} can be read in {len(layouts)} ways:{readings}\n{fix}")
