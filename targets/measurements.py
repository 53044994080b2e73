"""What is known of kernels by measurement: the side of `convc.tuning` that `select` and `choose-algorithms` see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from convc.ir.kernel import KernelOp
    from convc.targets.target import AnyTarget
    from convc.targets.template import Config, Template

Outcome = Literal["ok", "crashed", "hung", "wrong", "refused"]
"""What became of a candidate: it was measured, ended its process, did not return in time, computed something else, or
could not be made into code."""


class TuningError(Exception):
    """Measurements that cannot be read, made or used; the message is one line for the user."""


@dataclass(frozen=True)
class Record:
    """A candidate of a kernel, and what became of it. `ns` is the time of a call, 0 unless the outcome is `ok`: times
    of one kernel, in all of its forms, can be compared, those of different kernels only roughly. `at` is when, in
    seconds since 1970."""

    template: str
    config: Config
    outcome: Outcome
    ns: float = 0.0
    at: float = 0.0

    @property
    def key(self) -> tuple[str, str]:
        """What tells candidates of a kernel apart."""
        return candidate_key(self.template, self.config)


def candidate_key(template: str, config: Config) -> tuple[str, str]:
    """A template and its configuration, as text whatever the order of the fields."""
    return template, ",".join(f"{name}={config[name]}" for name in sorted(config))


class Measurements(Protocol):
    """The records of one target, for a number of threads."""

    def records(self, texts: Sequence[str]) -> list[list[Record]]:
        """Those of a kernel in each of its forms (by `convc.ir.text.kernel_text`), the fastest first, then those that
        failed. Times are all of one source, so that forms can be compared."""


def open_measurements(database: str, target: AnyTarget, threads: int) -> Measurements | None:
    """The records in a database and those that convc ships, on so many threads (0 on a GPU); None if there are none for
    the target. `database` is a file, or empty for those that ship alone. Raises TuningError for a file that is none."""
    # The room above is imported when it is asked for, as passes are by their registry.
    from convc.tuning.choices import Choices

    return Choices.open(database, target, threads)


def usable(
    records: Sequence[Record], kernel: KernelOp, templates: Sequence[Template[Any]], target: AnyTarget
) -> list[Record]:
    """The records of a kernel that can be built: measured well, of a template that applies, with the fields that the
    template has today."""
    found, fields = [], {}
    by_name = {template.name: template for template in templates}
    for record in records:
        template = by_name.get(record.template)
        if record.outcome != "ok" or template is None:
            continue
        if record.template not in fields:
            applies = template.applies(kernel, target)
            fields[record.template] = set(template.candidates(kernel, target)[0]) if applies else None
        if fields[record.template] == set(record.config):
            found.append(record)
    return found
