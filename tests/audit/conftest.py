"""What the audit tests share: a clock that stands still, one integrity key, facts."""

import pytest


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
