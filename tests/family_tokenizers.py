"""Tokenizers with the chat templates of the model families, and broken variants of them.

The templates have the special tokens and the layout of the public ones, and nothing else of them.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

TEMPLATES = Path(__file__).parent / "unit" / "decoding" / "data" / "templates"
R1_BOS, R1_EOS = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"
R1_TURNS = ("<｜User｜>", "<｜Assistant｜>")

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


# How the tokenizers that R1's two families come from cut text before they merge: Qwen digit by digit, Llama by three.
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_PIECES = {
    style: r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|" + digits + _REST
    for style, digits in {"qwen": r"\p{N}", "llama": r"\p{N}{1,3}"}.items()
}


@cache
def r1_tokenizer(style: str, template: str, texts: Sequence[str]) -> PreTrainedTokenizerFast:
    """In the form of R1-7B's (`qwen`) or R1-8B's (`llama`), its merges learnt from `texts` (a tuple)."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES[style]), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    core.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=1500, initial_alphabet=alphabet, show_progress=False)
    )
    core.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in (R1_BOS, R1_EOS)])
    core.add_tokens([AddedToken(token, normalized=False) for token in (*R1_TURNS, "<think>", "</think>")])
    core.post_processor = processors.TemplateProcessing(
        single=f"{R1_BOS} $A", special_tokens=[(R1_BOS, core.token_to_id(R1_BOS))]
    )
    text = (TEMPLATES / f"{template}.jinja").read_text(encoding="utf-8")
    return PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token=R1_BOS, eos_token=R1_EOS, pad_token=R1_EOS, chat_template=text
    )
