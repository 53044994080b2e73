"""The templates of each kind of target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from convc.targets.target import AnyTarget
from convc.targets.template import Template


def templates_of(target: AnyTarget) -> Sequence[Template[Any]]:
    """In the order in which they are asked; the last one takes every kernel."""
    if target.kind == "cuda":
        from convc.targets.cuda import registry as cuda

        return cuda.TEMPLATES
    from convc.targets.cpu import registry as cpu

    return cpu.TEMPLATES


def template_named(name: str, target: AnyTarget) -> Template[Any]:
    """The template that a kernel's `template` property names. Raises ValueError if the target has none such."""
    templates = templates_of(target)
    for template in templates:
        if template.name == name:
            return template
    known = ", ".join(template.name for template in templates)
    raise ValueError(f'no template for {target.name} is named "{name}"; known: {known}')
