"""Live progress of tuning: a bar on a terminal, lines elsewhere, both on stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import isfinite
from typing import TYPE_CHECKING, Any, TypeAlias

from convc.cli.show import Progress, print_table

if TYPE_CHECKING:
    from convc.tuning.rows import Row
    from convc.tuning.tuner import Report, Tuner

    View: TypeAlias = tuple[Callable[[str], None], Report]


@contextmanager
def view(quiet: bool) -> Iterator[View]:
    """What shows the steps before and after tuning, and what shows the tuning."""
    if sys.stderr.isatty() and not quiet:
        with _bar() as shown:
            yield shown
        return
    progress = Progress(quiet=quiet)

    def report(tuner: Tuner, workload: int | None) -> None:
        if workload is not None:
            progress.note(f"  {_batch(tuner, workload)}; {_state(tuner)}")

    with progress.steps() as show:
        yield show, report


@contextmanager
def _bar() -> Iterator[View]:
    from rich.console import Console
    from rich.progress import BarColumn, SpinnerColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(20), TextColumn("{task.fields[state]}"))
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=None, state="")

        def show(step: str) -> None:
            bar.update(task, description=f"{step} ...", total=None, state="")

        def report(tuner: Tuner, workload: int | None) -> None:
            total = len(tuner.workloads)
            bar.update(task, description="tuning", state=_state(tuner), completed=tuner.tried, total=total)
            if workload is not None:
                bar.console.print(_batch(tuner, workload), highlight=False)

        yield show, report


def print_rows(rows: Sequence[Row]) -> None:
    """What was found of each kernel, as a table."""
    cells: list[tuple[Any, ...]] = [
        (
            row.name,
            row.computes,
            row.count,
            f"{row.share:.1%}",
            f"{row.untuned_us:.1f}" if row.untuned_us else "",
            f"{row.tuned_us:.1f}" if row.tuned_us else "",
            won(row.ratio) if row.tuned_us else "",
            " ".join([row.template, *(f"{key}={value}" for key, value in row.config.items())]),
            f"{row.candidates}" + (f" ({row.failed} failed)" if row.failed else ""),
        )
        for row in rows
    ]
    header = ("kernel of", "computes", "times", "share", "untuned us", "tuned us", "change", "choice", "tried")
    print_table(header, cells, right=header[2:7])


def won(ratio: float) -> str:
    """-5.1 %, where a time is 0.949 of what it was."""
    return f"{(ratio - 1) * 100:+.1f} %"


def _batch(tuner: Tuner, workload: int) -> str:
    """What is known of a workload now."""
    from convc.tuning.summary import title

    search = tuner.searches[workload]
    name = f"{search.workload.name} ({title(search.workload.forms[0])})"
    if search.best is None:
        return f"{name}: nothing right among {len(search.known)} candidates"
    return f"{name}: {search.best[1].ns / 1e3:.1f} us, {won(search.ratio)}"


def _state(tuner: Tuner) -> str:
    left = tuner.seconds_left
    return (
        f"{tuner.tried} of {len(tuner.workloads)} kernels, {tuner.trials} candidates, network {won(tuner.ratio)}, "
        + (f"{_clock(left)} left" if isfinite(left) else _clock(tuner.seconds))
    )


def _clock(seconds: float) -> str:
    whole = max(int(seconds), 0)
    return f"{whole // 60}:{whole % 60:02}"
