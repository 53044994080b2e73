// A libcuda.so.1 whose device is this process: the entry points of the driver API that a run-time of kernels and graphs
// needs. Work is done when it is issued, in the order of issue, so streams do not overlap; while a stream is captured it
// is recorded instead, and done when its graph is launched. A kernel that fails is reported by the next call that
// synchronises, and by all that follow it, until the primary context is reset.
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <sys/mman.h>
#include <unistd.h>
#include <vector>

#include "engine_functions.h"
#include "fibres.h"
#include "memory.h"
#include "results.h"
#include "tensor_maps.h"

using namespace convc_emulated;

namespace {

using Work = std::function<void()>;

constexpr unsigned SHARED_MEMORY = 48 << 10, SHARED_MEMORY_OPT_IN = 227 << 10, MOST_THREADS = 1024, MOST_CLUSTER = 8;

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

struct Module {
    void *library = nullptr;
    int file;
    char *shared[2];  // begin and end of static shared memory

    explicit Module(int file) : file(file) {}
    Module(const Module &) = delete;
    ~Module() {
        if (library) dlclose(library);
        close(file);
    }
};

struct Function {
    const Kernel *kernel;
    const Module *module;
    std::string name;
    unsigned dynamic_limit = SHARED_MEMORY;
};

std::recursive_mutex lock;
bool initialised;
unsigned retained;
int sticky;  // the result of a kernel that failed
std::string last_message;
int context;  // its address is the context
thread_local std::vector<void *> contexts;

std::map<void *, std::unique_ptr<Stream>> streams;
std::map<void *, std::unique_ptr<Event>> events;
std::map<void *, std::unique_ptr<Module>> modules;
std::map<void *, std::unique_ptr<Function>> functions;
std::map<void *, std::shared_ptr<Graph>> graphs, executables;
Stream null_stream;

template <class T>
T *lookup(std::map<void *, std::unique_ptr<T>> &objects, void *handle) {
    auto found = objects.find(handle);
    return found == objects.end() ? nullptr : found->second.get();
}

template <class T>
void *keep(std::map<void *, std::unique_ptr<T>> &objects, std::unique_ptr<T> object) {
    void *handle = object.get();
    objects[handle] = std::move(object);
    return handle;
}

// 0, 1 and 2 name the stream of the context.
Stream *stream_of(void *handle) {
    return reinterpret_cast<std::uintptr_t>(handle) <= 2 ? &null_stream : lookup(streams, handle);
}

int say(int result, std::string message) {
    last_message = std::move(message);
    std::fprintf(stderr, "emulated CUDA device: %s\n", last_message.c_str());
    return result;
}

bool capturing() {
    for (auto &[handle, stream] : streams)
        if (stream->capture) return true;
    return false;
}

// What a call may answer before it does anything.
int ready() {
    if (!initialised) return NOT_INITIALIZED;
    if (contexts.empty() || !contexts.back()) return INVALID_CONTEXT;
    return sticky;
}

// For calls that a capture in progress does not allow.
int ready_and_free() {
    if (int result = ready()) return result;
    if (!capturing()) return SUCCESS;
    for (auto &[handle, stream] : streams)
        if (stream->capture) stream->capture->broken = true;
    return STREAM_CAPTURE_UNSUPPORTED;
}

#define LOCKED std::lock_guard<std::recursive_mutex> guard(lock)
#define READY                          \
    LOCKED;                            \
    if (int result = ready()) return result
#define READY_AND_FREE                 \
    LOCKED;                            \
    if (int result = ready_and_free()) return result

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

bool inside(const void *address, std::size_t bytes, Place place) {
    char *begin;
    const Allocation *allocation = find(address, &begin);
    return allocation && allocation->place == place &&
           bytes <= allocation->size - std::size_t(static_cast<const char *>(address) - begin);
}

int copy(void *to, const void *from, std::size_t bytes, const void *on_device, const void *other, void *stream) {
    if (!bytes) return SUCCESS;
    if (!inside(on_device, bytes, Place::DEVICE) || (other && !inside(other, bytes, Place::DEVICE)) || !to || !from)
        return say(INVALID_VALUE, "a copy of " + std::to_string(bytes) + " bytes leaves its allocation");
    return enqueue(stream, [=] { std::memcpy(to, from, bytes); });
}

unsigned capability() {
    const char *text = std::getenv("CONVC_EMULATED_SM");
    return text ? unsigned(std::atoi(text)) : 90;
}

void *pointer(std::uint64_t address) { return reinterpret_cast<void *>(address); }

// A pointer that is no allocation's would fault on a device as soon as it is followed.
const char *stray(const Kernel &kernel, void *const *values) {
    static char text[100];
    for (unsigned i = 0; i < kernel.count; ++i) {
        if (!kernel.pointers[i]) continue;
        void *value = *static_cast<void **>(values[i]);
        if (!value || find(value)) continue;
        std::snprintf(text, sizeof text, "parameter %u, %p, is not a pointer to device memory", i, value);
        return text;
    }
    return nullptr;
}

int launch(Function &function, Grid grid, unsigned dynamic, void *stream, void **parameters) {
    const Index &b = grid.blocks, &t = grid.threads, &c = grid.cluster;
    std::uint64_t count = std::uint64_t(t.x) * t.y * t.z, cluster = std::uint64_t(c.x) * c.y * c.z;
    if (!b.x || !b.y || !b.z || !count || b.x > 0x7fffffff || b.y > 65535 || b.z > 65535 || t.z > 64 || count > MOST_THREADS)
        return say(INVALID_VALUE, function.name + ": a grid or block of that shape cannot be launched");
    if (dynamic > function.dynamic_limit)
        return say(INVALID_VALUE, function.name + ": " + std::to_string(dynamic) + " bytes of dynamic shared memory, " +
                                      std::to_string(function.dynamic_limit) + " are allowed");
    if (!cluster || cluster > MOST_CLUSTER || b.x % c.x || b.y % c.y || b.z % c.z || (cluster > 1 && capability() < 90))
        return say(INVALID_CLUSTER_SIZE, function.name + ": a cluster of that shape cannot be launched");
    if (!parameters && function.kernel->count) return INVALID_VALUE;

    // As on a device, the values are copied now.
    auto values = std::make_shared<std::vector<std::unique_ptr<char[]>>>();
    auto places = std::make_shared<std::vector<void *>>();
    for (unsigned i = 0; i < function.kernel->count; ++i) {
        constexpr std::size_t LINE = 64;  // what the widest parameter, a tensor map, is aligned to
        values->push_back(std::make_unique<char[]>(function.kernel->sizes[i] + LINE));
        char *place = values->back().get();
        place += (LINE - reinterpret_cast<std::uintptr_t>(place) % LINE) % LINE;
        std::memcpy(place, parameters[i], function.kernel->sizes[i]);
        places->push_back(place);
    }
    return enqueue(stream, [&function, grid, dynamic, values, places] {
        if (sticky) return;
        if (const char *what = stray(*function.kernel, places->data())) {
            sticky = say(ILLEGAL_ADDRESS, "kernel " + function.name + ": " + what);
            return;
        }
        const Module &module = *function.module;
        Launch one = {function.kernel, function.name.c_str(), grid, dynamic, module.shared[0], module.shared[1], places->data()};
        std::string message;
        if ((sticky = run(one, message))) say(sticky, message);
    });
}

}  // namespace

