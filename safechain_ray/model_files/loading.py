"""Loads tokenizers, configs and weights with transformers; the only file that calls `from_pretrained`.

A model's folder may name code of its own (`auto_map`). Without a value for `trust_remote_code` transformers asks on the
terminal whether to run that code, and a `y` on stdin is consent. So every load passes False. Only a catalog
entry can set `trust_remote_code`, and no built-in entry does.
"""

from typing import Any

from safechain_ray.errors import InputError


class CustomCodeError(InputError):
    """The model can't be loaded without code from its own folder, which is not run."""

    def __init__(self, model: str) -> None:
        super().__init__(
            f"{model} needs Python code from its own folder (auto_map), which is not run. Fix: use a version of the "
            "model whose config.json and tokenizer_config.json have no auto_map."
        )


def load_tokenizer(
    location: str, revision: str | None = None, *, trust_remote_code: bool = False, only_local: bool = False
) -> Any:
    """Raises CustomCodeError, and what transformers raises for files that are missing or damaged."""
    from transformers import AutoTokenizer

    return _load(AutoTokenizer, location, revision, trust_remote_code, local_files_only=only_local)


def load_config(
    location: str, revision: str | None = None, *, trust_remote_code: bool = False, only_local: bool = False
) -> Any:
    """Raises what `load_tokenizer` raises."""
    from transformers import AutoConfig

    return _load(AutoConfig, location, revision, trust_remote_code, local_files_only=only_local)


def load_weights(location: str, revision: str | None, *, dtype: Any, **options: Any) -> Any:
    """A causal language model for training. Raises what `load_tokenizer` raises."""
    from transformers import AutoModelForCausalLM

    return _load(AutoModelForCausalLM, location, revision, trust_remote_code=False, dtype=dtype, **options)


def _load(kind: Any, location: str, revision: str | None, trust_remote_code: bool, **options: Any) -> Any:
    try:
        return kind.from_pretrained(location, revision=revision, trust_remote_code=trust_remote_code, **options)
    except ValueError as error:
        if "trust_remote_code=True" in str(error):
            raise CustomCodeError(location) from error
        raise
    except (RecursionError, TypeError, AttributeError, LookupError, ArithmeticError) as error:
        # What transformers makes of a config.json that is nested too deeply, is no mapping, or has 0 heads.
        raise ValueError(f"its files are damaged ({type(error).__name__}: {error})") from error
