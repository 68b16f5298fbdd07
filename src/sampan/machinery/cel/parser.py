"""Tokens to a tree, by recursive descent; macros are expanded on the way (`macros`).

Source: the CEL language definition, "Syntax"; operator names are cel-go's.
"""

from __future__ import annotations

from sampan.machinery.cel import macros
from sampan.machinery.cel.ast import Call, Entry, Ident, ListOf, Literal, MapOf, Node, Select, Struct
from sampan.machinery.cel.errors import CompileError, Issue
from sampan.machinery.cel.lexer import RESERVED, Token, tokens
from sampan.machinery.cel.values import LARGEST

_RELATIONS = {"<": "_<_", "<=": "_<=_", ">": "_>_", ">=": "_>=_", "==": "_==_", "!=": "_!=_", "in": "@in"}
_SUMS = {"+": "_+_", "-": "_-_"}
_PRODUCTS = {"*": "_*_", "/": "_/_", "%": "_%_"}
# How deep an expression may nest, as cel-go's.
DEEPEST = 250


def parse(source: str) -> Node:
    """Raises CompileError."""
    parser = _Parser(source)
    node = parser.expression()
    parser.expect("end")
    return node


class _Parser:
    def __init__(self, source: str):
        self._source = source
        self._tokens = tokens(source)
        self._next = 0
        self._depth = 0

    @property
    def _now(self) -> Token:
        return self._tokens[self._next]

    def _take(self) -> Token:
        token = self._tokens[self._next]
        self._next += 1
        return token

    def _accept(self, kind: str) -> Token | None:
        return self._take() if self._now.kind == kind else None

    def expect(self, kind: str) -> Token:
        if self._now.kind == kind:
            return self._take()
        wanted = {"ident": "IDENTIFIER", "end": "<EOF>"}.get(kind, f"'{kind}'")
        raise self._fault(
            self._now.at, f"Syntax error: mismatched input '{self._now.text}' expecting {wanted}"
        )

    def _fault(self, at: int, message: str) -> CompileError:
        return CompileError(self._source, [Issue(at, message)])

    def expression(self) -> Node:
        self._depth += 1
        if self._depth > DEEPEST:
            raise self._fault(self._now.at, f"expression recursion limit exceeded: {DEEPEST}")
        found = self._either()
        if asked := self._accept("?"):
            yes = self._either()
            self.expect(":")
            found = Call(asked.at, "_?_:_", [found, yes, self.expression()])
        self._depth -= 1
        return found

    def _either(self) -> Node:
        found = self._both()
        while token := self._accept("||"):
            found = Call(token.at, "_||_", [found, self._both()])
        return found

    def _both(self) -> Node:
        found = self._relation()
        while token := self._accept("&&"):
            found = Call(token.at, "_&&_", [found, self._relation()])
        return found

    def _relation(self) -> Node:
        found = self._sum()
        while self._now.kind in _RELATIONS:
            token = self._take()
            found = Call(token.at, _RELATIONS[token.kind], [found, self._sum()])
        return found

    def _sum(self) -> Node:
        found = self._product()
        while self._now.kind in _SUMS:
            token = self._take()
            found = Call(token.at, _SUMS[token.kind], [found, self._product()])
        return found

    def _product(self) -> Node:
        found = self._unary()
        while self._now.kind in _PRODUCTS:
            token = self._take()
            found = Call(token.at, _PRODUCTS[token.kind], [found, self._unary()])
        return found

    def _unary(self) -> Node:
        token = self._now
        if token.kind not in ("!", "-"):
            return self._member()
        count = 0
        while self._accept(token.kind):
            count += 1
        following = self._now
        if token.kind == "-" and following.kind == "literal" and type(following.value) in (int, float):
            inner: Node = self._member(negated=True)
            count -= 1
        else:
            inner = self._member()
        # As cel-go has it, an even number of operators is none.
        return Call(token.at, "!_" if token.kind == "!" else "-_", [inner]) if count % 2 else inner

    def _member(self, negated: bool = False) -> Node:
        found = self._primary(negated)
        while True:
            if token := self._accept("."):
                found = self._dotted(found, token)
            elif token := self._accept("["):
                function = "_[?_]" if self._accept("?") else "_[_]"
                found = Call(token.at, function, [found, self.expression()])
                self.expect("]")
            elif self._now.kind == "{" and (name := _qualified(found)):
                found = self._struct(name)
            else:
                return found

    def _dotted(self, operand: Node, dot: Token) -> Node:
        optional = self._accept("?")
        token = self._take() if self._now.kind == "quoted" else self.expect_name()
        if optional:
            return Call(dot.at, "_?._", [operand, Literal(token.at, token.text)])
        if token.kind != "quoted" and (opened := self._accept("(")):
            arguments = self._arguments()
            return self._expanded(Call(opened.at, token.text, arguments, operand))
        return Select(dot.at, operand, token.text)

    def expect_name(self) -> Token:
        if self._now.kind in ("ident", "in"):
            return self._take()
        return self.expect("ident")

    def _arguments(self) -> list[Node]:
        found: list[Node] = []
        while self._now.kind != ")":
            found.append(self.expression())
            if not self._accept(","):
                break
        self.expect(")")
        return found

    def _primary(self, negated: bool) -> Node:
        token = self._take()
        if token.kind == "literal":
            return self._literal(token, negated)
        if token.kind == "(":
            found = self.expression()
            self.expect(")")
            return found
        if token.kind == "[":
            return self._list(token)
        if token.kind == "{":
            return self._map(token)
        if token.kind == "." and self._now.kind == "ident":
            token = self._take()
        if token.kind != "ident":
            message = f"Syntax error: mismatched input '{token.text}' expecting an expression"
            raise self._fault(token.at, message)
        if token.text in RESERVED:
            raise self._fault(token.at, f"reserved identifier: {token.text}")
        if opened := self._accept("("):
            return self._expanded(Call(opened.at, token.text, self._arguments()))
        return Ident(token.at, token.text)

    def _literal(self, token: Token, negated: bool) -> Node:
        value = token.value
        if negated:
            return Literal(token.at - 1, -value)
        if type(value) is int and value > LARGEST:
            raise self._fault(token.at, "invalid int literal")
        return Literal(token.at, value)

    def _list(self, opened: Token) -> Node:
        items: list[Node] = []
        optional: set[int] = set()
        while self._now.kind != "]":
            if self._accept("?"):
                optional.add(len(items))
            items.append(self.expression())
            if not self._accept(","):
                break
        self.expect("]")
        return ListOf(opened.at, items, frozenset(optional))

    def _map(self, opened: Token) -> Node:
        entries: list[Entry] = []
        while self._now.kind != "}":
            optional = bool(self._accept("?"))
            key = self.expression()
            self.expect(":")
            entries.append(Entry(key, self.expression(), optional))
            if not self._accept(","):
                break
        self.expect("}")
        return MapOf(opened.at, entries)

    def _struct(self, name: str) -> Node:
        opened = self.expect("{")
        fields: list[tuple[str, Node, bool]] = []
        while self._now.kind != "}":
            optional = bool(self._accept("?"))
            token = self._take() if self._now.kind == "quoted" else self.expect_name()
            self.expect(":")
            fields.append((token.text, self.expression(), optional))
            if not self._accept(","):
                break
        self.expect("}")
        return Struct(opened.at, name, fields)

    def _expanded(self, call: Call) -> Node:
        try:
            return macros.expand(call)
        except macros.MacroError as e:
            raise self._fault(e.at, str(e)) from e


def _qualified(node: Node) -> str:
    """The dotted name that a node spells, if it spells one."""
    if isinstance(node, Ident):
        return node.name
    if isinstance(node, Select) and not node.test:
        inner = _qualified(node.operand)
        return f"{inner}.{node.field}" if inner else ""
    return ""
