"""Detection of a training set's layout from its column names, if the config names no columns.

A set whose columns can be read in several ways is refused, with all of them in the message.
"""

from collections.abc import Mapping

from safechain_ray.catalog.training_entries import TrainingSetEntry
from safechain_ray.datasets.records import Records
from safechain_ray.errors import InputError

CANDIDATES: Mapping[str, tuple[str, ...]] = {
    "messages_column": ("messages", "conversations", "conversation"),
    "prompt_column": ("prompt", "instruction", "question", "query", "problem"),
    "response_column": ("response", "completion", "output", "answer"),
    "thought_column": ("thought", "thinking", "reasoning", "reasoning_content"),
}
"""Usual names in lower case: TRL's, Alpaca's and ShareGPT's, and those of published reasoning sets."""

INSTRUCTION, INPUT, SYSTEM, HISTORY = "instruction", "input", "system", "history"
"""Alpaca's columns that belong to the prompt, as LLaMA-Factory reads them."""


def with_layout(entry: TrainingSetEntry, records: Records) -> TrainingSetEntry:
    """`entry` with the columns that hold its demonstrations, and the columns that belong to their prompts.

    Raises:
        InputError: the set has no column for a layout, or more than one.
    """
    named = {} if entry.layout else _detected(records)
    prompt = entry.prompt_column or named.get("prompt_column", "")
    belongs = {"system_column": SYSTEM} | ({"input_column": INPUT} if prompt.lower() == INSTRUCTION else {})
    for field, name in belongs.items():
        column = _by_lower_case(records).get(name)
        if getattr(entry, field) is None and column is not None:
            named[field] = column
    return entry.model_copy(update=named)


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
