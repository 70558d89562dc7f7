"""A pytest plugin: the machines of this session's Ray clusters say that they have four GPUs, whether or not it is so.

Ray then hands the four out and sets `CUDA_VISIBLE_DEVICES`, which is all that placement is about.
"""

import os

import pytest

COUNT = 4


def pytest_collection_finish(session: pytest.Session) -> None:  # noqa: ARG001  pytest's signature
    """Set it before the first fixture starts a cluster, and for it alone what Ray itself would find."""
    os.environ["RAY_OVERRIDE_RESOURCES"] = f'{{"GPU": {COUNT}}}'
