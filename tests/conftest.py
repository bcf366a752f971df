"""What all tests share: how Hypothesis runs."""

from __future__ import annotations

from hypothesis import settings

# The same examples on every machine and run, so that a failure is never news of the day.
settings.register_profile("relcam", max_examples=12, deadline=None, derandomize=True)
settings.load_profile("relcam")
