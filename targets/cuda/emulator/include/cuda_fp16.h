// Of emulate.h, which was included before.
#define __CUDA_FP16_H__
