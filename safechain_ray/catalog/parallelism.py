"""Tensor and pipeline parallelism of an engine, and the KV cache size of a token on each GPU."""

import math
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

CACHE_BYTES = 2
"""Bytes of a value in the KV cache: vLLM uses the model's own 16 bits unless `kv_cache_dtype` is set."""


class ParallelSizes(BaseModel):
    """Tensor and pipeline parallel sizes of one engine replica."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tensor_parallel_size: int = Field(1, ge=1)
    pipeline_parallel_size: int = Field(1, ge=1)

    @property
    def gpus(self) -> int:
        return self.tensor_parallel_size * self.pipeline_parallel_size


class Attention(BaseModel):
    """The attention of a decoder-only transformer, from `config.json`: it decides the size of the KV cache.

    Example:
        >>> llama_8b = Attention(layers=32, heads=32, key_value_heads=8, head_size=128)
        >>> llama_8b.cache_bytes(ParallelSizes())  # two values (key, value) of 2 bytes each
        131072
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    layers: int = Field(ge=1)
    heads: int = Field(ge=1, description="tensor parallelism needs a divisor of it")
    key_value_heads: int = Field(ge=1)
    head_size: int = Field(ge=1)
    latent_size: int | None = Field(
        None, description="multi-head latent attention: values of a token in each layer, the same on every GPU"
    )

    @classmethod
    def of_config(cls, config: Any) -> "Attention | None":
        """From a config of transformers; None where it has other fields than decoder-only transformers have."""
        text = config.get_text_config()
        names = ("num_hidden_layers", "num_attention_heads", "hidden_size")
        layers, heads, hidden = (getattr(text, name, None) or 0 for name in names)
        if not all(isinstance(number, int) and number > 0 for number in (layers, heads, hidden)):
            return None
        latent = getattr(text, "kv_lora_rank", None)
        return cls(
            layers=layers,
            heads=heads,
            key_value_heads=getattr(text, "num_key_value_heads", None) or heads,
            head_size=getattr(text, "head_dim", None) or hidden // heads,
            latent_size=latent + text.qk_rope_head_dim if latent else None,
        )

    def divides(self, tensor_parallel_size: int) -> bool:
        """Whether vLLM can divide attention and key-value heads over so many GPUs."""
        if self.heads % tensor_parallel_size:
            return False
        if self.latent_size is not None:
            return True
        groups = (self.key_value_heads, tensor_parallel_size)
        return max(groups) % min(groups) == 0

    def cache_bytes(self, sizes: ParallelSizes) -> int:
        """Bytes that a token takes in the KV cache of each GPU.

        vLLM divides layers over the pipeline and key-value heads over the tensor-parallel group. A group larger than
        the number of these heads holds copies of them.
        """
        layers = math.ceil(self.layers / sizes.pipeline_parallel_size)
        if self.latent_size is not None:
            return layers * self.latent_size * CACHE_BYTES
        heads = math.ceil(self.key_value_heads / sizes.tensor_parallel_size)
        return layers * heads * self.head_size * 2 * CACHE_BYTES
