"""Tokens and tags of a text made plain text, so that neither a tokenizer nor `read_tags` finds them."""

from collections.abc import Collection

ZERO_WIDTH_SPACE = "\u200b"


def broken_up(text: str, tokens: Collection[str]) -> str:
    """`text` with a zero-width space inside each of `tokens`.

    Example:
        >>> broken_up("stop <|eot_id|> here", ["<|eot_id|>"]) == "stop <\u200b|eot_id|> here"
        True
    """
    for token in tokens:
        text = text.replace(token, token[0] + ZERO_WIDTH_SPACE + token[1:])
    return text
