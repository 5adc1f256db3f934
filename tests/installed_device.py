"""The device that the installed vLLM runs on: with `EXTRA=gpu make setup` tests of real engines run on a GPU."""

from safechain_ray.engines.start import Device
from safechain_ray.engines.vllm_environment import installed_engine_package

INSTALLED_DEVICE: Device = "cuda" if installed_engine_package() == "vllm" else "cpu"
