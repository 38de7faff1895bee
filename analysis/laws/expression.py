"""A user's own law, written as Python writes it: `E + A / parameters**alpha + B / tokens**beta`.

Names that are columns are variables, all others parameters: positive, or exponents where they stand in an exponent. The
expression is evaluated by its logarithm, in the way of `laws.jets`, so it is exact, differentiable and free of overflow where
the built-in laws are.
"""

import ast
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from analysis.errors import AnalysisError
from analysis.laws import jets
from analysis.laws.jets import Array
from analysis.laws.law import Parameter, SumOfTerms

SYNTAX = "+ - * / **, exp(), log(), numbers, columns and parameters"
OPERATIONS = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Pow)
FUNCTIONS = ("exp", "log")
EXPONENTS = (1e-3, 3.0)  # above zero, because one exponent may divide another
INNER = (-5.0, 15.0)  # logarithms of positive parameters within terms, where starts are sought
WIDER = 60.0


@dataclass(frozen=True)
class Factor:
    """A factor of a term: its node, and whether the term is multiplied (1) or divided (-1) by it."""

    node: ast.expr
    sign: int


class Expression(SumOfTerms):
    """A law from a Python expression of its terms.

    Each term with a parameter that stands nowhere else as its factor has it as its coefficient. Variables are centred that
    enter only as powers, in products with such a parameter. The name of the law is its whole definition,
    `loss(parameters, tokens) = E + ...`, which is what `fit.json` holds; that spelling is accepted too.

    Args:
        text: the expression, or the whole definition.
        variables: the columns it reads; those of `known` that occur in it unless given here or in the definition.
        target: the column it predicts.
        unit: of the target.
        known: names that are columns wherever they occur.

    Raises:
        AnalysisError: unknown syntax, no variable, or no parameter.
    """

    source: ClassVar[str] = "user"

    def __init__(
        self,
        text: str,
        variables: Sequence[str] = (),
        *,
        target: str = "loss",
        unit: str = "nats/token",
        known: Sequence[str] = (),
    ):
        if defined := re.fullmatch(r"\s*(\w+)\s*\(([^()]*)\)\s*=(.*)", text, re.DOTALL):
            target, variables, text = defined[1], [name.strip() for name in defined[2].split(",")], defined[3]
        tree = parse(text)
        names = list(dict.fromkeys(node.id for node in walk(tree) if isinstance(node, ast.Name)))
        variables = tuple(name for name in (variables or known) if name in names)
        if not variables:
            raise AnalysisError(f"{text.strip()!r} has no variable: name a column in it, or give `variables`; names: {names}")
        exponents = {
            node.id
            for power in walk(tree)
            if isinstance(power, ast.BinOp) and isinstance(power.op, ast.Pow)
            for node in walk(power.right)
            if isinstance(node, ast.Name)
        }
        parameters = tuple(
            Parameter(name, "", "exponent", bounds=EXPONENTS) if name in exponents else Parameter(name, "", "coefficient")
            for name in names
            if name not in variables
        )
        if not parameters:
            raise AnalysisError(f"{text.strip()!r} has no parameter to fit; names in it are columns: {names}")
        definition = f"{target}({', '.join(variables)}) = {ast.unparse(tree)}"
        vars(self).update(
            name=definition,
            formula=definition,
            target=target,
            unit=unit,
            variables=variables,
            parameters=parameters,
            distinct=(2,) * len(variables),
        )
        counts = Counter(node.id for node in walk(tree) if isinstance(node, ast.Name))
        self._owners = {each.name for each in parameters if each.kind == "coefficient" and counts[each.name] == 1}
        self._moves: list[tuple[int, int, ast.expr, int]] = []  # coefficient, variable, its power, sign of that
        products = sum_of_products(tree)
        barred = set().union(*(self._absorb(factors) for factors, _ in products))
        owners = [next((ast.unparse(f.node) for f in factors if f.sign > 0 and self._owns(f)), "") for factors, _ in products]
        order = sorted(range(len(owners)), key=lambda index: not owners[index])  # terms with a coefficient come first
        signs = tuple(products[index][1] for index in order)
        self._terms = [products[index][0] for index in order]
        vars(self).update(
            coefficients=tuple(owners[index] for index in order if owners[index]),
            signs=signs if -1 in signs else (),
            centred=tuple(name for name in variables if name not in barred),
        )

    def _owns(self, factor: "Factor") -> bool:
        return isinstance(factor.node, ast.Name) and factor.node.id in self._owners

    def _absorb(self, factors: "list[Factor]") -> set[str]:
        """Note how this product's coefficient takes up a change of units; the variables for which nothing does."""
        barred: set[str] = set()
        owner = next(((ast.unparse(each.node), each.sign) for each in factors if self._owns(each)), None)
        for factor in factors:
            power: ast.expr = ast.Constant(1.0)
            match factor.node:
                case ast.BinOp(left=base, op=ast.Pow(), right=power) if not self._variables_in(power):
                    pass
                case base:
                    pass
            if isinstance(base, ast.Name) and base.id in self.variables and owner is not None:
                place = self.names.index(owner[0])
                self._moves.append((place, self.variables.index(base.id), power, owner[1] * factor.sign))
            elif isinstance(base, ast.BinOp) and not isinstance(base.op, ast.Pow):
                barred |= set().union(*(self._absorb(inner) for inner, _ in sum_of_products(base)))
            else:
                barred |= self._variables_in(base)
        return barred

    def _variables_in(self, node: ast.expr) -> set[str]:
        return {each.id for each in walk(node) if isinstance(each, ast.Name)} & set(self.variables)

    def _plausible(self, parameter: Parameter, logs: Array, log_values: Array) -> tuple[float, float]:
        """See `Law._plausible`; of a positive parameter that is no term's coefficient, nothing but its sign is known."""
        inner = parameter.kind == "coefficient" and parameter.name not in self.coefficients
        return INNER if inner else super()._plausible(parameter, logs, log_values)

    def bounds(self, logs: Array, log_values: Array) -> tuple[Array, Array]:
        """See `Law.bounds`; wider for coefficients of what is not centred and parameters within terms."""
        low, high = super().bounds(logs, log_values)
        for index, each in enumerate(self.parameters):
            if each.kind == "coefficient" and (each.name not in self.coefficients or self.centred != self.variables):
                low[index], high[index] = low[index] - WIDER, high[index] + WIDER
        return low, high

    def shift(self, theta: Array, offset: Array) -> Array:
        """See `Law.shift`."""
        shifted = theta.copy()
        evaluate = Evaluation(self, list(np.moveaxis(theta, -1, 0)), [])
        for place, variable, power, sign in self._moves:
            shifted[..., place] -= sign * evaluate.value(power) * offset[variable]
        return shifted

    def terms(self, theta: Sequence[Any], logs: Sequence[Any]) -> list[Any]:
        """See `SumOfTerms.terms`."""
        evaluate = Evaluation(self, theta, logs)
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):  # the solver steps back from such places
            return [sum((f.sign * evaluate.log(f.node) for f in factors), start=0.0) for factors in self._terms]


