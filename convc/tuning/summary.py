"""What tuning found, for people and machines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from convc.ir.attributes import shape_of
from convc.ir.kernel import KernelOp
from convc.ir.windows import ConvOp, ConvTransposeOp, PoolOp
from convc.notation import shape_text
from convc.targets.measurements import Record
from convc.tuning.rows import Row
from convc.tuning.search import Search
from convc.tuning.tuner import Tuner


def rows(tuner: Tuner) -> list[Row]:
    """All workloads, those that take most of the network's time first."""
    return sorted(map(_row, tuner.searches), key=lambda row: -row.share)


def title(kernel: KernelOp) -> str:
    """What a kernel computes, in a few words: `conv 3x3 1x64x56x56 -> 1x64x56x56`."""
    op = kernel.anchor or (kernel.ops[-1] if kernel.ops else None)
    words = [op.name.removeprefix("convc.")] if op is not None else ["copy"]
    match op:
        case ConvOp() | ConvTransposeOp():
            words.append(shape_text(shape_of(op.w)[2:]))
            if (group := op.group.value.data) > 1:
                words.append(f"in {group} groups")
        case PoolOp():
            words.append(shape_text(op.kernel.get_values()))
    read = [shape_text(shape_of(op.operands[0]))] if op is not None and op.operands else []
    return " ".join([*words, *read, "->", shape_text(shape_of(kernel.outputs[0]))])


def choices(tuner: Tuner) -> Iterator[tuple[str, Record]]:
    """The fastest candidate of each form of each workload, with the form's text."""
    for search in tuner.searches:
        for form, text in enumerate(search.workload.texts):
            own = [record for each, record in search.known.values() if each.form == form and record.outcome == "ok"]
            if own:
                yield text, min(own, key=lambda record: record.ns)


def facts(tuner: Tuner) -> dict[str, Any]:
    """Plain JSON values."""
    return {
        "trials": tuner.trials,
        "seconds": tuner.seconds,
        "threads": tuner.conditions.threads,
        "database": str(tuner.database.path),
        "ratio": tuner.ratio,
        "kernels": [vars(row) for row in rows(tuner)],
    }


def _row(search: Search) -> Row:
    workload, best, untuned = search.workload, search.best, search.untuned
    candidate = best[0] if best else workload.untuned
    outcomes = [record.outcome for _, record in search.known.values()]
    return Row(
        name=workload.name,
        computes=title(workload.forms[0]),
        count=workload.count,
        share=workload.share,
        untuned_us=untuned.ns / 1e3 if untuned and untuned.ns else None,
        tuned_us=best[1].ns / 1e3 if best else None,
        ratio=search.ratio,
        template=candidate.template,
        config=dict(candidate.config),
        candidates=len(outcomes),
        failed=sum(outcome != "ok" for outcome in outcomes),
    )
