"""A sequence as an SVG picture: lifelines from left to right, time downwards, each message with its moment."""

from __future__ import annotations

from html import escape

from sampan.tracing.sequence import Message, Sequence, duration

COLUMN, ROW, TOP, LEFT = 190, 34, 96, 120
INK, FAINT, BLUE, RED, PAPER = "#1f2933", "#9aa5b1", "#0b69a3", "#ba2525", "#ffffff"


def draw(sequence: Sequence) -> str:
    """A whole SVG document."""
    at = {name: LEFT + COLUMN // 2 + i * COLUMN for i, name in enumerate(sequence.participants)}
    width = LEFT + COLUMN * max(1, len(at)) + 20
    height = TOP + ROW * (len(sequence.messages) + 1) + 30
    parts = [_head(sequence, width, height)]
    parts += [_lifeline(name, x, height) for name, x in at.items()]
    for row, message in enumerate(sequence.messages):
        parts.append(_message(message, at, TOP + ROW * (row + 1)))
    if sequence.left_out:
        parts.append(_text(LEFT, height - 10, f"{sequence.left_out} more messages", FAINT))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _head(sequence: Sequence, width: int, height: int) -> str:
    return f"""<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}"
 font-family="ui-sans-serif, system-ui, sans-serif" font-size="12">
<defs>
<marker id="end" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto-start-reverse">
<path d="M0 0 L8 4 L0 8 z" fill="context-stroke"/></marker>
</defs>
<rect width="100%" height="100%" fill="{PAPER}"/>
<text x="20" y="30" font-size="16" font-weight="600" fill="{INK}">{escape(sequence.title)}</text>
<text x="20" y="50" fill="{FAINT}">{len(sequence.messages)} messages in {duration(sequence.took)}</text>"""


def _lifeline(name: str, x: int, height: int) -> str:
    box = f'<rect x="{x - 85}" y="66" width="170" height="26" rx="5" fill="#eef2f6" stroke="{FAINT}"/>'
    label = _text(x, 83, _short(name, 26), INK, anchor="middle", weight="600")
    return f'{box}{label}<line x1="{x}" y1="92" x2="{x}" y2="{height - 20}" stroke="{FAINT}" stroke-dasharray="2 4"/>'


def _message(message: Message, at: dict[str, int], y: int) -> str:
    colour = RED if message.error else BLUE if message.told else INK
    text = message.text + (f" ×{message.times}" if message.times > 1 else "")
    when = _text(14, y + 4, f"+{duration(message.at)}", FAINT)
    hint = f"<title>{escape(f'{text}: {duration(message.took)} {message.error}')}</title>"
    source, target = at[message.source], at[message.target]
    if source == target:
        line = (
            f'<path d="M{source} {y - 6} h18 v10 h-14" fill="none" stroke="{colour}" marker-end="url(#end)"/>'
        )
        label = _text(source + 24, y + 3, _short(text, 40), colour)
    else:
        dash = ' stroke-dasharray="5 3"' if message.told else ""
        tip = target - 2 if target > source else target + 2
        line = f'<line x1="{source}" y1="{y}" x2="{tip}" y2="{y}" stroke="{colour}"{dash} marker-end="url(#end)"/>'
        room = abs(target - source) // 7
        label = _text((source + target) // 2, y - 5, _short(text, max(room, 24)), colour, anchor="middle")
    return f"<g>{hint}{when}{line}{label}</g>"


def _text(x: int, y: int, text: str, colour: str, *, anchor: str = "start", weight: str = "400") -> str:
    return (
        f'<text x="{x}" y="{y}" text-anchor="{anchor}" font-weight="{weight}" fill="{colour}" '
        f'paint-order="stroke" stroke="{PAPER}" stroke-width="3">{escape(text)}</text>'
    )


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
