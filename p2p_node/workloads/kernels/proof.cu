/* All kernels of the proof of physical work. CUDA, and C11 when compiled as C. */

#include "expand.h"
#include "products.h"
#include "rows.h"
#include "seeds.h"
#include "trees.h"
