"""Shapes of models, from which their parameters and the memory of training follow."""

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class ModelShape(BaseModel):
    """The shape of a decoder-only transformer: decides its parameters and the memory of training.

    Llama's architecture, and those with the same matrices (Qwen 2.5). Biases and norms are too small to count.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    layers: int = Field(ge=1)
    hidden: int = Field(ge=1)
    intermediate: int = Field(ge=1, description="width of the feed-forward part")
    vocabulary: int = Field(ge=1)
    heads: int = Field(ge=1)
    key_value_heads: int = Field(ge=1)
    head_size: int | None = Field(None, description="hidden / heads by default")
    tied: bool = Field(False, description="input and output embeddings share one matrix")

    @classmethod
    def of_config(cls, name: str, config: Any) -> "ModelShape":
        """From a config of transformers."""
        return cls(
            name=name,
            layers=config.num_hidden_layers,
            hidden=config.hidden_size,
            intermediate=config.intermediate_size,
            vocabulary=config.vocab_size,
            heads=config.num_attention_heads,
            key_value_heads=getattr(config, "num_key_value_heads", None) or config.num_attention_heads,
            head_size=getattr(config, "head_dim", None),
            tied=bool(config.tie_word_embeddings),
        )

    def matrices(self) -> Iterator[tuple[int, int]]:
        """(inputs, outputs) of each linear map in a layer: query, key, value, output, gate, up, down."""
        size = self.head_size or self.hidden // self.heads
        queries, keys = self.heads * size, self.key_value_heads * size
        yield from ((self.hidden, queries), (self.hidden, keys), (self.hidden, keys), (queries, self.hidden))
        yield from ((self.hidden, self.intermediate), (self.hidden, self.intermediate))
        yield (self.intermediate, self.hidden)

    @property
    def layer_parameters(self) -> int:
        return sum(inputs * outputs for inputs, outputs in self.matrices())

    @property
    def embedding_parameters(self) -> int:
        """Parameters of one of the two embedding matrices."""
        return self.vocabulary * self.hidden

    @property
    def parameters(self) -> int:
        return self.layers * self.layer_parameters + (1 if self.tied else 2) * self.embedding_parameters

    def adapter_parameters(self, rank: int) -> int:
        """Parameters of low-rank adapters on all linear layers but the output."""
        return self.layers * sum(rank * (inputs + outputs) for inputs, outputs in self.matrices())
