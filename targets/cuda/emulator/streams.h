// Streams: what they were given and have not done.
#pragma once

#include <chrono>
#include <deque>
#include <thread>
#include <vector>

#include "driver.h"

namespace convc_emulated {

// What a stream was given in one call.
struct Piece {
    Work work;
    std::vector<std::shared_ptr<Piece>> after;  // what it waits for
    bool done = false;
    std::chrono::steady_clock::time_point time;  // when it was
};

struct Graph {
    std::vector<Work> work;
    bool broken = false;  // something that cannot be captured was asked for
    bool early = false;   // some launches may begin before those before them have ended
    int mode = 0;         // whose calls that cannot be captured count: 0 all, 1 those of the thread
    std::thread::id thread = std::this_thread::get_id();
};

struct Stream {
    bool blocking = true;  // waits for the null stream, which waits for it
    std::deque<std::shared_ptr<Piece>> pieces;  // those that are not done, and perhaps some that are, in order
    std::shared_ptr<Piece> last;
    std::shared_ptr<Graph> capture;
    bool origin = false;  // of the capture
};

extern Objects<Stream> streams;
extern Stream null_stream;

// Of a handle; 0 and 1 name the null stream, 2 the calling thread's own.
Stream *stream_of(void *handle);
// Give a stream work that waits for what it was given, and for one more piece.
void give(Stream &stream, Work work, std::shared_ptr<Piece> after = nullptr);
// Do a piece and what it waits for.
void finish(const std::shared_ptr<Piece> &piece);
// The captures end, of streams and events.
void forget_capture(const std::shared_ptr<Graph> &graph);
void forget_graphs();

}  // namespace convc_emulated
