// Streams and events. Nothing is done before somebody waits for it, and then only that and what it must follow: what is
// not ordered comes late. With CONVC_EMULATED_ORDER=mixed all streams go on meanwhile, a piece of each in turn. While a
// stream is captured its work is recorded instead.
#include "streams.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

using namespace convc_emulated;

namespace convc_emulated {

Objects<Stream> streams;
Stream null_stream;

}  // namespace convc_emulated

namespace {

constexpr unsigned NON_BLOCKING = 1, NO_TIMING = 2;

struct Event {
    bool timed;
    std::shared_ptr<Piece> piece;  // what it was recorded after; null: it never was
    std::shared_ptr<Graph> capture;
};

Objects<Event> events;
std::map<std::thread::id, Stream> thread_streams;
std::vector<std::unique_ptr<Stream>> destroyed;  // they do what they were given nevertheless

std::vector<Stream *> all_streams() {
    std::vector<Stream *> result = {&null_stream};
    for (auto &[id, stream] : thread_streams) result.push_back(&stream);
    for (auto &[handle, stream] : streams) result.push_back(stream.get());
    for (auto &stream : destroyed) result.push_back(stream.get());
    return result;
}

void run(Piece &piece) {
    if (piece.work) piece.work();
    piece.work = nullptr, piece.after.clear();
    piece.done = true, piece.time = std::chrono::steady_clock::now();
}

bool can_run(const Piece &piece) {
    return std::all_of(piece.after.begin(), piece.after.end(), [](auto &each) { return each->done; });
}

void drop_done(Stream &stream) {
    while (!stream.pieces.empty() && stream.pieces.front()->done) stream.pieces.pop_front();
}

void forget(Stream &stream) {
    for (auto &piece : stream.pieces) piece->after.clear();
    stream.pieces.clear(), stream.last = nullptr;
}

void finish_stream(Stream &stream) {
    if (stream.last) finish(stream.last);
}

}  // namespace

namespace convc_emulated {

Stream *stream_of(void *handle) {
    auto number = reinterpret_cast<std::uintptr_t>(handle);
    if (number < 2) return &null_stream;
    return number == 2 ? &thread_streams[std::this_thread::get_id()] : lookup(streams, handle);
}

void give(Stream &stream, Work work, std::shared_ptr<Piece> after) {
    auto piece = std::make_shared<Piece>();
    piece->work = std::move(work);
    auto follow = [&](const std::shared_ptr<Piece> &before) {
        if (before && !before->done) piece->after.push_back(before);
    };
    follow(stream.last), follow(after);
    if (&stream == &null_stream) {
        for (Stream *other : all_streams())
            if (other->blocking) follow(other->last);
    } else if (stream.blocking) {
        follow(null_stream.last);
    }
    drop_done(stream);
    stream.pieces.push_back(stream.last = piece);
}

void finish(const std::shared_ptr<Piece> &wanted) {
    const char *order = std::getenv("CONVC_EMULATED_ORDER");
    if (order && !std::strcmp(order, "mixed")) {
        while (!wanted->done)
            for (Stream *stream : all_streams()) {
                drop_done(*stream);
                if (!stream->pieces.empty() && can_run(*stream->pieces.front())) run(*stream->pieces.front());
            }
        return;
    }
    std::vector<std::shared_ptr<Piece>> path = {wanted};
    while (!path.empty()) {
        std::shared_ptr<Piece> piece = path.back();
        auto before = std::find_if(piece->after.begin(), piece->after.end(), [](auto &each) { return !each->done; });
        if (before != piece->after.end()) {
            path.push_back(*before);
            continue;
        }
        if (!piece->done) run(*piece);
        path.pop_back();
    }
}

int finish(void *handle) {
    if (Stream *stream = stream_of(handle)) finish_stream(*stream);
    return sticky;
}

int finish_all() {
    for (Stream *stream : all_streams()) finish_stream(*stream);
    destroyed.clear();
    return sticky;
}

bool capturing() {
    return std::any_of(streams.begin(), streams.end(), [](auto &each) {
        const auto &capture = each.second->capture;
        return capture && (capture->mode == 0 || (capture->mode == 1 && capture->thread == std::this_thread::get_id()));
    });
}

void spoil_captures() {
    for (auto &[handle, stream] : streams)
        if (stream->capture) stream->capture->broken = true;
}

bool captured(void *handle) {
    Stream *stream = stream_of(handle);
    return stream && stream->capture;
}

bool note_early(void *handle) {
    Stream *stream = stream_of(handle);
    if (!stream || !stream->capture || stream->capture->work.empty()) return false;
    stream->capture->early = true;
    return true;
}

void forget_capture(const std::shared_ptr<Graph> &graph) {
    for (auto &[key, each] : streams)
        if (each->capture == graph) each->capture = nullptr;
    for (auto &[key, each] : events)
        if (each->capture == graph) each->capture = nullptr;
}

void forget_streams() {
    for (Stream *stream : all_streams()) forget(*stream);
    streams.clear(), events.clear(), thread_streams.clear(), destroyed.clear();
    forget_graphs();
}

int enqueue(void *handle, Work work) {
    Stream *stream = stream_of(handle);
    if (!stream) return INVALID_HANDLE;
    if (stream->capture) {
        if (stream->capture->broken) return STREAM_CAPTURE_INVALIDATED;
        stream->capture->work.push_back(std::move(work));
        return SUCCESS;
    }
    if (stream == &null_stream)
        for (auto &[key, each] : streams)
            if (each->capture && each->blocking) return STREAM_CAPTURE_IMPLICIT;
    give(*stream, std::move(work));
    return SUCCESS;
}

}  // namespace convc_emulated

