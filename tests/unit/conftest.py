"""Property tests without a time limit a case: on a busy machine a pause is no failure."""

from hypothesis import settings

settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")
