// What the entry points of the driver share.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "results.h"

namespace convc_emulated {

using Work = std::function<void()>;

extern std::recursive_mutex lock;
extern int sticky;   // the result of a kernel that failed
extern int context;  // its address is the context

// Objects by their handles, which are their addresses.
template <class T>
using Objects = std::map<void *, std::unique_ptr<T>>;

template <class T>
T *lookup(Objects<T> &objects, void *handle) {
    auto found = objects.find(handle);
    return found == objects.end() ? nullptr : found->second.get();
}

template <class T>
void *keep(Objects<T> &objects, std::unique_ptr<T> object) {
    void *handle = object.get();
    objects[handle] = std::move(object);
    return handle;
}

inline void *pointer(std::uint64_t address) { return reinterpret_cast<void *>(address); }

// The result, after noting and printing why.
int say(int result, std::string message);
// What a call may answer before it does anything; and one that a capture in progress does not allow.
int ready();
int ready_and_free();
// Give the work to the stream, or record it where the stream is captured.
int enqueue(void *stream, Work work);
bool captured(void *stream);
// A launch that may begin early comes next: whether the stream is captured, and its graph has a launch before it.
bool note_early(void *stream);
// Do what a stream was given, or all streams; the result of a kernel that failed.
int finish(void *stream);
int finish_all();
// Whether streams are captured in a way that forbids this thread some calls; spoil their captures.
bool capturing();
void spoil_captures();
void forget_streams();

}  // namespace convc_emulated

#define LOCKED std::lock_guard<std::recursive_mutex> guard(lock)
#define READY \
    LOCKED;   \
    if (int result = ready()) return result
#define READY_AND_FREE \
    LOCKED;            \
    if (int result = ready_and_free()) return result
