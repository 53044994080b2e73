/* The C interface of kernels.so, for programs without Python.
 *
 * One library holds one model, built for one or several input shapes; convc_run_K runs the K-th of them
 * ("variants" in manifest.json, which also lists inputs, outputs, sizes and the layout of the weights).
 * Arrays are dense, row-major and 64-byte aligned; the weights are the data section of weights.safetensors.
 */
#ifndef CONVC_H
#define CONVC_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CONVC_ABI 1

struct convc_call {
    void *const *inputs;  /* in the manifest's order; read only */
    void *const *outputs; /* in the manifest's order; written whole */
    const void *weights;  /* `weight_bytes`, shared by any number of calls */
    void *arena;          /* `arena_bytes` of memory for intermediate values: one call at a time */
    int64_t *nanoseconds; /* NULL, or an element a step: when it ended, since the call began */
    int32_t threads;      /* how many threads may work, this one included */
};

/* 0, or 1 + the number of the step that failed: it asked for memory that the system did not give. */
typedef int convc_run(const struct convc_call *call);

/* The version of this interface that a library was built with. */
int convc_abi(void);

#ifdef __cplusplus
}
#endif
#endif
