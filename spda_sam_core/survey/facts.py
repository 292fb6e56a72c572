"""What a report says of one dive in numbers, and its findings: small, so that it can come from another machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from spda_sam_core.survey.cover import sections_of
from spda_sam_core.survey.dive import Dive
from spda_sam_core.survey.findings import Finding

LEAST_FRAMES = 2
"""What is seen in fewer frames is not counted: much of what the network makes up is gone in the next frame."""
COUNT_FROM = 0.6
"""What scores less in the mean of its frames is not counted, unless asked for: most of what the network makes up on
hulls like those that it learned from stays below it."""


@dataclass
class Facts:
    """One dive.

    Attributes:
        source: name of the input.
        folder: of its files, relative to the page, with a slash at its end; empty: beside it.
        findings: each thing once.
        links: by a finding's number the address of the frame that shows it best, relative to the dive's folder; empty
            where there is none.
        unit: "m" or "picture widths".
        way: length of the camera's way.
        seen: area of what was seen, square units.
        covered: how much of that shows macrofouling, square units.
        pieces: of the strip.
        frames: that were looked at.
        clear: of them, those that show something.
        lost: of them, those that could not be read.
        length_ns: from the first frame to the last.
        problems: what was skipped, and what was noticed.
        failed: why the dive could not be surveyed; empty where it was.
        count_from: least mean score of a finding that counts.
    """

    source: str
    folder: str = ""
    findings: list[Finding] = field(default_factory=list)
    links: dict[int, str] = field(default_factory=dict)
    unit: str = "m"
    way: float = 0.0
    seen: float = 0.0
    covered: float = 0.0
    pieces: int = 0
    frames: int = 0
    clear: int = 0
    lost: int = 0
    length_ns: int = 0
    problems: list[str] = field(default_factory=list)
    failed: str = ""
    count_from: float = COUNT_FROM

    @property
    def counted(self) -> list[Finding]:
        """The findings that count."""
        return [f for f in self.findings if self.counts(f)]

    def counts(self, finding: Finding) -> bool:
        """Whether a finding of this dive is sure enough to be counted."""
        return finding.frames >= LEAST_FRAMES and finding.mean_score >= self.count_from


def facts_of(dive: Dive, source: str, link_of: Callable[[str, float], str], *, count_from: float = COUNT_FROM) -> Facts:
    """Sum up a dive.

    Args:
        dive: what was found.
        source: name of the input.
        link_of: address of a frame, from its name and its seconds; empty where there is none.
        count_from: least mean score of a finding that counts.

    Raises:
        ValueError: a dive without a frame.
    """
    if not dive.moments:
        raise ValueError(f"{source}: not one frame: there is nothing to report")
    sections = sections_of(dive.strip)
    return Facts(
        source=source,
        findings=dive.findings,
        links={f.number: link_of(f.best.frame, f.best.stamp_ns / 1e9) for f in dive.findings},
        unit=dive.strip.unit,
        way=sum(piece.length for piece in dive.strip.pieces),
        seen=sum(s.seen for s in sections),
        covered=sum(s.seen * s.covered for s in sections),
        pieces=len(dive.strip.pieces),
        frames=len(dive.moments),
        clear=sum(m.sight == "clear" for m in dive.moments),
        lost=sum(m.sight == "lost" for m in dive.moments),
        length_ns=max(m.stamp_ns for m in dive.moments) - dive.moments[0].stamp_ns,
        problems=dive.problems,
        count_from=count_from,
    )
