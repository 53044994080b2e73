// Streams, events and graphs. Work is done when it is issued, in the order of issue, so streams do not overlap; while a
// stream is captured it is recorded instead, and done when its graph is launched.
#include <chrono>
#include <vector>

#include "driver.h"

using namespace convc_emulated;

namespace {

struct Graph {
    std::vector<Work> work;
    bool broken = false;  // something that cannot be captured was asked for
};

struct Stream {
    std::shared_ptr<Graph> capture;
    bool origin = false;  // of the capture
};

struct Event {
    std::shared_ptr<Graph> capture;
    bool recorded = false;
    std::chrono::steady_clock::time_point time;
};

Objects<Stream> streams;
Objects<Event> events;
std::map<void *, std::shared_ptr<Graph>> graphs, executables;
Stream null_stream;

// 0, 1 and 2 name the stream of the context.
Stream *stream_of(void *handle) {
    return reinterpret_cast<std::uintptr_t>(handle) <= 2 ? &null_stream : lookup(streams, handle);
}

}  // namespace

namespace convc_emulated {

bool capturing() {
    for (auto &[handle, stream] : streams)
        if (stream->capture) return true;
    return false;
}

void spoil_captures() {
    for (auto &[handle, stream] : streams)
        if (stream->capture) stream->capture->broken = true;
}

void forget_streams() { streams.clear(), events.clear(), graphs.clear(), executables.clear(); }

int enqueue(void *handle, Work work) {
    Stream *stream = stream_of(handle);
    if (!stream) return INVALID_HANDLE;
    if (stream->capture) {
        if (stream->capture->broken) return STREAM_CAPTURE_INVALIDATED;
        stream->capture->work.push_back(std::move(work));
    } else {
        if (stream == &null_stream && capturing()) return STREAM_CAPTURE_IMPLICIT;
        work();
    }
    return SUCCESS;
}

}  // namespace convc_emulated

#pragma GCC visibility push(default)
extern "C" {

// Streams and events

int cuStreamCreate(void **result, unsigned) {
    READY;
    *result = keep(streams, std::make_unique<Stream>());
    return SUCCESS;
}

int cuStreamDestroy_v2(void *handle) {
    LOCKED;
    return streams.erase(handle) ? SUCCESS : INVALID_HANDLE;
}

int cuStreamSynchronize(void *handle) {
    READY;
    Stream *stream = stream_of(handle);
    if (!stream) return INVALID_HANDLE;
    return stream->capture ? ready_and_free() : SUCCESS;
}

int cuStreamQuery(void *handle) { return cuStreamSynchronize(handle); }

int cuStreamWaitEvent(void *handle, void *what, unsigned) {
    READY;
    Stream *stream = stream_of(handle);
    Event *event = lookup(events, what);
    if (!stream || !event) return INVALID_HANDLE;
    // Work waits in order of issue as it is; a stream that waits for captured work is captured from there on.
    if (event->capture && !stream->capture) stream->capture = event->capture;
    return event->capture == stream->capture || !event->capture ? SUCCESS : STREAM_CAPTURE_MERGE;
}

int cuEventCreate(void **result, unsigned) {
    READY;
    *result = keep(events, std::make_unique<Event>());
    return SUCCESS;
}

int cuEventDestroy_v2(void *handle) {
    LOCKED;
    return events.erase(handle) ? SUCCESS : INVALID_HANDLE;
}

int cuEventRecord(void *handle, void *on) {
    READY;
    Event *event = lookup(events, handle);
    Stream *stream = stream_of(on);
    if (!event || !stream) return INVALID_HANDLE;
    event->capture = stream->capture;
    event->recorded = true;
    event->time = std::chrono::steady_clock::now();
    return SUCCESS;
}

int cuEventSynchronize(void *handle) {
    READY;
    Event *event = lookup(events, handle);
    if (!event) return INVALID_HANDLE;
    return event->capture ? CAPTURED_EVENT : SUCCESS;
}

int cuEventQuery(void *handle) { return cuEventSynchronize(handle); }

int cuEventElapsedTime(float *milliseconds, void *from, void *to) {
    READY;
    Event *first = lookup(events, from), *last = lookup(events, to);
    if (!first || !last || !first->recorded || !last->recorded) return INVALID_HANDLE;
    *milliseconds = std::chrono::duration<float, std::milli>(last->time - first->time).count();
    return SUCCESS;
}

int cuEventElapsedTime_v2(float *milliseconds, void *from, void *to) {
    return cuEventElapsedTime(milliseconds, from, to);
}

// Graphs

int cuStreamBeginCapture_v2(void *handle, int) {
    READY;
    Stream *stream = stream_of(handle);
    if (!stream) return INVALID_HANDLE;
    if (stream == &null_stream) return STREAM_CAPTURE_UNSUPPORTED;
    if (stream->capture) return ILLEGAL_STATE;
    stream->capture = std::make_shared<Graph>();
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
    for (auto &[key, each] : streams)
        if (each->capture == graph) each->capture = nullptr;
    for (auto &[key, each] : events)
        if (each->capture == graph) each->capture = nullptr;
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
    auto found = executables.find(handle);
    if (found == executables.end()) return INVALID_HANDLE;
    return enqueue(stream, [graph = found->second] {
        for (const Work &work : graph->work) work();
    });
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
