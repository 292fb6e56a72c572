"""`report.html`: the dive on one page that needs no other file, for a screen and for paper."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from html import escape
from pathlib import Path

from spda_sam_core.survey.clock import clock
from spda_sam_core.survey.cover import Section, sections_of
from spda_sam_core.survey.dive import Dive
from spda_sam_core.survey.drawings import SIGHT_COLOURS, strip_map, timeline
from spda_sam_core.survey.facts import LEAST_FRAMES, Facts
from spda_sam_core.survey.findings import Finding
from spda_sam_core.survey.gallery import gallery
from spda_sam_core.survey.occasion import Occasion
from spda_sam_core.survey.page import page_of
from spda_sam_core.survey.totals import length_of, totals

_SHORTEST_PIECE = 3
"""Frames; shorter pieces are counted, not drawn."""
_NAMES = {"imo_number": "IMO number"}


@dataclass(frozen=True)
class Origin:
    """What made a report.

    Attributes:
        model: preset or file of the checkpoint.
        checkpoint_sha256: its hash.
        terms: what it may be used for; empty: as this package's licence says.
        threshold: lowest score of a new thing.
        count_from: least mean score of a finding that counts.
        class_names: of the model.
    """

    model: str
    checkpoint_sha256: str
    terms: tuple[str, ...]
    threshold: float
    count_from: float
    class_names: tuple[str, ...]


def write_report(path: Path, dive: Dive, facts: Facts, occasion: Occasion, origin: Origin) -> None:
    """Write the page of one dive; stills are read from `stills/` beside it."""
    title = str(occasion.ship) or facts.source
    class_ids = {name: i for i, name in enumerate(origin.class_names)}
    body = [
        f"<h1>Underwater survey: {escape(title)}</h1>",
        head(occasion, facts.source, facts.frames, facts.length_ns),
        totals([facts], class_ids),
        "<h2>Timeline</h2>",
        timeline(dive.moments, dive.findings, class_ids),
        _sight_legend(dive),
        _maps(dive, facts.counted, class_ids),
        gallery([facts], path.parent, class_ids),
        problems_list(facts.problems),
        origin_table(origin),
    ]
    path.write_text(page_of(title, body), encoding="utf-8")


def head(occasion: Occasion, recording: str, frames: int, length_ns: int) -> str:
    """What people know of the survey, and the line that a person must confirm."""
    rows = [(_NAMES.get(f.name, f.name.capitalize()), str(getattr(occasion, f.name))) for f in fields(occasion)]
    rows += [("Recording", recording), ("Length", f"{clock(length_ns)}, {frames} frames looked at")]
    facts = "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in rows)
    return (
        f'<dl class="facts">{facts}</dl><div class="confirm"><b>A person must confirm this.</b> A program found what '
        "is shown here; it misses things and takes things for others. It is no rating and no statement of class. "
        '<div class="sign"><span>confirmed by</span><span>date</span><span>signature</span></div></div>'
    )


def _sight_legend(dive: Dive) -> str:
    count = Counter(m.sight for m in dive.moments)
    names = {"lost": "no picture", "blank": "blank picture", "clear": "something to see"}
    return (
        '<p class="quiet">'
        + " &ensp; ".join(
            f'<span class="dot" style="background:{SIGHT_COLOURS[sight]}"></span>{names.get(sight, sight)}: {n} frames'
            for sight, n in count.most_common()
        )
        + "</p>"
    )


def _maps(dive: Dive, counted: list[Finding], class_ids: dict[str, int]) -> str:
    strip = dive.strip
    long = [k for k, piece in enumerate(strip.pieces) if len(piece.frames) >= _SHORTEST_PIECE]
    short = len(strip.pieces) - len(long)
    text = [
        "<h2>Seen and not seen</h2>",
        f"<p>The hull as it was passed, laid out from the camera's motion, in {strip.unit}. White was not seen. "
        "Numbers are findings. Where the motion was lost a new piece begins: how far it lies from the one before is "
        "not known, and the same place may be on two pieces.</p>",
    ]
    if strip.unit != "m":
        text.append('<p class="quiet">No depth with intrinsics: lengths are widths of a piece\'s first picture.</p>')
    sections: dict[int, list[Section]] = {}
    for section in sections_of(strip):
        sections.setdefault(section.piece, []).append(section)
    for k in long:
        piece = strip.pieces[k]
        drawn = strip_map(dive, k, counted, class_ids)
        start, stop = (clock(dive.moments[n].stamp_ns) for n in (piece.frames[0], piece.frames[-1]))
        text.append(f"<h3>Piece {k + 1}: {start} to {stop}, {length_of(piece.length, strip.unit)}</h3>{drawn}")
        if not drawn:
            text.append('<p class="quiet">Nothing could be seen on it.</p>')
            continue
        rows = "".join(
            f'<tr><td>{s.start:.1f} to {s.stop:.1f}</td><td class="n">{s.seen:.2f}</td>'
            f'<td class="n">{s.covered:.1%}</td><td><div class="bar"><i style="width:{s.covered:.1%}"></i></div></td>'
            "</tr>"
            for s in sections[k]
        )
        text.append(
            f'<table><tr><th>section, {strip.unit}</th><th class="n">seen, square {strip.unit}</th>'
            f'<th class="n">marine growth</th><th></th></tr>{rows}</table>'
        )
    if short:
        text.append(
            f'<p class="quiet">{short} pieces of fewer than {_SHORTEST_PIECE} frames are not drawn: the motion could '
            "not be followed there. Their findings are in the gallery.</p>"
        )
    text.append(
        '<p class="quiet">Marine growth: of the area seen, what the network calls marine growth. Slime and bare hull '
        "look alike to it, and a fouling rating is for a person to give.</p>"
    )
    return "".join(text)


def problems_list(problems: Sequence[str]) -> str:
    """What was skipped and noticed, as a list; nothing where there is nothing."""
    if not problems:
        return ""
    rows = "".join(f"<li>{escape(p)}</li>" for p in problems)
    return f"<h2>Skipped and noticed</h2><ul>{rows}</ul>"


def origin_table(origin: Origin) -> str:
    """What made the report."""
    terms = "; ".join(origin.terms) or "Apache-2.0, as this package"
    rows = [
        ("model", origin.model), ("checkpoint", f"SHA-256 {origin.checkpoint_sha256 or 'unknown'}"), ("licence", terms),
        ("threshold", f"{origin.threshold:g}"),
        ("counted", f"what is seen in {LEAST_FRAMES} frames or more, with a mean score from {origin.count_from:g} on"),
        ("classes", ", ".join(origin.class_names)),
    ]  # fmt: skip
    facts = "".join(f"<tr><th>{k}</th><td>{escape(v)}</td></tr>" for k, v in rows)
    return f"<h2>Made by</h2><table>{facts}</table>"
