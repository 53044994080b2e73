#include "engine_functions.h"

namespace convc_emulated {

#define X(name) .name = emulated_##name,
Engine engine = {.thread = nullptr, .grid = {}, CONVC_ENGINE_FUNCTIONS(X)};
#undef X

}  // namespace convc_emulated
