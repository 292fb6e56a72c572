"""The timeline and the strip map of a report, as SVG text."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from html import escape

import cv2
import numpy as np

from spda_sam_core.results.draw import class_colour
from spda_sam_core.survey.clock import clock
from spda_sam_core.survey.cover import map_of
from spda_sam_core.survey.dive import Dive, Moment
from spda_sam_core.survey.findings import Finding

SIGHT_COLOURS = {"clear": "#9fc3d8", "dark": "#26303a", "glare": "#f4c542", "blank": "#8d8f91", "lost": "#c0392b"}
_COLUMNS = 600
_WIDTH, _HEIGHT = 1130, 96
_ROW_CELLS = (480, 1280)
"""Least and most cells of the strip in one row of its map."""
_MARK = 11


def colour_of(class_id: int) -> str:
    """The colour of a class as on the stills, for CSS."""
    return "#{:02x}{:02x}{:02x}".format(*class_colour(class_id))


def timeline(moments: list[Moment], findings: Iterable[Finding], class_ids: dict[str, int]) -> str:
    """What could be seen when, how many things each frame shows, and when each finding was seen first."""
    start, stop = moments[0].stamp_ns, max(m.stamp_ns for m in moments)
    span = max(stop - start, 1)
    worst: dict[int, str] = {}
    most: dict[int, int] = {}
    columns = min(_COLUMNS, len(moments))
    for moment in moments:
        column = min(int((moment.stamp_ns - start) * columns / span), columns - 1)
        if moment.sight != "clear" or column not in worst:
            worst[column] = moment.sight
        most[column] = max(most.get(column, 0), moment.things)
    width, top = _WIDTH / columns, max([*most.values(), 1])
    parts = [f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="timeline of the dive">']
    last = "lost"
    for column in range(columns):
        last = worst.get(column, last)  # between two frames it is as it was
        place = f'x="{column * width:.1f}" width="{width + 0.3:.1f}"'
        parts.append(f'<rect {place} y="58" height="12" fill="{SIGHT_COLOURS[last]}"/>')
        if most.get(column):
            height = 50 * most[column] / top
            parts.append(f'<rect {place} y="{56 - height:.1f}" height="{height:.1f}" fill="#c9d6df"/>')
    parts.append(f'<text x="2" y="11" font-size="11" fill="#5b6b78">things in a frame, at most {top}</text>')
    for f in findings:
        x = (f.first.stamp_ns - start) * (_WIDTH - 4) / span + 2
        parts.append(
            f'<a href="#f{f.number}" data-finding="{f.number}"><rect x="{x - 1.5:.1f}" y="50" width="3" height="20" '
            f'fill="{colour_of(class_ids[f.class_name])}" stroke="#16212b" stroke-width=".5"><title>{f.number} '
            f"{escape(f.class_name)} {clock(f.first.stamp_ns)}</title></rect></a>"
        )
    for k in range(6):
        anchor = ("start", "middle", "middle", "middle", "middle", "end")[k]
        text = clock(start + span * k // 5)
        parts.append(f'<text x="{_WIDTH * k / 5:.0f}" y="86" font-size="11" text-anchor="{anchor}">{text}</text>')
    return "".join(parts) + "</svg>"


def strip_map(dive: Dive, index: int, findings: list[Finding], class_ids: dict[str, int]) -> str:
    """What was seen of one piece of the strip, in rows from left to right, with its findings; empty where nothing."""
    strip = dive.strip
    drawn = map_of(strip.pieces[index], strip)
    if drawn is None:
        return ""
    height, width = drawn.rgb.shape[:2]
    row_px = int(np.clip(width, *_ROW_CELLS))
    zoom = _WIDTH / row_px
    places = {f.number: drawn.matrix @ (*f.best.place, 1.0) for f in findings if f.best.piece == index}
    per_px = 1 / float(np.hypot(drawn.matrix[0, 0], drawn.matrix[1, 0]))
    rows = []
    for left in range(0, width, row_px):
        part = drawn.rgb[:, left : left + row_px]
        if not len(part[0]) or (left and part.shape[1] < 3):
            continue
        _, jpeg = cv2.imencode(".jpg", np.ascontiguousarray(part[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, 85])
        content = base64.b64encode(jpeg.tobytes()).decode()
        shown_w, shown_h = part.shape[1] * zoom, height * zoom
        parts = [
            f'<svg class="map" viewBox="0 -4 {_WIDTH} {shown_h + 30:.0f}" role="img" aria-label="strip map">'
            f'<image href="data:image/jpeg;base64,{content}" width="{shown_w:.1f}" height="{shown_h:.1f}" '
            f'preserveAspectRatio="none"/><rect width="{shown_w:.1f}" height="{shown_h:.1f}" fill="none" '
            'stroke="#5b6b78"/>'
        ]
        step = _tick(row_px * per_px)
        first = int(np.ceil(left * per_px / step))
        for k in range(first, int((left + part.shape[1]) * per_px / step) + 1):
            x = (k * step / per_px - left) * zoom
            parts.append(f'<path d="M{x:.1f} {shown_h:.1f}v6" stroke="#16212b"/><text x="{x + 2:.1f}" ')
            parts.append(
                f'y="{shown_h + 18:.1f}" font-size="12">{k * step:g} {strip.unit if k == first else ""}</text>'
            )
        for f in findings:
            if f.number in places and left <= places[f.number][0] < left + row_px:
                x, y = (places[f.number] - (left, 0)) * zoom
                parts.append(
                    f'<a href="#f{f.number}" data-finding="{f.number}"><circle cx="{x:.1f}" cy="{y:.1f}" r="{_MARK}" '
                    f'fill="{colour_of(class_ids[f.class_name])}" stroke="#16212b" stroke-width="1.5"/>'
                    f'<text x="{x:.1f}" y="{y + 4:.1f}" font-size="11" font-weight="700" text-anchor="middle">'
                    f"{f.number}</text><title>{f.number} {escape(f.class_name)} {f.score:.2f}</title></a>"
                )
        rows.append("".join(parts) + "</svg>")
    return "".join(rows)


def _tick(span: float) -> float:
    """A round distance of which some eight make a row."""
    power = 10.0 ** np.floor(np.log10(span / 8))
    return float(next(step * power for step in (1, 2, 5, 10) if step * power >= span / 8 * 0.99))
