/* Products for which cuBLAS has no kernel. */

#ifndef KAISAR_PRODUCTS_H
#define KAISAR_PRODUCTS_H

#include "portable.h"

/* C = A·B for a few rows: A (m × k) and Bᵀ (n × k) int8, C (m × n) int32, row-major. An item is
   one element of C; `count` = m · n. Exact for k ≤ 131,056. */
KERNEL multiply_few(u64 count, const signed char *RESTRICT a, const signed char *RESTRICT b,
                    u64 k, u64 n, int *RESTRICT c) {
    FOR_EACH(item, count) {
        u64 row = item / n, column = item - row * n;
        const signed char *left = a + row * k, *right = b + column * k;
        int sum = 0;
        for (u64 i = 0; i < k; i++) sum += left[i] * right[i];
        c[item] = sum;
    }
}

#endif
