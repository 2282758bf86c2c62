"""What every test shares: throw-away homes, and a note in the report of the group each test belongs to.

CI reads the groups from pytest's report and fails if one that must run was skipped.
"""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.fakes.home import Home, throwaway_home

GROUPS = ("sandbox", "registry", "keychain")

# A law does not fail because the machine is busy: no deadlines, and slow data is no fault of the code.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.fixture
def home() -> Iterator[Home]:
    """A throw-away Bulkhead home, marked as such; its daemon, if one was started, is stopped afterwards."""
    with throwaway_home() as made:
        yield made


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        groups = [name for name in GROUPS if item.get_closest_marker(name)]
        if item.nodeid.startswith("tests/e2e/"):
            groups.append("e2e")
        item.user_properties += [("group", group) for group in groups]
