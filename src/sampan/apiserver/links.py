"""Links in pages that pass through the proxy: those that begin at the page's own root are led back through it.

Source: what kube-apiserver's proxy rewrites (k8s.io/apimachinery pkg/util/proxy); the HTML standard, "Attributes", for
which of them are links.
"""

from __future__ import annotations

import posixpath
import re
from urllib.parse import urlsplit, urlunsplit

# Of each element, the attributes that are links; "*" stands for all elements.
_LINKS = {
    "a": ("href",), "area": ("href",), "audio": ("src",), "base": ("href",), "blockquote": ("cite",),
    "body": ("background",), "button": ("formaction",), "del": ("cite",), "embed": ("src",), "form": ("action",),
    "frame": ("longdesc", "src"), "html": ("manifest",), "iframe": ("longdesc", "src"),
    "img": ("longdesc", "src", "usemap"), "input": ("formaction", "src", "usemap"), "ins": ("cite",),
    "link": ("href",), "object": ("classid", "codebase", "data", "usemap"), "q": ("cite",), "script": ("src",),
    "source": ("src",), "track": ("src",), "video": ("poster", "src"),
}  # fmt: skip
_TAG = re.compile(r"<([a-zA-Z][a-zA-Z0-9]*)\b([^<>]*)>")
_ATTRIBUTE = re.compile(r"""([a-zA-Z-]+)(\s*=\s*)("[^"]*"|'[^']*'|[^\s"'>]+)""")


def page(text: str, prefix: str, host: str) -> str:
    """The page with its links led through the proxy at `prefix`; `host` is whom the page believes to come from."""

    def tag(match: re.Match[str]) -> str:
        names = _LINKS.get(match[1].lower())
        if not names:
            return match[0]
        return f"<{match[1]}{_ATTRIBUTE.sub(lambda found: _attribute(found, names, prefix, host), match[2])}>"

    return _TAG.sub(tag, text)


def _attribute(match: re.Match[str], names: tuple[str, ...], prefix: str, host: str) -> str:
    if match[1].lower() not in names:
        return match[0]
    quote = match[3][0] if match[3][0] in "\"'" else ""
    value = match[3].strip(quote) if quote else match[3]
    return f"{match[1]}{match[2]}{quote}{link(value, prefix, host)}{quote}"


def link(url: str, prefix: str, host: str) -> str:
    """A link, through the proxy where it leads to the root of the page's own host."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url
    if (parts.netloc and parts.netloc != host) or not parts.path.startswith("/"):
        return url
    if parts.path.startswith(prefix):
        return url
    path = posixpath.normpath(prefix + parts.path)
    if parts.path.endswith("/"):
        path += "/"
    return urlunsplit(("", "", path, parts.query, parts.fragment))
