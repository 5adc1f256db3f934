"""ZeroThink: an empty thought is prefilled, so that the model answers at once (arXiv:2502.12025, section 4)."""

from safechain_ray.decoding.base import Strategy
from safechain_ray.decoding.prefilled import Prefilled
from safechain_ray.decoding.task import OneCallOptions

Options = OneCallOptions


def build(options: OneCallOptions) -> Strategy:
    return Prefilled("", options)
