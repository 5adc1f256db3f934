"""Refuses Parquet columns that hold Python objects: to read one is to run whatever its writer put there."""

import pyarrow as pa


def plain_columns(table: pa.Table) -> pa.Table:
    """The table itself. Raises ArrowInvalid where a column, at any depth, is of an extension type.

    Once Ray Data is imported, Arrow knows Ray's type for pickled objects by its name in the file, and `to_pylist`
    unpickles them. No column of this project, and none of a data set, needs such a type.
    """
    objects = [field.name for field in table.schema if _holds_extension(field.type)]
    if objects:
        raise pa.ArrowInvalid(
            f"refused: reading the columns {', '.join(objects)} could run code that their writer chose"
        )
    return table


def _holds_extension(kind: pa.DataType) -> bool:
    if isinstance(kind, pa.BaseExtensionType):
        return True
    if pa.types.is_dictionary(kind):
        return _holds_extension(kind.value_type)
    return any(_holds_extension(kind.field(number).type) for number in range(kind.num_fields))
