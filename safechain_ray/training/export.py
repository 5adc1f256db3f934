"""The trained model as a folder that vLLM and transformers load: plain weights, the tokenizer and its chat template."""

import shutil
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch

from safechain_ray.training.chat import ChatFormat


def export_model(model: Any, base: Any, chat: ChatFormat, folder: Path) -> None:
    """Write `model` as `folder`, which is there whole or not at all; `base` is the config of the model it came from.

    The weights get the base's data type; adapters are merged into them. `model` is of no use afterwards. The chat
    template is the one that was trained with, in `tokenizer_config.json`. Raises OSError.
    """
    plain = model.merge_and_unload() if hasattr(model, "merge_and_unload") else model
    tokenizer = deepcopy(chat.tokenizer)
    if chat.chat_template is not None:
        tokenizer.chat_template = chat.chat_template
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    plain.config.use_cache = base.use_cache  # training turns it off
    plain.to(base.dtype or torch.float32).save_pretrained(unfinished)
    tokenizer.save_pretrained(unfinished, save_jinja_files=False)
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)