#pragma GCC visibility push(default)
extern "C" {

int cuStreamCreate(void **result, unsigned flags) {
    READY;
    auto stream = std::make_unique<Stream>();
    stream->blocking = !(flags & NON_BLOCKING);
    *result = keep(streams, std::move(stream));
    return SUCCESS;
}

int cuStreamDestroy_v2(void *handle) {
    LOCKED;
    auto found = streams.find(handle);
    if (found == streams.end()) return INVALID_HANDLE;
    destroyed.push_back(std::move(found->second));
    streams.erase(found);
    return SUCCESS;
}

int cuStreamSynchronize(void *handle) {
    READY;
    Stream *stream = stream_of(handle);
    if (!stream) return INVALID_HANDLE;
    return stream->capture ? ready_and_free() : finish(handle);
}

int cuStreamQuery(void *handle) {
    READY;
    Stream *stream = stream_of(handle);
    if (!stream) return INVALID_HANDLE;
    if (stream->capture) return ready_and_free();
    return !stream->last || stream->last->done ? SUCCESS : NOT_READY;
}

int cuStreamWaitEvent(void *handle, void *what, unsigned) {
    READY;
    Stream *stream = stream_of(handle);
    Event *event = lookup(events, what);
    if (!stream || !event) return INVALID_HANDLE;
    if (event->capture) {  // a stream that waits for captured work is captured from there on
        if (!stream->capture) stream->capture = event->capture;
        return event->capture == stream->capture ? SUCCESS : STREAM_CAPTURE_MERGE;
    }
    if (!event->piece) return SUCCESS;
    if (stream->capture) return STREAM_CAPTURE_ISOLATION;
    give(*stream, nullptr, event->piece);
    return SUCCESS;
}

int cuEventCreate(void **result, unsigned flags) {
    READY;
    auto event = std::make_unique<Event>();
    event->timed = !(flags & NO_TIMING);
    *result = keep(events, std::move(event));
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
    event->piece = nullptr;
    if (stream->capture) return SUCCESS;
    give(*stream, nullptr);
    event->piece = stream->last;
    return SUCCESS;
}

int cuEventSynchronize(void *handle) {
    READY;
    Event *event = lookup(events, handle);
    if (!event) return INVALID_HANDLE;
    if (event->capture) return CAPTURED_EVENT;
    if (event->piece) finish(event->piece);
    return sticky;
}

int cuEventQuery(void *handle) {
    READY;
    Event *event = lookup(events, handle);
    if (!event) return INVALID_HANDLE;
    if (event->capture) return CAPTURED_EVENT;
    return !event->piece || event->piece->done ? SUCCESS : NOT_READY;
}

int cuEventElapsedTime(float *milliseconds, void *from, void *to) {
    READY;
    Event *first = lookup(events, from), *last = lookup(events, to);
    if (!first || !last || !first->timed || !last->timed || !first->piece || !last->piece) return INVALID_HANDLE;
    if (!first->piece->done || !last->piece->done) return NOT_READY;
    *milliseconds = std::chrono::duration<float, std::milli>(last->piece->time - first->piece->time).count();
    return SUCCESS;
}

int cuEventElapsedTime_v2(float *milliseconds, void *from, void *to) {
    return cuEventElapsedTime(milliseconds, from, to);
}

}  // extern "C"
#pragma GCC visibility pop
