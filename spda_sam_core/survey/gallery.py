"""The findings of a report as cards by class, worst first, of one dive or of several together."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from spda_sam_core.survey.clock import clock
from spda_sam_core.survey.drawings import colour_of
from spda_sam_core.survey.facts import Facts
from spda_sam_core.survey.findings import Finding

_EMBEDDED_BYTES = 30_000_000
"""Of stills in the page; those of further findings, the smallest, are linked."""


class _Card(NamedTuple):
    finding: Finding
    dive: Facts
    before: str
    """What stands before the finding's number, so that those of several dives differ."""

    @property
    def key(self) -> str:
        return f"{self.before}{self.finding.number}"

    @property
    def still(self) -> str:
        return f"{self.dive.folder}stills/{self.finding.number:05d}.jpg"


def gallery(dives: Sequence[Facts], folder: Path, class_ids: dict[str, int]) -> str:
    """All findings, with filters.

    Args:
        dives: whose findings to show; those of several are numbered "dive-finding".
        folder: of the page; the stills lie in it or in the folders of the dives below it.
        class_ids: of the model, by name.
    """
    several = len(dives) > 1
    cards = [
        _Card(finding, dive, f"{k}-" if several else "")
        for k, dive in enumerate(dives, start=1)
        for finding in dive.findings
    ]
    cards.sort(key=lambda card: _size(card.finding), reverse=True)
    groups: dict[str, list[_Card]] = {}
    for card in cards:
        groups.setdefault(card.finding.class_name, []).append(card)
    embedded = _embedded(cards, folder)
    boxes = "".join(
        f'<label><input type="checkbox" name="class" value="{escape(n)}" checked> <span class="dot" '
        f'style="background:{colour_of(class_ids[n])}"></span>{escape(n)}</label>'
        for n in sorted(groups)
    )
    filters = (
        f'<form class="filters">{boxes}<label>score from <input type="range" id="score" min="0" max="1" step="0.05" '
        'value="0"><output>0.00</output></label><label><input type="checkbox" id="unsure"> unsure, not counted</label>'
        '<label>order <select id="order"><option value="size">largest first</option><option value="scored">surest first'
        '</option><option value="time">by time</option></select></label><span id="shown" class="quiet"></span></form>'
    )
    text = ["<h2>Findings</h2>", filters if groups else "<p>None.</p>"]
    for name, found in sorted(groups.items(), key=lambda item: -_size(item[1][0].finding)):
        counted = sum(card.dive.counts(card.finding) for card in found)
        shown = "".join(_drawn(card, embedded.get(card.key), named=several) for card in found)
        text.append(
            f'<section class="group"><h3><span class="dot" style="background:{colour_of(class_ids[name])}"></span>'
            f'{escape(name)}: {counted}</h3><div class="gallery">{shown}</div></section>'
        )
    return "".join(text)


def _embedded(cards: Sequence[_Card], folder: Path) -> dict[str, str]:
    """The stills that are in the page itself, as base64 by key: those that count before those that do not."""
    left, embedded = _EMBEDDED_BYTES, {}
    for card in sorted(cards, key=lambda card: not card.dive.counts(card.finding)):
        still = folder / card.still
        left -= still.stat().st_size
        if left < 0:
            break
        embedded[card.key] = base64.b64encode(still.read_bytes()).decode()
    return embedded


def _drawn(card: _Card, still: str | None, *, named: bool) -> str:
    f, key = card.finding, card.key
    unsure = not card.dive.counts(f)
    link = card.dive.links[f.number]
    frame = escape(f.best.frame)
    lines = [f"in {escape(card.dive.source)}"] if named else []
    lines.append(f"score {f.score:.2f} (mean {f.mean_score:.2f}), track {' '.join(map(str, f.tracks))}")
    if f.area_m2 is not None and f.largest_m2 is not None:
        lines.append(f"{f.area_m2:.4f} m² (largest view {f.largest_m2:.4f})")
    lines.append(f"{f.largest_px} pixels at most")
    if f.best.point_m is not None:
        lines.append(f"{sum(v * v for v in f.best.point_m) ** 0.5:.2f} m from the camera")
    lines.append(f"{clock(f.first.stamp_ns)} to {clock(f.last.stamp_ns)}, in {f.frames} frames")
    shown = f'<a href="{escape(quote(card.dive.folder) + link)}">{frame}</a>' if link else frame
    lines.append(f"best at {clock(f.best.stamp_ns)}: {shown}")
    if f.possibly_same:
        links = ", ".join(f'<a href="#f{card.before}{n}">{card.before}{n}</a>' for n in f.possibly_same[:6])
        lines.append(f"<b>possibly the same as {links}</b>{' and more' if len(f.possibly_same) > 6 else ''}")
    picture = f'<a class="nostill" href="{quote(card.still)}">still</a>'
    if still is not None:
        picture = f'<img alt="finding {key}" loading="lazy" src="data:image/jpeg;base64,{still}">'
    return (
        f'<article class="card{" unsure" if unsure else ""}" id="f{key}" data-number="{key}" '
        f'data-class="{escape(f.class_name)}" data-score="{f.score:.4f}" data-scored="{f.score:.4f}" '
        f'data-unsure="{int(unsure)}" data-size="{_size(f):.6f}" data-time="{f.first.stamp_ns}">{picture}'
        f'<div class="text"><h4>{key} &ensp;{escape(f.class_name)}</h4>{"<br>".join(lines)}</div></article>'
    )


def _size(f: Finding) -> float:
    """For the order: square metres, else pixels, which come behind them."""
    return f.area_m2 if f.area_m2 is not None else float(f.largest_px) * 1e-9
