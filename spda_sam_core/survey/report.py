"""`report.html`: the dive on one page that needs no other file, for a screen and for paper."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, fields
from html import escape
from pathlib import Path

from spda_sam_core.survey.clock import clock
from spda_sam_core.survey.cover import Section, sections_of
from spda_sam_core.survey.dive import Dive
from spda_sam_core.survey.drawings import SIGHT_COLOURS, colour_of, strip_map, timeline
from spda_sam_core.survey.findings import Finding
from spda_sam_core.survey.occasion import Occasion
from spda_sam_core.survey.page import SCRIPT, STYLE

LEAST_FRAMES = 2
"""What is seen in fewer frames is not counted: most of what the network makes up is gone in the next frame."""
_EMBEDDED_BYTES = 30_000_000
"""Of stills in the page; those of further findings, the smallest, are linked."""
_SHORTEST_PIECE = 3
"""Frames; shorter pieces are counted, not drawn."""
_NAMES = {"imo_number": "IMO number"}


@dataclass(frozen=True)
class Origin:
    """What made a report.

    Attributes:
        source: name of the input.
        model: preset or file of the checkpoint.
        checkpoint_sha256: its hash.
        terms: what it may be used for; empty: as this package's licence says.
        threshold: lowest score of a new thing.
        class_names: of the model.
        link_of: address of a frame, from its name and its seconds; empty where there is none.
    """

    source: str
    model: str
    checkpoint_sha256: str
    terms: tuple[str, ...]
    threshold: float
    class_names: tuple[str, ...]
    link_of: Callable[[str, float], str]


def write_report(path: Path, dive: Dive, occasion: Occasion, origin: Origin) -> None:
    """Write the page; stills are read from `stills/` beside it.

    Raises:
        ValueError: a dive without a frame.
    """
    if not dive.moments:
        raise ValueError(f"{origin.source}: not one frame: there is nothing to report")
    title = str(occasion.ship) or origin.source
    class_ids = {name: i for i, name in enumerate(origin.class_names)}
    counted = [f for f in dive.findings if f.frames >= LEAST_FRAMES]
    body = [
        f"<h1>Underwater survey: {escape(title)}</h1>",
        _head(occasion, origin, dive),
        _totals(dive, counted, class_ids),
        "<h2>Timeline</h2>",
        timeline(dive.moments, dive.findings, class_ids),
        _sight_legend(dive),
        _maps(dive, counted, class_ids),
        _gallery(path.parent, dive, class_ids, origin),
        _problems(dive),
        _origin(origin),
    ]
    page = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>Survey: {escape(title)}</title><style>{STYLE}</style></head><body><main>{''.join(body)}</main>"
        f"<script>{SCRIPT}</script></body></html>\n"
    )
    path.write_text(page, encoding="utf-8")


def _head(occasion: Occasion, origin: Origin, dive: Dive) -> str:
    rows = [(_NAMES.get(f.name, f.name.capitalize()), str(getattr(occasion, f.name))) for f in fields(occasion)]
    length_s = max(m.stamp_ns for m in dive.moments) - dive.moments[0].stamp_ns
    rows += [("Recording", origin.source), ("Length", f"{clock(length_s)}, {len(dive.moments)} frames looked at")]
    facts = "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in rows)
    return (
        f'<dl class="facts">{facts}</dl><div class="confirm"><b>A person must confirm this.</b> A program found what '
        "is shown here; it misses things and takes things for others. It is no rating and no statement of class. "
        '<div class="sign"><span>confirmed by</span><span>date</span><span>signature</span></div></div>'
    )


def _totals(dive: Dive, counted: list[Finding], class_ids: dict[str, int]) -> str:
    once = len(dive.findings) - len(counted)
    clear = sum(m.sight == "clear" for m in dive.moments) / len(dive.moments)
    sections = sections_of(dive.strip)
    seen = sum(s.seen for s in sections)
    covered = sum(s.seen * s.covered for s in sections) / seen if seen else 0.0
    metric = dive.strip.unit == "m"
    boxes = [
        ("findings", str(len(counted))),
        ("seen in one frame only", str(once)),
        ("frames with sight", f"{clear:.0%}"),
    ]
    boxes.append(("way passed", _length(sum(p.length for p in dive.strip.pieces), dive.strip.unit)))
    # where two pieces lie is not known, so neither is what they share
    seen_name = "hull seen" if len(dive.strip.pieces) == 1 else "hull seen; twice where pieces overlap"
    boxes.append((seen_name, f"{seen:.1f} m²" if metric else f"{seen:.1f} sq. picture widths"))
    boxes.append(("marine growth, of what was seen", f"{covered:.1%}"))
    text = "".join(f"<div><b>{value}</b>{name}</div>" for name, value in boxes)
    by_class: dict[str, list[Finding]] = {}
    for f in counted:
        by_class.setdefault(f.class_name, []).append(f)
    rows = []
    for name, found in sorted(by_class.items(), key=lambda item: -len(item[1])):
        areas = [f.area_m2 for f in found if f.area_m2 is not None]
        sizes = [f"{sum(areas):.3f}", f"{max(areas):.3f}"] if areas else ["", ""]
        cells = "".join(f'<td class="n">{size}</td>' for size in sizes) if metric else ""
        rows.append(
            f'<tr><td><span class="dot" style="background:{colour_of(class_ids[name])}"></span>{escape(name)}</td>'
            f'<td class="n">{len(found)}</td>{cells}<td class="n">{max(f.score for f in found):.2f}</td></tr>'
        )
    sizes_named = '<th class="n">area together, m²</th><th class="n">largest, m²</th>' if metric else ""
    table = (
        f'<table><tr><th>class</th><th class="n">findings</th>{sizes_named}'
        f'<th class="n">best score</th></tr>{"".join(rows)}</table>'
    )
    same = sum(bool(f.possibly_same) for f in counted)
    note = f'<p class="quiet">{same} of them may be one that was seen before; each says which.</p>' if same else ""
    nothing = "<p>Nothing was found in two or more frames.</p>"
    return f'<h2>Totals</h2><div class="totals">{text}</div>{table if rows else nothing}{note}'


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
        text.append(f"<h3>Piece {k + 1}: {start} to {stop}, {_length(piece.length, strip.unit)}</h3>{drawn}")
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


def _gallery(folder: Path, dive: Dive, class_ids: dict[str, int], origin: Origin) -> str:
    groups: dict[str, list[Finding]] = {}
    by_size = sorted(dive.findings, key=_size, reverse=True)
    for f in by_size:
        groups.setdefault(f.class_name, []).append(f)
    left, embedded = _EMBEDDED_BYTES, {}
    for f in sorted(by_size, key=lambda f: f.frames < LEAST_FRAMES):
        still = folder / "stills" / f"{f.number:05d}.jpg"
        left -= still.stat().st_size
        if left < 0:
            break
        embedded[f.number] = base64.b64encode(still.read_bytes()).decode()
    boxes = "".join(
        f'<label><input type="checkbox" name="class" value="{escape(n)}" checked> <span class="dot" '
        f'style="background:{colour_of(class_ids[n])}"></span>{escape(n)}</label>'
        for n in sorted(groups)
    )
    filters = (
        f'<form class="filters">{boxes}<label>score from <input type="range" id="score" min="0" max="1" step="0.05" '
        'value="0"><output>0.00</output></label><label><input type="checkbox" id="once"> seen in one frame only</label>'
        '<label>order <select id="order"><option value="size">largest first</option><option value="scored">surest first'
        '</option><option value="time">by time</option></select></label><span id="shown" class="quiet"></span></form>'
    )
    text = ["<h2>Findings</h2>", filters if groups else "<p>None.</p>"]
    for name, found in sorted(groups.items(), key=lambda item: -_size(item[1][0])):
        counted = sum(f.frames >= LEAST_FRAMES for f in found)
        cards = "".join(_card(f, embedded.get(f.number), origin) for f in found)
        text.append(
            f'<section class="group"><h3><span class="dot" style="background:{colour_of(class_ids[name])}"></span>'
            f'{escape(name)}: {counted}</h3><div class="gallery">{cards}</div></section>'
        )
    return "".join(text)


def _card(f: Finding, still: str | None, origin: Origin) -> str:
    once = f.frames < LEAST_FRAMES
    link = origin.link_of(f.best.frame, f.best.stamp_ns / 1e9)
    frame = escape(f.best.frame)
    lines = [f"score {f.score:.2f}, track {' '.join(map(str, f.tracks))}"]
    if f.area_m2 is not None and f.largest_m2 is not None:
        lines.append(f"{f.area_m2:.4f} m² (largest view {f.largest_m2:.4f})")
    lines.append(f"{f.largest_px} pixels at most")
    if f.best.point_m is not None:
        lines.append(f"{sum(v * v for v in f.best.point_m) ** 0.5:.2f} m from the camera")
    lines.append(f"{clock(f.first.stamp_ns)} to {clock(f.last.stamp_ns)}, in {f.frames} frames")
    shown = f'<a href="{escape(link)}">{frame}</a>' if link else frame
    lines.append(f"best at {clock(f.best.stamp_ns)}: {shown}")
    if f.possibly_same:
        links = ", ".join(f'<a href="#f{n}">{n}</a>' for n in f.possibly_same[:6])
        lines.append(f"<b>possibly the same as {links}</b>{' and more' if len(f.possibly_same) > 6 else ''}")
    picture = f'<a class="nostill" href="stills/{f.number:05d}.jpg">still</a>'
    if still is not None:
        picture = f'<img alt="finding {f.number}" loading="lazy" src="data:image/jpeg;base64,{still}">'
    return (
        f'<article class="card{" once" if once else ""}" id="f{f.number}" data-number="{f.number}" '
        f'data-class="{escape(f.class_name)}" data-score="{f.score:.4f}" data-scored="{f.score:.4f}" '
        f'data-once="{int(once)}" data-size="{_size(f):.6f}" data-time="{f.first.stamp_ns}">{picture}'
        f'<div class="text"><h4>{f.number} &ensp;{escape(f.class_name)}</h4>{"<br>".join(lines)}</div></article>'
    )


def _problems(dive: Dive) -> str:
    if not dive.problems:
        return ""
    rows = "".join(f"<li>{escape(p)}</li>" for p in dive.problems)
    return f"<h2>Skipped and noticed</h2><ul>{rows}</ul>"


def _origin(origin: Origin) -> str:
    terms = "; ".join(origin.terms) or "Apache-2.0, as this package"
    rows = [
        ("model", origin.model), ("checkpoint", f"SHA-256 {origin.checkpoint_sha256 or 'unknown'}"), ("licence", terms),
        ("threshold", f"{origin.threshold:g}"), ("counted", f"what is seen in {LEAST_FRAMES} frames or more"),
        ("classes", ", ".join(origin.class_names)),
    ]  # fmt: skip
    facts = "".join(f"<tr><th>{k}</th><td>{escape(v)}</td></tr>" for k, v in rows)
    return f"<h2>Made by</h2><table>{facts}</table>"


def _length(length: float, unit: str) -> str:
    return f"{length:.1f} {unit}"


def _size(f: Finding) -> float:
    """For the order: square metres, else pixels; those never meet, as whole dives have depth or not."""
    return f.area_m2 if f.area_m2 is not None else float(f.largest_px) * 1e-9
