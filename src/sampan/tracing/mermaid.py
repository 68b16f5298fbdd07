"""A sequence as Mermaid text (https://mermaid.js.org/syntax/sequenceDiagram.html), which GitHub and others draw."""

from __future__ import annotations

import re

from sampan.tracing.sequence import Message, Sequence, duration


def draw(sequence: Sequence) -> str:
    """The diagram's text, ending in a newline."""
    names = {name: f"p{i}" for i, name in enumerate(sequence.participants)}
    lines = ["sequenceDiagram", f"  title {_plain(sequence.title)} ({duration(sequence.took)})"]
    lines += [f"  participant {short} as {_plain(name)}" for name, short in names.items()]
    lines += [_line(m, names) for m in sequence.messages]
    if sequence.left_out:
        first, last = names[sequence.participants[0]], names[sequence.participants[-1]]
        lines.append(f"  Note over {first},{last}: {sequence.left_out} more messages")
    return "\n".join(lines) + "\n"


def _line(message: Message, names: dict[str, str]) -> str:
    arrow = "--)" if message.told else "->>"
    if message.error:
        arrow = "-x"
    text = f"{_plain(message.text)}{f' ×{message.times}' if message.times > 1 else ''}"
    return f"  {names[message.source]}{arrow}{names[message.target]}: +{duration(message.at)} {text}"


def _plain(text: str) -> str:
    """Without what Mermaid would read as syntax."""
    return re.sub(r"[;#\n\r<>]", " ", text)
