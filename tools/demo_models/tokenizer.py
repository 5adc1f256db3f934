"""Byte-level BPE tokenizers of the demo models, with chat templates in R1's and in Llama Guard 3's form."""

from collections.abc import Iterable
from importlib.resources import files
from itertools import chain

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from tools.demo_models.topics import CATEGORIES

BOS, EOS = "<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"
USER, ASSISTANT = "<｜User｜>", "<｜Assistant｜>"
THINK_TAGS = ("<think>", "</think>")
GUARD_BOS, GUARD_EOS = "<|begin_of_text|>", "<|eot_id|>"
GUARD_HEADERS = ("<|start_header_id|>", "<|end_header_id|>")

VOCABULARY = 2048
CONTEXT = 2048

# As Llama 3 does: words with the space or mark before them, short runs of digits, marks with the line breaks behind
# them. Line breaks split the same way whether text ends there or continues, as prefilled prompts need.
_PIECES = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,2}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"


def reasoner_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """In R1's form: `<think>` and `</think>` are single tokens that survive `skip_special_tokens`."""
    core = _train(texts, special=(BOS, EOS, USER, ASSISTANT), plain=THINK_TAGS, bos=BOS)
    return _wrap(core, BOS, EOS, _template("reasoner.jinja"))


def guard_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """In Llama Guard 3's form: `safe`, `unsafe`, an empty line and each category code are single tokens."""
    categories = "\\n".join(f"{code}: {name}." for code, name in CATEGORIES.items())
    template = _template("guard.jinja").replace("@CATEGORIES@", categories)
    # The template's own words are in every prompt: with each a single token, prompts are half as long.
    seen = chain(texts, [template.replace("\\n", "\n")] * 200)
    core = _train(seen, special=(GUARD_BOS, GUARD_EOS, *GUARD_HEADERS), plain=tuple(CATEGORIES), bos=GUARD_BOS)
    return _wrap(core, GUARD_BOS, GUARD_EOS, template)


def _template(name: str) -> str:
    return (files(__package__) / name).read_text(encoding="utf-8").strip()


def _train(texts: Iterable[str], special: tuple[str, ...], plain: tuple[str, ...], bos: str) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(plain),
        special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_tokens([AddedToken(token, normalized=False, single_word=token in CATEGORIES) for token in plain])
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A", pair=f"{bos} $A {bos}:1 $B:1", special_tokens=[(bos, tokenizer.token_to_id(bos))]
    )
    return tokenizer


def _wrap(core: Tokenizer, bos: str, eos: str, chat_template: str) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token=bos,
        eos_token=eos,
        pad_token=eos,
        padding_side="left",
        model_max_length=CONTEXT,
        clean_up_tokenization_spaces=False,
        chat_template=chat_template,
    )
