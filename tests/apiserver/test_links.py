"""Links in proxied pages: those to the page's own root lead back through the proxy, all others stay."""

from __future__ import annotations

import pytest

from sampan.apiserver.links import link, page

PREFIX, HOST = "/api/v1/namespaces/default/pods/p/proxy", "10.0.0.1:80"


@pytest.mark.parametrize(
    ("url", "there"),
    [
        ("/a/b", f"{PREFIX}/a/b"),
        ("/a/?x=1#y", f"{PREFIX}/a/?x=1#y"),
        ("/", f"{PREFIX}/"),
        ("http://10.0.0.1:80/a", f"{PREFIX}/a"),
        ("a/b", "a/b"),
        ("http://example.com/a", "http://example.com/a"),
        (f"{PREFIX}/a", f"{PREFIX}/a"),
        ("http://[bad", "http://[bad"),
    ],
)
def test_where_a_link_leads(url: str, there: str) -> None:
    assert link(url, PREFIX, HOST) == there


def test_only_attributes_that_are_links_change() -> None:
    text = """<p title="/a"><a class=x href="/a">/a</a><IMG SRC='/i.png'><script src=/s.js></script> 1 < 2 </p>"""
    assert page(text, "/p", HOST) == (
        """<p title="/a"><a class=x href="/p/a">/a</a><IMG SRC='/p/i.png'><script src=/p/s.js></script> 1 < 2 </p>"""
    )
