"""Refuses Arrow columns of Python objects, because reading one can run any code that its writer put there."""

import pyarrow as pa


def plain_columns(table: pa.Table) -> pa.Table:
    """The table itself. Raises ArrowInvalid where a column, at any depth, is of an extension type written in Python.

    Once Ray Data is imported, Arrow knows Ray's type for pickled objects by its name in the file, and `to_pylist`
    unpickles them. No column of this project, and none of a data set, needs such a type. Arrow's own extension types
    (JSON, UUID, bool8, tensors of a fixed shape) are C++ and hold plain values.
    """
    objects = [field.name for field in table.schema if holds_objects(field.type)]
    if objects:
        raise pa.ArrowInvalid(
            f"refused: reading the columns {', '.join(objects)} could run code that their writer chose"
        )
    return table


def holds_objects(kind: pa.DataType) -> bool:
    """Whether `kind` is, or holds at any depth, an extension type that Python code reads."""
    if isinstance(kind, pa.ExtensionType):
        return True
    if isinstance(kind, pa.BaseExtensionType):
        return holds_objects(kind.storage_type)
    if pa.types.is_dictionary(kind):
        return holds_objects(kind.value_type)
    return any(holds_objects(kind.field(number).type) for number in range(kind.num_fields))
