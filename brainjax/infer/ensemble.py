"""Several networks of one kind that answer together: their variables travel as one tuple, wherever one's would."""

from typing import Any


def members(variables: Any) -> tuple[Any, ...]:
    """The variables of each member; of one network alone, its own."""
    return variables if isinstance(variables, tuple) else (variables,)
