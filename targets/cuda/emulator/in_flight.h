// What threads have in flight on the emulated device beside their own instructions.
#pragma once

#include "include/engine.h"

namespace convc_emulated {

// Before the threads of a cluster begin.
void nothing_in_flight();
// Do one thing that is in flight; whether there was one.
bool deliver();
// What a thread that ends, or a cluster whose threads all have, must not leave; null if it leaves nothing.
const char *left_by(const Thread &thread);
const char *left_by_cluster();

// wgmma.cpp
void no_products();
const char *products_left_by(const Thread &thread);

}  // namespace convc_emulated