class Evaluation:
    """An expression's nodes at given coordinates and variables: their values, and the logarithms of positive ones."""

    def __init__(self, law: Expression, theta: Sequence[Any], logs: Sequence[Any]):
        self.exponents = {
            each.name: value for each, value in zip(law.parameters, theta, strict=True) if each.kind == "exponent"
        }
        self.logs = {each.name: value for each, value in zip(law.parameters, theta, strict=True) if each.kind != "exponent"}
        self.logs |= dict(zip(law.variables, logs, strict=False))

    def log(self, node: ast.expr) -> Any:
        """Its logarithm; a difference that is not positive is taken as just above zero."""
        match node:
            case ast.Name(id=name) if name in self.logs:
                return self.logs[name]
            case ast.BinOp(left=left, op=ast.Mult(), right=right):
                return self.log(left) + self.log(right)
            case ast.BinOp(left=left, op=ast.Div(), right=right):
                return self.log(left) - self.log(right)
            case ast.BinOp(left=left, op=ast.Pow(), right=right):
                return self.value(right) * self.log(left)
            case ast.BinOp(left=left, op=ast.Add(), right=right):
                return jets.logaddexp(self.log(left), self.log(right))
            case ast.BinOp(left=left, op=ast.Sub(), right=right):
                above = self.log(left)
                return above + jets.log_one_minus_exp(jets.at_least(above - self.log(right), 1e-9))
            case ast.Call(func=ast.Name(id="exp"), args=[argument]):
                return self.value(argument)
        return jets.log(jets.at_least(self.value(node), 1e-300))

    def value(self, node: ast.expr) -> Any:
        """Its value, of either sign."""
        match node:
            case ast.Constant(value=number):
                return float(number)  # type: ignore[arg-type]
            case ast.Name(id=name):
                return self.exponents[name] if name in self.exponents else jets.exp(self.logs[name])
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return -1.0 * self.value(operand)
            case ast.UnaryOp(operand=operand):
                return self.value(operand)
            case ast.Call(func=ast.Name(id="log"), args=[argument]):
                return self.log(argument)
            case ast.BinOp(left=left, op=op, right=right) if not isinstance(op, ast.Pow):
                return COMBINE[type(op)](self.value(left), self.value(right))
        return jets.exp(self.log(node))


