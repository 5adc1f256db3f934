"""Safe loading of untrusted model files: tokenizers, configs, weights and chat templates, without running code."""

from safechain_ray.model_files.chat_template import (
    ChatTemplateError,
    ChatTemplateLimitError,
    arguments_read,
    check_template_limits,
    render_chat,
    template_turns,
)
from safechain_ray.model_files.loading import CustomCodeError, load_config, load_tokenizer, load_weights

__all__ = [
    "ChatTemplateError",
    "ChatTemplateLimitError",
    "CustomCodeError",
    "arguments_read",
    "check_template_limits",
    "load_config",
    "load_tokenizer",
    "load_weights",
    "render_chat",
    "template_turns",
]
