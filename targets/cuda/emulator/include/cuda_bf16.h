// Of emulate.h, which was included before.
#define __CUDA_BF16_H__
