// The CUresults that the emulated driver gives.
#pragma once

#define CONVC_RESULTS(X)                                                              \
    X(SUCCESS, 0, "no error")                                                         \
    X(INVALID_VALUE, 1, "invalid argument")                                           \
    X(OUT_OF_MEMORY, 2, "out of memory")                                              \
    X(NOT_INITIALIZED, 3, "initialization error")                                     \
    X(NO_DEVICE, 100, "no CUDA-capable device is detected")                           \
    X(INVALID_DEVICE, 101, "invalid device ordinal")                                  \
    X(INVALID_IMAGE, 200, "device kernel image is invalid")                           \
    X(INVALID_CONTEXT, 201, "invalid device context")                                 \
    X(NO_BINARY_FOR_GPU, 209, "no kernel image is available for execution on the device") \
    X(INVALID_HANDLE, 400, "invalid resource handle")                                 \
    X(ILLEGAL_STATE, 401, "the operation cannot be performed in the present state")   \
    X(NOT_FOUND, 500, "named symbol not found")                                       \
    X(NOT_READY, 600, "device not ready")                                             \
    X(ILLEGAL_ADDRESS, 700, "an illegal memory access was encountered")               \
    X(LAUNCH_TIMEOUT, 702, "the launch timed out and was terminated")                 \
    X(ILLEGAL_INSTRUCTION, 715, "an illegal instruction was encountered")             \
    X(MISALIGNED_ADDRESS, 716, "misaligned address")                                  \
    X(INVALID_ADDRESS_SPACE, 717, "operation not supported on global/shared address space") \
    X(LAUNCH_FAILED, 719, "unspecified launch failure")                               \
    X(NOT_SUPPORTED, 801, "operation not supported")                                  \
    X(STREAM_CAPTURE_UNSUPPORTED, 900, "operation not permitted when stream is capturing") \
    X(STREAM_CAPTURE_INVALIDATED, 901, "operation failed due to a previous error during capture") \
    X(STREAM_CAPTURE_MERGE, 902, "operation would result in a merge of separate capture sequences") \
    X(STREAM_CAPTURE_UNMATCHED, 903, "capture was not ended in the same stream as it began") \
    X(STREAM_CAPTURE_ISOLATION, 905, "dependency created on uncaptured work in another stream") \
    X(STREAM_CAPTURE_IMPLICIT, 906, "operation would make the legacy stream depend on a capturing stream") \
    X(CAPTURED_EVENT, 907, "operation not permitted on an event last recorded in a capturing stream") \
    X(INVALID_CLUSTER_SIZE, 912, "misconfigured cluster")

namespace convc_emulated {

#define X(name, number, text) name = number,
enum Result { CONVC_RESULTS(X) };
#undef X

inline const char *result_name(int result) {
    switch (result) {
#define X(name, number, text) \
    case number: return number ? "CUDA_ERROR_" #name : "CUDA_SUCCESS";
        CONVC_RESULTS(X)
#undef X
    }
    return nullptr;
}

inline const char *result_text(int result) {
    switch (result) {
#define X(name, number, text) \
    case number: return text;
        CONVC_RESULTS(X)
#undef X
    }
    return nullptr;
}

}  // namespace convc_emulated
