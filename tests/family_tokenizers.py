"""Tokenizers with the chat templates of the model families, and broken variants of them.

The templates have the special tokens and the layout of the public ones, and nothing else of them.
"""

from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

TEMPLATES = Path(__file__).parent / "unit" / "decoding" / "data" / "templates"
R1_BOS = "<｜begin▁of▁sentence｜>"

FIXTURES = {  # name: (family, template, beginning-of-sequence token)
    "r1, older template": ("r1", "r1-older", R1_BOS),
    "r1, newer template": ("r1", "r1-newer", R1_BOS),
    "sky-t1": ("sky-t1", "qwen2.5", None),
    "qwq": ("qwq", "qwen2.5", None),
    "skywork-o1": ("skywork-o1", "llama-3.1", "<|begin_of_text|>"),
}


def tokenizer_of(template: str, bos: str | None) -> PreTrainedTokenizerFast:
    """A byte-level tokenizer that adds BOS unless told not to, as the public ones with a BOS do."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={symbol: number for number, symbol in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_tokens([AddedToken(tag, normalized=False) for tag in ("<think>", "</think>")])
    if bos is not None:
        backend.add_special_tokens([AddedToken(bos, normalized=False, special=True)])
        backend.post_processor = processors.TemplateProcessing(
            single=f"{bos} $A", special_tokens=[(bos, backend.token_to_id(bos))]
        )
    text = (TEMPLATES / f"{template}.jinja").read_text(encoding="utf-8")
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token=bos, chat_template=text)
