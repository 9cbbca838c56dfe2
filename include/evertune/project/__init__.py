"""A YAML file becomes a :class:`Project`, or all its faults at once."""

from evertune.project.options import Project

__all__ = ["Project"]
