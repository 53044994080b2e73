// A libcuda.so.1 whose device is this process: the entry points of the driver API that a run-time of kernels and graphs
// needs. A kernel that fails is reported by the call that waits for it, and by all that follow it, until the primary
// context is reset.
#include "driver.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <sys/mman.h>
#include <unistd.h>
#include <vector>

#include "blocks.h"
#include "engine_functions.h"
#include "launch.h"
#include "memory.h"
#include "tensor_maps.h"

using namespace convc_emulated;

namespace convc_emulated {

std::recursive_mutex lock;
int sticky, context;

}  // namespace convc_emulated

namespace {

constexpr unsigned SHARED_MEMORY = 48 << 10, SHARED_MEMORY_OPT_IN = 227 << 10, MOST_CLUSTER = 8;

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

bool initialised;
unsigned retained;
std::string last_message;
thread_local std::vector<void *> contexts;
Objects<Module> modules;
Objects<Function> functions;

unsigned capability() {
    const char *text = std::getenv("CONVC_EMULATED_SM");
    return text ? unsigned(std::atoi(text)) : 90;
}

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

unsigned most_threads(const Function &function) {
    return function.kernel->threads ? function.kernel->threads : MOST_THREADS;
}

int launch(Function &function, Grid grid, unsigned dynamic, void *stream, void **parameters, bool early) {
    const Index &b = grid.blocks, &t = grid.threads, &c = grid.cluster;
    std::uint64_t count = std::uint64_t(t.x) * t.y * t.z, cluster = std::uint64_t(c.x) * c.y * c.z;
    bool blocks_fit = b.x && b.y && b.z && b.x <= 0x7fffffff && b.y <= 65535 && b.z <= 65535;
    if (!blocks_fit || !count || count > MOST_THREADS || t.z > 64)
        return say(INVALID_VALUE, function.name + ": a grid or block of that shape cannot be launched");
    if (count > most_threads(function))
        return say(INVALID_VALUE, function.name + ": a block of " + std::to_string(count) + " threads, its bound is " +
                                      std::to_string(most_threads(function)));
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
        constexpr std::size_t LINE = 128;  // what the widest parameter, a tensor map, is aligned to
        values->push_back(std::make_unique<char[]>(function.kernel->sizes[i] + LINE));
        char *place = values->back().get();
        place += (LINE - reinterpret_cast<std::uintptr_t>(place) % LINE) % LINE;
        std::memcpy(place, parameters[i], function.kernel->sizes[i]);
        places->push_back(place);
    }
    // Only in a graph: elsewhere it begins late.
    early = early && capability() >= 90 && note_early(stream);
    return enqueue(stream, [handle = &function, grid, dynamic, values, places, early] {
        if (sticky) return;
        const Function *known = lookup(functions, handle);
        if (!known) {
            sticky = say(INVALID_HANDLE, "the module of a kernel was unloaded before the graph that launches it");
            return;
        }
        const Function &function = *known;
        if (const char *what = stray(*function.kernel, places->data())) {
            sticky = say(ILLEGAL_ADDRESS, "kernel " + function.name + ": " + what);
            return;
        }
        const Module &module = *function.module;
        Launch one = {function.kernel,  function.name.c_str(), grid,           dynamic,
                      module.shared[0], module.shared[1],      places->data(), early && remembers()};
        std::string message;
        if ((sticky = run(one, message))) say(sticky, message);
    });
}

}  // namespace

namespace convc_emulated {

int say(int result, std::string message) {
    last_message = std::move(message);
    std::fprintf(stderr, "emulated CUDA device: %s\n", last_message.c_str());
    return result;
}

int ready() {
    if (!initialised) return NOT_INITIALIZED;
    if (contexts.empty() || !contexts.back()) return INVALID_CONTEXT;
    return sticky;
}

int ready_and_free() {
    if (int result = ready()) return result;
    if (!capturing()) return SUCCESS;
    spoil_captures();
    return STREAM_CAPTURE_UNSUPPORTED;
}

}  // namespace convc_emulated

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
    case 115: *value = 1; break;                          // pools of memory
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
    forget_streams();
    functions.clear(), modules.clear();
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
    return finish_all();
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
    case 0: *value = int(most_threads(*function)); break;
    case 5: case 6: *value = int(capability()); break;
    case 8: *value = int(function->dynamic_limit); break;
    default: *value = 0;
    }
    return SUCCESS;
}

// Launches

int cuLaunchKernel(void *handle, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz,
                   unsigned dynamic, void *stream, void **parameters, void **extra) {
    READY;
    Function *function = lookup(functions, handle);
    if (!function) return INVALID_HANDLE;
    if (extra) return NOT_SUPPORTED;
    return launch(*function, {{gx, gy, gz}, {bx, by, bz}, {1, 1, 1}}, dynamic, stream, parameters, false);
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
    bool early = false;
    for (unsigned i = 0; i < configuration->count; ++i) {
        const Attribute &attribute = configuration->attributes[i];
        if (attribute.id == 4) cluster = {attribute.value[0], attribute.value[1], attribute.value[2]};
        else if (attribute.id == 6) early = attribute.value[0];
        else if (attribute.id == 2 && attribute.value[0]) return NOT_SUPPORTED;  // blocks that wait for each other
    }
    return launch(*function, {configuration->blocks, configuration->threads, cluster}, configuration->dynamic,
                  configuration->stream, parameters, early);
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
