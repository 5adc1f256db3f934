"""The data of a page's sample browser, as the page's script reads it."""

import json
import zlib
from base64 import b64decode
from typing import Any


def unpacked(data: str) -> Any:
    return json.loads(zlib.decompress(b64decode(data)))
