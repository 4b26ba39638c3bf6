"""Jinja environment of every page: the caller's templates and the templates that all pages share."""

from __future__ import annotations

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined


def page_environment(package: str) -> Environment:
    """Return an environment that finds the templates of a package, such as ``"qpibench.leaderboard"``, and shared ones.

    Values are escaped, and a template that names an unknown value fails.
    """
    return Environment(
        loader=ChoiceLoader([PackageLoader(package, "templates"), PackageLoader("qpibench.pages", "templates")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
