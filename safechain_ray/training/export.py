"""The trained model as a folder that vLLM and transformers load: plain weights, the tokenizer and its chat template."""

import shutil
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.fsdp import FSDPModule

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


def is_sharded(model: Any) -> bool:
    return isinstance(model, FSDPModule)


def gathered_weights(model: Any) -> dict[str, Any]:
    """The whole weights of a sharded model in the first process's memory, those that were trained; {} in the others.

    All processes have to call it.
    """
    options = StateDictOptions(full_state_dict=True, cpu_offload=True, ignore_frozen_params=True)
    weights: dict[str, Any] = get_model_state_dict(model, options=options)
    return weights


def put_weights(model: Any, weights: dict[str, Any]) -> None:
    """Put gathered weights into a model that is not sharded. Raises ValueError for one that has no place."""
    unexpected = model.load_state_dict(weights, strict=False).unexpected_keys
    if unexpected:
        raise ValueError(f"The model has no weights called {', '.join(unexpected[:3])}.")
