"""What a module says about itself, read without importing it."""

import ast


def first_line(source: str) -> str:
    """The first line of a module's docstring; empty where it has none."""
    return (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]
