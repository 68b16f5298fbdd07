"""A sequence as lines for a terminal: when, who to whom, what, how long."""

from __future__ import annotations

from sampan.tracing.sequence import Message, Sequence, duration


def draw(sequence: Sequence) -> str:
    """The lines, ending in a newline."""
    rows = [_row(m) for m in sequence.messages]
    widths = [max((len(row[i]) for row in rows), default=0) for i in range(3)]
    lines = [f"{sequence.title}  ({duration(sequence.took)})", ""]
    lines += [f"{a:>{widths[0]}}  {b:<{widths[1]}}  {c:<{widths[2]}}  {d}".rstrip() for a, b, c, d in rows]
    if sequence.left_out:
        lines.append(f"... and {sequence.left_out} more messages")
    return "\n".join(lines) + "\n"


def _row(message: Message) -> tuple[str, str, str, str]:
    """The cells of one message. A dashed arrow is what was learnt by watching."""
    arrow = "⇢" if message.told else "→"
    who = message.source if message.source == message.target else f"{message.source} {arrow} {message.target}"
    what = f"{message.text}{f' ×{message.times}' if message.times > 1 else ''}"
    took = f"✗ {message.error}" if message.error else duration(message.took)
    return f"+{duration(message.at)}", who, what, took