COMBINE: dict[type, Callable[[Any, Any], Any]] = {
    ast.Add: lambda x, y: x + y,
    ast.Sub: lambda x, y: x - y,
    ast.Mult: lambda x, y: x * y,
    ast.Div: lambda x, y: x / y,
}


def parse(text: str) -> ast.expr:
    """The tree of an expression of nothing but `SYNTAX`.

    Raises:
        AnalysisError: anything else, by name.
    """
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError):
        raise AnalysisError(f"{text.strip()!r} is no Python expression") from None
    for node in walk(tree):
        match node:
            case ast.Name():
                continue
            case ast.Constant(value=value) if isinstance(value, int | float) and not isinstance(value, bool):
                continue
            case ast.BinOp(op=op) if isinstance(op, OPERATIONS):
                continue
            case ast.UnaryOp(op=ast.USub() | ast.UAdd()):
                continue
            case ast.Call(func=ast.Name(id=name), args=[_], keywords=[]) if name in FUNCTIONS:
                continue
        raise AnalysisError(f"{ast.unparse(node)!r} in a law's expression is not known; it may hold {SYNTAX}")
    return tree


def walk(node: ast.expr) -> Iterator[ast.expr]:
    """The expressions in an expression, itself first; of a call, its arguments and not its function."""
    yield node
    children = node.args if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) else ast.iter_child_nodes(node)
    for child in children:
        if isinstance(child, ast.expr):
            yield from walk(child)


def sum_of_products(node: ast.expr, sign: int = 1) -> list[tuple[list[Factor], int]]:
    """The terms of a sum, each its factors and its sign."""
    match node:
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return sum_of_products(left, sign) + sum_of_products(right, sign)
        case ast.BinOp(left=left, op=ast.Sub(), right=right):
            return sum_of_products(left, sign) + sum_of_products(right, -sign)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return sum_of_products(operand, -sign)
        case ast.UnaryOp(operand=operand):
            return sum_of_products(operand, sign)
    return [(product(node, 1), sign)]


def product(node: ast.expr, sign: int) -> list[Factor]:
    """The factors of a term."""
    match node:
        case ast.BinOp(left=left, op=ast.Mult(), right=right):
            return product(left, sign) + product(right, sign)
        case ast.BinOp(left=left, op=ast.Div(), right=right):
            return product(left, sign) + product(right, -sign)
    return [Factor(node, sign)]
