"""The network of the wall, for the command."""

import pytest
from wall import SeesDiscs

from spda_sam_core.spda_sam import SpdaSam


@pytest.fixture
def model(monkeypatch):
    made = SeesDiscs()
    monkeypatch.setattr(SpdaSam, "from_pretrained", lambda *_, **__: made)
    return made
