"""The network as it is: the tests of other folders have a shallow one."""

import pytest


@pytest.fixture(scope="module", autouse=True)
def whole(whole_network: None) -> None:
    """Have the whole MobileFaceNet."""
