"""A server that runs elsewhere is granted nothing of this machine: it would only look like a wall."""

from dataclasses import replace
from pathlib import Path

import pytest

from broker.boxes import check_elsewhere
from broker.errors import SandboxError
from broker.model import Grants, Inspection, ServerName

FAR = ServerName("far")


@pytest.mark.parametrize(
    ("grants", "named"),
    [
        (Grants(read=(Path("/srv/notes"),)), "/srv/notes"),
        (Grants(write=(Path("/srv/notes"),)), "/srv/notes"),
        (Grants(hosts=("api.example.com",)), "api.example.com"),
        (replace(Grants(), inspection=Inspection()), "an inspection"),
        (Grants(state="server"), "a kept state"),
    ],
)
def test_what_means_nothing_elsewhere_is_refused_by_its_name(grants: Grants, named: str) -> None:
    with pytest.raises(SandboxError, match="far runs elsewhere") as refused:
        check_elsewhere(FAR, grants)
    assert named in str(refused.value) and refused.value.hint
    check_elsewhere(FAR, Grants())
