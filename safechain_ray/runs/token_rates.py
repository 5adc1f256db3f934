"""Time of a token on a GPU, from the parameters of a model: decoding by a model, prefill by a judge.

Decoding has three terms, which add up:

1. Host work of vLLM for each token: scheduling, sampling, detokenization. It bounds small models.
2. Two operations for each active parameter, at a share of the GPU's peak. It bounds dense models.
3. Reads of the weights of experts that a token does not use. Every step reads nearly all experts, and they fill memory
   that would hold the KV cache of more requests. It bounds mixtures of experts.

The terms were fitted to datatrove's benchmark: output tokens a second of one H100 80GB, vLLM 0.15.0, 256 sequences.
Every figure of its table is met within a factor of two. Without the third term Qwen3-30B-A3B is five times too fast.

Known trade-offs: the KV cache itself is not modelled, so long responses of large models are slower than estimated.
"""

from dataclasses import dataclass

from safechain_ray.catalog.entries import EngineNeeds


@dataclass(frozen=True, slots=True)
class TokenRates:
    """A GPU, and the shares of its peak that vLLM reaches with full batches.

    Example:
        >>> round(1 / TokenRates().decode_seconds(catalog.models()["R1-7B"]))
        6436
    """

    gpu: str = "H100"
    peak_tflops: float = 989.0
    """Dense bfloat16, from NVIDIA's data sheet of the H100 SXM."""
    decode_utilisation: float = 0.17
    prefill_utilisation: float = 0.40
    host_microseconds: float = 65.0
    """Of each decoded token."""
    expert_microseconds: float = 3.0
    """Of each decoded token, for a gigabyte of weights of experts that the token does not use."""

    def decode_seconds(self, engine: EngineNeeds) -> float:
        """GPU-seconds of a generated token: the same for any number of GPUs that share the work."""
        waiting = self.host_microseconds + self.expert_microseconds * engine.inactive_gigabytes
        return waiting / 1e6 + self._operations(engine) / self.decode_utilisation

    def prefill_seconds(self, engine: EngineNeeds) -> float:
        """GPU-seconds of a token that is read."""
        return self._operations(engine) / self.prefill_utilisation

    def _operations(self, engine: EngineNeeds) -> float:
        """GPU-seconds of a token's operations at the peak."""
        return 2 * engine.computed_parameters * 1e9 / (self.peak_tflops * 1e12)
