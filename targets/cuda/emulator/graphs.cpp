// Graphs: work that was recorded, to be given to a stream any number of times. Branches come in the order of recording.
#include "memory.h"
#include "streams.h"

using namespace convc_emulated;

namespace {

std::map<void *, std::shared_ptr<Graph>> graphs, executables;

}  // namespace

namespace convc_emulated {

void forget_graphs() { graphs.clear(), executables.clear(); }

}  // namespace convc_emulated

#pragma GCC visibility push(default)
extern "C" {

int cuStreamBeginCapture_v2(void *handle, int mode) {
    READY;
    Stream *stream = stream_of(handle);
    if (!stream) return INVALID_HANDLE;
    if (stream == &null_stream) return STREAM_CAPTURE_UNSUPPORTED;
    if (stream->capture) return ILLEGAL_STATE;
    stream->capture = std::make_shared<Graph>();
    stream->capture->mode = mode;
    stream->origin = true;
    return SUCCESS;
}

int cuStreamIsCapturing(void *handle, int *status) {
    READY;
    Stream *stream = stream_of(handle);
    if (!stream) return INVALID_HANDLE;
    *status = !stream->capture ? 0 : stream->capture->broken ? 2 : 1;
    return SUCCESS;
}

int cuStreamEndCapture(void *handle, void **result) {
    READY;
    *result = nullptr;
    Stream *stream = stream_of(handle);
    if (!stream) return INVALID_HANDLE;
    if (!stream->capture) return ILLEGAL_STATE;
    if (!stream->origin) return STREAM_CAPTURE_UNMATCHED;
    std::shared_ptr<Graph> graph = stream->capture;
    stream->origin = false;
    forget_capture(graph);
    if (graph->broken) return STREAM_CAPTURE_INVALIDATED;
    *result = graph.get();
    graphs[graph.get()] = graph;
    return SUCCESS;
}

int cuGraphInstantiateWithFlags(void **result, void *handle, unsigned long long) {
    READY;
    auto found = graphs.find(handle);
    if (found == graphs.end()) return INVALID_HANDLE;
    auto executable = std::make_shared<Graph>(*found->second);
    *result = executable.get();
    executables[executable.get()] = executable;
    return SUCCESS;
}

int cuGraphLaunch(void *handle, void *stream) {
    READY;
    if (!executables.count(handle)) return INVALID_HANDLE;
    std::size_t count = executables[handle]->work.size();
    bool early = executables[handle]->early;
    for (std::size_t i = 0; i < count; ++i) {
        int result = enqueue(stream, [=] {
            if (early && !i) remember();
            auto found = executables.find(handle);
            if (sticky) return;
            if (found != executables.end()) found->second->work[i]();
            else sticky = say(INVALID_HANDLE, "a graph was destroyed before it was done");
            if (early && i + 1 == count) forget_memory();
        });
        if (result) return result;
    }
    return SUCCESS;
}

int cuGraphUpload(void *handle, void *) { return executables.count(handle) ? SUCCESS : INVALID_HANDLE; }

int cuGraphExecDestroy(void *handle) {
    LOCKED;
    return executables.erase(handle) ? SUCCESS : INVALID_HANDLE;
}

int cuGraphDestroy(void *handle) {
    LOCKED;
    return graphs.erase(handle) ? SUCCESS : INVALID_HANDLE;
}

}  // extern "C"
#pragma GCC visibility pop