#pragma GCC visibility push(default)
extern "C" {

// Not of the driver API: what the last call that failed had to say.
const char *convc_emulator_message() { return last_message.c_str(); }

int cuInit(unsigned) {
    initialised = true;
    return SUCCESS;
}

int cuDriverGetVersion(int *version) {
    *version = 13000;
    return SUCCESS;
}

int cuGetErrorName(int result, const char **text) {
    *text = result_name(result);
    return *text ? SUCCESS : INVALID_VALUE;
}

int cuGetErrorString(int result, const char **text) {
    *text = result_text(result);
    return *text ? SUCCESS : INVALID_VALUE;
}

// Devices and contexts

int cuDeviceGetCount(int *count) {
    *count = 1;
    return initialised ? SUCCESS : NOT_INITIALIZED;
}

int cuDeviceGet(int *device, int ordinal) {
    *device = 0;
    return !initialised ? NOT_INITIALIZED : ordinal ? INVALID_DEVICE : SUCCESS;
}

int cuDeviceGetName(char *name, int size, int device) {
    if (device) return INVALID_DEVICE;
    std::snprintf(name, std::size_t(size), "convc emulated device");
    return SUCCESS;
}

int cuDeviceTotalMem_v2(std::size_t *bytes, int device) {
    *bytes = memory_limit();
    return device ? INVALID_DEVICE : SUCCESS;
}

int cuDeviceGetAttribute(int *value, int attribute, int device) {
    if (device) return INVALID_DEVICE;
    switch (attribute) {
    case 1: *value = MOST_THREADS; break;                 // threads of a block
    case 2: case 3: *value = 1024; break;                 // of its x and y
    case 4: *value = 64; break;                           // of its z
    case 5: *value = 0x7fffffff; break;                   // blocks of a grid in x
    case 6: case 7: *value = 65535; break;                // in y and z
    case 8: *value = SHARED_MEMORY; break;
    case 9: *value = 64 << 10; break;                     // constant memory
    case 10: *value = 32; break;                          // threads of a warp
    case 12: case 82: *value = 64 << 10; break;           // registers of a block, of a multiprocessor
    case 13: *value = 1000000; break;                     // kHz
    case 16: *value = 4; break;                           // multiprocessors
    case 31: case 41: case 95: *value = 1; break;         // concurrent kernels, one address space, cooperation
    case 36: *value = 1000000; break;                     // kHz of the memory
    case 37: *value = 1024; break;                        // bits of its bus
    case 38: *value = 8 << 20; break;                     // bytes of L2
    case 39: *value = 2048; break;                        // threads of a multiprocessor
    case 75: *value = int(capability() / 10); break;
    case 76: *value = int(capability() % 10); break;
    case 81: *value = 228 << 10; break;                   // shared memory of a multiprocessor
    case 97: *value = SHARED_MEMORY_OPT_IN; break;
    case 106: *value = 32; break;                         // blocks of a multiprocessor
    case 111: *value = int(RESERVED); break;              // shared memory that the system keeps
    case 120: case 127: *value = capability() >= 90; break;  // clusters, tensor maps
    default: *value = 0;
    }
    return SUCCESS;
}

int cuDevicePrimaryCtxRetain(void **result, int device) {
    LOCKED;
    if (!initialised) return NOT_INITIALIZED;
    if (device) return INVALID_DEVICE;
    ++retained;
    *result = &context;
    return SUCCESS;
}

int cuDevicePrimaryCtxReset_v2(int) {
    LOCKED;
    sticky = 0;
    streams.clear(), events.clear(), graphs.clear(), executables.clear(), functions.clear(), modules.clear();
    release_all();
    return SUCCESS;
}

int cuDevicePrimaryCtxRelease_v2(int device) {
    LOCKED;
    if (!retained) return INVALID_CONTEXT;
    return --retained ? SUCCESS : cuDevicePrimaryCtxReset_v2(device);
}

int cuCtxSetCurrent(void *value) {
    if (!contexts.empty()) contexts.pop_back();
    if (value) contexts.push_back(value);
    return SUCCESS;
}

int cuCtxGetCurrent(void **value) {
    *value = contexts.empty() ? nullptr : contexts.back();
    return SUCCESS;
}

int cuCtxPushCurrent_v2(void *value) {
    if (value != &context) return INVALID_CONTEXT;
    contexts.push_back(value);
    return SUCCESS;
}

int cuCtxPopCurrent_v2(void **value) {
    if (contexts.empty()) return INVALID_CONTEXT;
    if (value) *value = contexts.back();
    contexts.pop_back();
    return SUCCESS;
}

int cuCtxGetDevice(int *device) {
    *device = 0;
    return contexts.empty() ? INVALID_CONTEXT : SUCCESS;
}

int cuCtxSynchronize() {
    READY_AND_FREE;
    return SUCCESS;
}

// Modules and functions

int cuModuleLoadData(void **result, const void *image) {
    READY;
    const char *bytes = static_cast<const char *>(image);
    if (!bytes || std::memcmp(bytes, "\177ELF", 4)) return say(INVALID_IMAGE, "the image is not an ELF file");
    // An ELF file of 64 bits ends with its section headers: e_shoff, e_shentsize, e_shnum.
    std::uint64_t sections;
    std::uint16_t size, count;
    std::memcpy(&sections, bytes + 40, 8);
    std::memcpy(&size, bytes + 58, 2);
    std::memcpy(&count, bytes + 60, 2);
    auto module = std::make_unique<Module>(memfd_create("kernels", MFD_CLOEXEC));
    std::size_t whole = sections + std::size_t(size) * count;
    if (write(module->file, bytes, whole) != ssize_t(whole)) return OUT_OF_MEMORY;
    // dlopen takes libraries of one path for the same: the file stays open as long as the module is loaded.
    module->library = dlopen(("/proc/self/fd/" + std::to_string(module->file)).c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!module->library) return say(NO_BINARY_FOR_GPU, dlerror());
    using Attach = void (*)(const Engine *, char *(&)[2]);
    auto attach = reinterpret_cast<Attach>(dlsym(module->library, "convc_attach"));
    if (!attach) return say(NO_BINARY_FOR_GPU, "the image was not compiled for the emulated device");
    attach(&engine, module->shared);
    *result = keep(modules, std::move(module));
    return SUCCESS;
}

int cuModuleUnload(void *handle) {
    READY;
    Module *module = lookup(modules, handle);
    if (!module) return INVALID_HANDLE;
    for (auto each = functions.begin(); each != functions.end();)
        each = each->second->module == module ? functions.erase(each) : std::next(each);
    modules.erase(handle);
    return SUCCESS;
}

int cuModuleGetFunction(void **result, void *handle, const char *name) {
    READY;
    Module *module = lookup(modules, handle);
    if (!module) return INVALID_HANDLE;
    for (auto &[key, function] : functions)
        if (function->module == module && function->name == name) {
            *result = key;
            return SUCCESS;
        }
    void *kernel = dlsym(module->library, (std::string("convc_kernel_") + name).c_str());
    if (!kernel) return NOT_FOUND;
    auto function = std::make_unique<Function>();
    function->kernel = static_cast<const Kernel *>(kernel);
    function->module = module;
    function->name = name;
    *result = keep(functions, std::move(function));
    return SUCCESS;
}

int cuFuncSetAttribute(void *handle, int attribute, int value) {
    READY;
    Function *function = lookup(functions, handle);
    if (!function) return INVALID_HANDLE;
    if (attribute == 8) {  // dynamic shared memory
        if (value < 0 || value > int(SHARED_MEMORY_OPT_IN)) return INVALID_VALUE;
        function->dynamic_limit = unsigned(value);
    } else if (attribute != 9 && attribute != 14) {  // the carve-out and large clusters change nothing
        return INVALID_VALUE;
    }
    return SUCCESS;
}

int cuFuncGetAttribute(int *value, int attribute, void *handle) {
    READY;
    Function *function = lookup(functions, handle);
    if (!function) return INVALID_HANDLE;
    switch (attribute) {
    case 0: *value = MOST_THREADS; break;
    case 5: case 6: *value = int(capability()); break;
    case 8: *value = int(function->dynamic_limit); break;
    default: *value = 0;
    }
    return SUCCESS;
}

// Memory

int cuMemAlloc_v2(std::uint64_t *result, std::size_t bytes) {
    READY_AND_FREE;
    if (!bytes) return INVALID_VALUE;
    void *place = allocate(bytes, Place::DEVICE);
    *result = reinterpret_cast<std::uint64_t>(place);
    return place ? SUCCESS : OUT_OF_MEMORY;
}

int cuMemFree_v2(std::uint64_t place) {
    READY_AND_FREE;
    return !place || release(pointer(place), Place::DEVICE) ? SUCCESS : INVALID_VALUE;
}

int cuMemGetInfo_v2(std::size_t *available, std::size_t *total) {
    READY;
    *total = memory_limit();
    *available = *total - memory_used();
    return SUCCESS;
}

int cuMemHostAlloc(void **result, std::size_t bytes, unsigned) {
    READY_AND_FREE;
    if (!bytes) return INVALID_VALUE;
    *result = allocate(bytes, Place::HOST);
    return *result ? SUCCESS : OUT_OF_MEMORY;
}

int cuMemAllocHost_v2(void **result, std::size_t bytes) { return cuMemHostAlloc(result, bytes, 0); }

int cuMemFreeHost(void *place) {
    READY_AND_FREE;
    return release(place, Place::HOST) ? SUCCESS : INVALID_VALUE;
}

int cuMemcpyHtoDAsync_v2(std::uint64_t to, const void *from, std::size_t bytes, void *stream) {
    READY;
    return copy(pointer(to), from, bytes, pointer(to), nullptr, stream);
}

int cuMemcpyDtoHAsync_v2(void *to, std::uint64_t from, std::size_t bytes, void *stream) {
    READY;
    return copy(to, pointer(from), bytes, pointer(from), nullptr, stream);
}

int cuMemcpyDtoDAsync_v2(std::uint64_t to, std::uint64_t from, std::size_t bytes, void *stream) {
    READY;
    return copy(pointer(to), pointer(from), bytes, pointer(to), pointer(from), stream);
}

int cuMemcpyHtoD_v2(std::uint64_t to, const void *from, std::size_t bytes) {
    READY_AND_FREE;
    return cuMemcpyHtoDAsync_v2(to, from, bytes, nullptr);
}

int cuMemcpyDtoH_v2(void *to, std::uint64_t from, std::size_t bytes) {
    READY_AND_FREE;
    return cuMemcpyDtoHAsync_v2(to, from, bytes, nullptr);
}

int cuMemsetD8Async(std::uint64_t to, unsigned char value, std::size_t count, void *stream) {
    READY;
    if (!inside(pointer(to), count, Place::DEVICE)) return INVALID_VALUE;
    return enqueue(stream, [=] { std::memset(pointer(to), value, count); });
}

int cuPointerGetAttribute(void *result, int attribute, std::uint64_t place) {
    READY;
    char *begin;
    const Allocation *allocation = find(pointer(place), &begin);
    if (!allocation) return INVALID_VALUE;
    switch (attribute) {
    case 1: *static_cast<void **>(result) = &context; break;
    case 2: *static_cast<unsigned *>(result) = unsigned(allocation->place); break;
    case 3: *static_cast<std::uint64_t *>(result) = place; break;
    case 4:
        if (allocation->place != Place::HOST) return INVALID_VALUE;
        *static_cast<void **>(result) = pointer(place);
        break;
    case 8: *static_cast<unsigned *>(result) = 0; break;
    case 9: *static_cast<int *>(result) = 0; break;
    case 11: *static_cast<char **>(result) = begin; break;
    case 12: *static_cast<std::size_t *>(result) = allocation->size; break;
    default: return INVALID_VALUE;
    }
    return SUCCESS;
}

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

int cuEventElapsedTime_v2(float *milliseconds, void *from, void *to) { return cuEventElapsedTime(milliseconds, from, to); }

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

// Launches

int cuLaunchKernel(void *handle, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                   unsigned dynamic, void *stream, void **parameters, void **extra) {
    READY;
    Function *function = lookup(functions, handle);
    if (!function) return INVALID_HANDLE;
    if (extra) return NOT_SUPPORTED;
    return launch(*function, {{gx, gy, gz}, {bx, by, bz}, {1, 1, 1}}, dynamic, stream, parameters);
}

struct Attribute {
    int id, padding;
    unsigned value[16];
};

struct Configuration {
    Index blocks, threads;
    unsigned dynamic;
    void *stream;
    const Attribute *attributes;
    unsigned count;
};

int cuLaunchKernelEx(const Configuration *configuration, void *handle, void **parameters, void **extra) {
    READY;
    Function *function = lookup(functions, handle);
    if (!function) return INVALID_HANDLE;
    if (extra) return NOT_SUPPORTED;
    Index cluster = {1, 1, 1};
    for (unsigned i = 0; i < configuration->count; ++i) {
        const Attribute &attribute = configuration->attributes[i];
        if (attribute.id == 4) cluster = {attribute.value[0], attribute.value[1], attribute.value[2]};
        else if (attribute.id == 2 && attribute.value[0]) return NOT_SUPPORTED;  // blocks that wait for each other
    }
    return launch(*function, {configuration->blocks, configuration->threads, cluster}, configuration->dynamic,
                  configuration->stream, parameters);
}

int cuTensorMapEncodeTiled(CUtensorMap *map, int type, unsigned rank, void *address, const std::uint64_t *shape,
                           const std::uint64_t *strides, const unsigned *box, const unsigned *steps, int interleave,
                           int swizzle, int, int fill) {
    READY;
    if (capability() < 90) return NOT_SUPPORTED;
    if (const char *what = encode(map, type, rank, address, shape, strides, box, steps, interleave, swizzle, fill))
        return say(INVALID_VALUE, std::string("cuTensorMapEncodeTiled: ") + what);
    return SUCCESS;
}

}  // extern "C"
#pragma GCC visibility pop
