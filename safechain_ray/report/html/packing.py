"""Data for the page: JSON, deflated, in base64, of which no character means anything to HTML."""

import json
import zlib
from base64 import b64encode
from typing import Any


def packed(value: Any) -> str:
    """`value` as the page's script unpacks it; all that texts hold (`</script>`, NUL, a lone surrogate) comes back."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    return b64encode(zlib.compress(text.encode("ascii"), level=6)).decode("ascii")
