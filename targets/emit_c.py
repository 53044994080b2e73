"""Programs as C: a function an input shape that calls the kernels one after another.

It is compiled without optimisation: there is nothing to gain, and in 6,000 calls compilers looked for it for 36 s.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from convc.targets.lower import Place, Program

_HEAD = """\
#include "convc.h"
#include <stddef.h>

int64_t convc_now(void);
void convc_use_threads(int threads);
uint32_t convc_flush_small(void);
void convc_restore(uint32_t before);

#define STEP(number, kernel) \\
    if (kernel) { status = number + 1; goto end; } \\
    if (call->nanoseconds) call->nanoseconds[number] = convc_now() - begin;
"""


def to_c(programs: Sequence[Program]) -> str:
    """The source text that goes into a library beside the kernels."""
    symbols = dict.fromkeys((step.symbol, len(step.places)) for program in programs for step in program.steps)
    declarations = [f"int {symbol}({', '.join(['void *'] * count)});" for symbol, count in symbols]
    return "\n".join([_HEAD, *declarations, *(_function(number, each) for number, each in enumerate(programs))])


def _function(number: int, program: Program) -> str:
    sizes = [len(program.steps), program.arena_bytes, len(program.inputs), len(program.outputs)]
    sizes += [prod(shape) * dtype.itemsize for _, shape, dtype in (*program.inputs, *program.outputs)]
    lines = [
        "",
        "/* Steps, bytes of the arena, inputs, outputs, bytes of each: what a manifest that was not edited says. */",
        f"const int64_t convc_sizes_{number}[] = {{{', '.join(map(str, sizes))}}};",
        f"int convc_run_{number}(const struct convc_call *call) {{",
        "    void *const *in = call->inputs, *const *out = call->outputs;",
        "    char *w = (char *)call->weights, *a = call->arena;",
        "    int64_t begin = call->nanoseconds ? convc_now() : 0;",
        "    (void)in, (void)w, (void)a;",
        "    int status = 0;",
        "    convc_use_threads(call->threads);",
        "    uint32_t before = convc_flush_small();",
    ]
    for i, step in enumerate(program.steps):
        lines.append(f"    STEP({i}, {step.symbol}({', '.join(map(_argument, step.places))})) /* {step.name} */")
    return "\n".join([*lines, "end:", "    convc_restore(before);", "    return status;", "}", ""])


def _argument(place: Place) -> str:
    bases = {"input": f"in[{place.number}]", "output": f"out[{place.number}]", "weight": "w", "arena": "a"}
    base = bases[place.space]
    return f"(char *){base} + {place.offset}" if place.offset else base
