"""PromQL as a tree: which series an expression names, and which labels its result has.

`Query(text, world)` collects faults: a series or a label that does not exist, a grouping by what is not there, two sides
of an operator that can never match. Prometheus itself calls none of these an error; it returns nothing.
"""

import json

import promql_parser as syntax

# By prefix: exporters whose series depend on the machine. Their labels are taken as said.
UNKNOWN = ("node_",)
SETS = ("and", "or", "unless")


class Query:
    """One expression; `world` has the labels of every series, recorded ones included."""

    def __init__(self, text, world):
        self.text, self.world = text, world
        self.names, self.faults = set(), []
        self.tree = syntax.parse(text)
        self.labels = self.of(self.tree)

    def of(self, node):
        """The labels of the result: a set, `None` where they are not known, `()` of a scalar."""
        kind = type(node).__name__
        method = getattr(self, kind.lower(), None)
        assert method, f"{kind} in {self.text}"
        return method(node)

    def numberliteral(self, _):
        return ()

    stringliteral = numberliteral

    def parenexpr(self, node):
        return self.of(node.expr)

    unaryexpr = subqueryexpr = parenexpr

    def matrixselector(self, node):
        return self.of(node.vector_selector)

    def vectorselector(self, node):
        name = node.name or next((m.value for m in node.matchers.matchers if m.name == "__name__"), None)
        self.names.add(name)
        labels = self.world.get(name)
        if labels is None:
            if not str(name).startswith(UNKNOWN):
                self.faults.append(f"nothing exposes {name}")
            return None
        self.known((m.name for m in node.matchers.matchers if m.name != "__name__"), labels, name)
        return frozenset(labels)

    def known(self, wanted, labels, what):
        """Each of `wanted` is among `labels`, where these are known; without any labels none is."""
        missing = [] if labels is None else sorted(set(wanted) - set(labels))
        if missing:
            self.faults.append(f"{what} has no label {', '.join(missing)}")

    def aggregateexpr(self, node):
        if node.param:
            self.of(node.param)
        labels, by = self.of(node.expr), node.modifier
        if str(node.op).lower() in ("topk", "bottomk", "quantile_k"):
            return labels
        if by is None:
            return frozenset()
        self.known(by.labels, labels, f"{node.expr}")
        if by.type == syntax.AggModifierType.By:
            return frozenset(by.labels)
        return None if labels is None else labels - set(by.labels)

    def call(self, node):
        name, given = node.func.name, [self.of(argument) for argument in node.args]
        if name in ("vector", "time", "scalar"):
            return frozenset() if name == "vector" else ()
        if name in ("absent", "absent_over_time"):
            return None
        labels = next((found for found in given if found != ()), ())
        if labels in (None, ()):
            return labels
        if name == "histogram_quantile":
            if "le" not in labels:
                self.faults.append(f"histogram_quantile without le: {node}")
            return labels - {"le"}
        if name in ("label_replace", "label_join"):
            return labels | {node.args[1].val}
        return labels

    def binaryexpr(self, node):
        left, right, how = self.of(node.lhs), self.of(node.rhs), node.modifier
        operator = str(node.op)
        if () in (left, right):
            return right if left == () else left
        if None in (left, right):
            return right if left is None and operator not in SETS else left
        matching = how and how.matching
        if matching and "on" == str(matching).split()[0]:
            for side, labels in ((node.lhs, left), (node.rhs, right)):
                self.known(matching.labels, labels, f"{side}")
            compared = frozenset(matching.labels)
        else:
            ignored = set(matching.labels) if matching else set()
            if operator != "or" and left - ignored != right - ignored:
                odd = sorted((left - ignored) ^ (right - ignored))
                self.faults.append(f"its sides can never match, one lacks {', '.join(odd)}: {node}")
            compared = left - ignored
        if operator in SETS:
            return left
        many = how and str(how.card)
        for side, one, (node_of_one, of_one) in (("ManyToOne", left, (node.rhs, right)), ("OneToMany", right, (node.lhs, left))):
            if many and side in many:
                brought = set(how.group_labels or ())
                self.known(brought, of_one, f"{node_of_one}")
                return one | brought
        return left if operator in COMPARISONS else compared


def selectors(text):
    """The vector selectors of an expression, as Prometheus takes them for `match[]`."""

    def of(node):
        if isinstance(node, syntax.VectorSelector):
            matchers = ",".join(f"{m.name}{OPERATORS[str(m.op).rpartition('.')[2]]}{json.dumps(m.value)}" for m in node.matchers.matchers)
            yield f"{node.name or ''}{{{matchers}}}"
        for child in (getattr(node, name, None) for name in ("lhs", "rhs", "expr", "vector_selector", "param")):
            if child is not None:
                yield from of(child)
        for child in getattr(node, "args", None) or []:
            yield from of(child)

    return sorted(set(of(syntax.parse(text))))


def guarded(text):
    """What stands before each `or` of an expression: where it finds nothing, the guard after it would hide that."""

    def parts(node):
        if isinstance(node, syntax.BinaryExpr):
            if str(node.op) == "or":
                yield str(node.lhs)
            inner = [node.lhs, node.rhs]
        else:
            inner = getattr(node, "args", None) or [getattr(node, "expr", None)]
        for child in inner:
            if isinstance(child, syntax.Expr):
                yield from parts(child)

    return list(parts(syntax.parse(text)))


OPERATORS = {"Equal": "=", "NotEqual": "!=", "Re": "=~", "NotRe": "!~"}
COMPARISONS = ("==", "!=", ">", "<", ">=", "<=")
