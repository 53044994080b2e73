// Of emulate.h, which was included before.
