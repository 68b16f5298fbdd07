"""The grammar: what a Dockerfile says, and what is wrong with it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.engine.build import words
from sampan.engine.build.dockerfile import DockerfileError, parse
from sampan.engine.build.ignore import compile, glob
from sampan.engine.build.plan import needed, stages


def test_lines_are_joined_comments_dropped_and_flags_taken_off() -> None:
    [first, copy, run] = parse(
        "# syntax=docker/dockerfile:1\n\nfrom --platform=linux/amd64 x as y\n"
        "  COPY --chown=1:2 \\\n# inside\n\n  a b\nRUN a \\\n  && b\n"
    ).instructions
    assert (first.keyword, first.flags, first.rest, first.line) == (
        "FROM",
        {"platform": "linux/amd64"},
        "x as y",
        3,
    )
    assert (copy.flags, copy.rest, copy.line) == ({"chown": "1:2"}, "a b", 4)
    assert run.rest == "a   && b"


def test_another_escape_character() -> None:
    parsed = parse("# escape=`\nFROM x\nRUN dir C:\\ `\n  && b\n")
    assert parsed.escape == "`"
    assert parsed.instructions[1].rest == "dir C:\\   && b"


def test_json_form_or_shell_form() -> None:
    found = parse('FROM x\nCMD ["a", "b c"]\nRUN [ -f /x ] && y\nCMD ["a", 1]\n').instructions
    assert [i.words for i in found] == [None, ("a", "b c"), None, None]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "line 1: file with no instructions"),
        ("RUN x\n", "line 1: no build stage in current context"),
        ("FROM x\nRUN\n", "line 2: RUN requires at least one argument"),
        ("FROM x\nCOPY --foo=1 a b\n", "line 2: unknown flag: --foo"),
        ("FROM x\nRUN <<EOF\na\n", "line 2: unterminated heredoc EOF"),
        ("# escape=x\nFROM y\n", "line 1: invalid ESCAPE"),
    ],
)
def test_what_is_wrong(text: str, says: str) -> None:
    with pytest.raises(DockerfileError, match=says):
        parse(text)


@given(st.text(alphabet=st.sampled_from("FROM xRUN\n\\#<EO[]\"'$ {}=-"), max_size=80))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        parse(text)
    except DockerfileError:
        pass


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("$A", "1"), ("${A}b", "1b"), ("$AB", ""), ("${X:-d}", "d"), ("${E:-d}", "d"), ("${E-d}", ""), ("${A:+y}", "y"),
        ("${X+y}", ""), ("'$A'", "$A"), ('"$A b"', "1 b"), (r"\$A", "$A"), ("${X:-$A}", "1"), ("a$", "a$"),
    ],
)  # fmt: skip
def test_variables(text: str, value: str) -> None:
    assert words.expand(text, {"A": "1", "E": ""}) == value


def test_words_and_pairs() -> None:
    assert words.split('a "b c" d\\ e ""', {}) == ["a", "b c", "d e", ""]
    assert words.pairs("A=1 B='x y'", {}) == [("A", "1"), ("B", "x y")]
    assert words.pairs("A the whole rest", {}) == [("A", "the whole rest")]
    with pytest.raises(words.WordError, match="X: must be set"):
        words.expand("${X:?must be set}", {})


@given(st.text(alphabet=st.sampled_from("ab$ {}:-+?\"'\\"), max_size=30))
def test_any_word_is_expanded_or_refused(text: str) -> None:
    try:
        words.split(text, {"a": "1"})
    except words.WordError:
        pass


@pytest.mark.parametrize(
    ("pattern", "matches", "others"),
    [
        ("*.txt", ["a.txt"], ["d/a.txt", "a.md"]),
        ("**/*.txt", ["a.txt", "d/e/a.txt"], ["a.md"]),
        ("a/**", ["a/b", "a/b/c"], ["b"]),
        ("a?[0-9]", ["ab1"], ["ab", "a/1"]),
        ("[^a]", ["b"], ["a"]),
    ],
)
def test_patterns(pattern: str, matches: list[str], others: list[str]) -> None:
    assert all(glob(pattern).fullmatch(m) for m in matches)
    assert not any(glob(pattern).fullmatch(m) for m in others)


def test_the_last_rule_that_matches_decides() -> None:
    ignored = compile("# comment\n*.md\n!README.md\n/build/\ndocs\n!docs/keep\n")
    assert [p for p in ("a.md", "README.md", "build/x/y", "docs/a", "docs/keep", "src/a.md") if ignored(p)] == [
        "a.md", "build/x/y", "docs/a",
    ]  # fmt: skip


def test_only_the_stages_a_target_needs() -> None:
    text = "ARG B=x\nFROM $B AS a\nFROM y AS b\nCOPY --from=a /1 /1\nFROM z AS c\nFROM b\n"
    found, declared = stages(parse(text), {})
    assert declared == {"B": "x"}
    assert [(s.name, s.base) for s in found] == [("a", "x"), ("b", "y"), ("c", "z"), ("", "b")]
    assert [s.index for s in needed(found)] == [0, 1, 3]
    assert [s.index for s in needed(found, "c")] == [2]
