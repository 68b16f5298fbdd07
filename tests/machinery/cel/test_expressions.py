"""What expressions mean: each line is an expression and its value."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.machinery.cel import CompileError, CostExceeded, EvaluationError, compile_, types
from sampan.machinery.cel.values import equal

VALUES: list[tuple[str, Any]] = [
    # Operators
    ("1 + 2 * 3 == 7", True),
    ("-7 / 2", -3),
    ("-7 % 2", -1),
    ("7.0 / 2.0", 3.5),
    ("dyn(1) == 1.0 && dyn(1u) == 1", True),
    ("dyn(true) == dyn(1)", False),
    ("1 < 1.5 && 2u > 1", True),
    ("'a' + 'b' == \"ab\"", True),
    (r"r'\d' == '\\d' && '\u00e9' == 'é'", True),
    ("b'abc' == bytes('abc')", True),
    ("5 > 3 ? 'yes' : 'no'", "yes"),
    ("-9223372036854775808 < 0x7fffffffffffffff", True),
    # An error on one side is absorbed where the other decides
    ("true || 1 / 0 > 1", True),
    ("1 / 0 > 1 && false", False),
    ("[0, 1].exists(x, 1 / x == 1)", True),
    # Macros
    ("[1, 2, 3].all(x, x > 0)", True),
    ("[1, 2, 3].exists_one(x, x > 2)", True),
    ("[1, 2, 3].map(x, x > 1, x * 2)", [4, 6]),
    ("{'a': 1, 'b': 2}.filter(k, k > 'a')", ["b"]),
    ("has({'a': 1}.a) && !has({'a': 1}.b)", True),
    ("[5, 6].all(i, v, v == i + 5)", True),
    ("[5, 6].transformList(i, v, i * v)", [0, 6]),
    ("{'a': 1, 'b': 2}.transformMap(k, v, v > 1, v + 1)", {"b": 3}),
    ("['a'].transformMapEntry(i, v, {v: i})", {"a": 0}),
    ("[3, 1, 2].sortBy(x, -x)", [3, 2, 1]),
    # Optional values
    ("{'a': 1}.?b.orValue(3)", 3),
    ("{'a': {'b': 1}}.?a.?b.hasValue()", True),
    ("[1][?5].or(optional.of(2)).value()", 2),
    ("optional.of(3).optMap(x, x + 1).value()", 4),
    ("[?optional.none(), 2]", [2]),
    ("{?'a': optional.none(), 'b': 1}", {"b": 1}),
    # Times
    ("timestamp('2024-02-29T12:00:00Z').getFullYear()", 2024),
    ("timestamp('2024-02-29T23:30:00Z').getDayOfMonth('Europe/Berlin')", 0),
    ("timestamp('2024-01-01T01:00:00Z') - timestamp('2024-01-01T00:00:00Z') == duration('1h')", True),
    ("duration('1h30m').getMinutes()", 90),
    ("string(duration('1.5s'))", "1.5s"),
    # Text
    ("'tacocat'.indexOf('ac', 3)", -1),
    ("'tacocat'.lastIndexOf('a')", 5),
    ("'a,b,c'.split(',', 2)", ["a", "b,c"]),
    ("'%s has %d of %.1f'.format([dyn('a'), dyn(3), dyn(2.0)])", "a has 3 of 2.0"),
    ("'abc 123'.find('[0-9]+') == '123' && 'abc'.matches('^a.c$')", True),
    ("['a', 'b'].join('-')", "a-b"),
    ("'héllo'.size()", 5),
    ("strings.quote('a\"b')", '"a\\"b"'),
    # Lists and sets
    ("[1, 2, 3].sum() == 6 && [2, 1].max() == 2 && [1, 2].isSorted()", True),
    ("[[1], [2, 3]].flatten()", [1, 2, 3]),
    ("[1, 2, 2].distinct()", [1, 2]),
    ("[1, 2, 3].slice(1, 3)", [2, 3]),
    ("lists.range(3).reverse()", [2, 1, 0]),
    ("sets.contains([1, 2], [2]) && sets.equivalent([1, 2], [2, 1, 1]) && !sets.intersects([1], [2])", True),
    ("[1, 2].first().value() + [1, 2].last().value()", 3),
    # Kubernetes
    ("quantity('1Gi').isGreaterThan(quantity('1M')) && quantity('50m').add(quantity('50m')) == quantity('0.1')", True),
    ("quantity('20k').asInteger()", 20000),
    ("isQuantity('10Moo')", False),
    ("ip('::1').family() == 6 && ip('127.0.0.1').isLoopback()", True),
    ("cidr('192.168.0.0/24').containsIP('192.168.0.9') && !cidr('10.0.0.0/8').containsCIDR('0.0.0.0/0')", True),
    ("cidr('192.168.1.9/24').masked() == cidr('192.168.1.0/24')", True),
    ("url('https://user@example.com:80/a?x=1&x=2').getHost()", "example.com:80"),
    ("url('https://example.com/a?x=1&x=2').getQuery()['x']", ["1", "2"]),
    ("isURL('/path') && !isURL('relative')", True),
    ("format.dns1123Label().validate('ok').hasValue()", False),
    ("format.named('uuid').value().validate('no').value()", ["does not match the UUID format"]),
    ("semver('1.2.3').isLessThan(semver('1.10.0')) && semver('v1.2', true) == semver('1.2.0')", True),
    ("jsonpatch.escapeKey('k8s.io/a~b')", "k8s.io~1a~0b"),
    ("type(1) == int && type('a') == string && type(type(1)) == type", True),
]  # fmt: skip


@pytest.mark.parametrize(("expression", "value"), VALUES, ids=[e for e, _ in VALUES])
def test_value(expression: str, value: Any) -> None:
    assert equal(compile_(expression, {}).evaluate({}), value)


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("1 / 0", "division by zero"),
        ("9223372036854775807 + 1", "integer overflow"),
        ("[1][3]", "index out of bounds: 3"),
        ("{'a': 1}.b", "no such key: b"),
        ("dyn('a') + dyn(1)", "no such overload"),
        ("optional.none().value()", "optional.none() dereference"),
        ("ip('::ffff:1.2.3.4')", 'IPv4-mapped IPv6 address "::ffff:1.2.3.4" is not allowed'),
    ],
)
def test_failure(expression: str, message: str) -> None:
    with pytest.raises(EvaluationError, match="^" + message.replace("(", r"\(").replace(")", r"\)")):
        compile_(expression, {}).evaluate({})


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("1 + 'a'", "ERROR: <input>:1:3: found no matching overload for '_+_' applied to '(int, string)'"),
        ("self.b", "ERROR: <input>:1:5: undefined field 'b'\n | self.b\n | ....^"),
        ("other", "ERROR: <input>:1:1: undeclared reference to 'other' (in container '')"),
        ("[1, 'a']", "ERROR: <input>:1:5: expected type 'int' but found 'string'"),
        ("5.all(x, true)", "expression of type 'int' cannot be range of a comprehension"),
        ("self.a.startsWith(1)", "found no matching overload for 'startsWith' applied to 'string.(int)'"),
        ("1 +", "Syntax error: mismatched input '<EOF>'"),
        ("for", "reserved identifier: for"),
    ],
)
def test_fault(expression: str, message: str) -> None:
    self = types.object_of("object", {"a": types.Field(types.STRING, "a")})
    with pytest.raises(CompileError) as found:
        compile_(expression, {"self": self})
    assert message in str(found.value)


def test_every_fault_is_told_in_its_place() -> None:
    with pytest.raises(CompileError) as found:
        compile_("a &&\n  b", {})
    assert str(found.value).count("ERROR") == 2
    assert "<input>:2:3" in str(found.value)


def test_cost_is_limited_and_nothing_absorbs_that() -> None:
    program = compile_("true || items.all(x, items.all(y, x == y))", {"items": types.list_of(types.INT)})
    program = compile_("items.all(x, items.all(y, x == y)) || true", {"items": types.list_of(types.INT)})
    with pytest.raises(CostExceeded):
        program.evaluate({"items": [1] * 1000}, limit=10_000)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**40), 2**40)
    | st.floats(allow_nan=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=10,
)


@given(json_values, json_values)
def test_equality_is_reflexive_and_symmetric(a: Any, b: Any) -> None:
    program = compile_("a == b", {"a": types.DYN, "b": types.DYN})
    assert program.evaluate({"a": a, "b": a}) is True
    assert program.evaluate({"a": a, "b": b}) is program.evaluate({"a": b, "b": a})


@given(st.text(max_size=20))
def test_a_text_literal_means_itself(text: str) -> None:
    literal = "".join(f"\\U{ord(c):08x}" for c in text if not 0xD800 <= ord(c) < 0xE000)
    assert compile_(f"'{literal}'", {}).evaluate({}) == text


@given(st.integers(-1000, 1000), st.integers(-1000, 1000).filter(bool))
def test_division_truncates_and_modulo_completes_it(a: int, b: int) -> None:
    program = compile_("(a / b) * b + a % b", {"a": types.INT, "b": types.INT})
    assert program.evaluate({"a": a, "b": b}) == a
