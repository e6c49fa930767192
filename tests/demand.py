"""What a test needs of the machine: skipped with a sentence where that is missing, unless somebody promised it."""

import os

import pytest


def demand(unmet: str, promise: str) -> None:
    """Skip if the sentence `unmet` says anything; fail instead where the environment has `promise`=1, as CI does."""
    if not unmet:
        return
    if os.environ.get(promise) == "1":
        pytest.fail(f"{promise}=1, but this {unmet}")
    pytest.skip(unmet)
