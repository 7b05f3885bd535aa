"""The expression language: CEL on JSON values, compiled to Python when a flow is loaded."""

from flowrunner.expression.expression import Expression, FunctionCall, Value
from flowrunner.expression.operators import EVALUATION_ERRORS

__all__ = ["EVALUATION_ERRORS", "Expression", "FunctionCall", "Value"]
