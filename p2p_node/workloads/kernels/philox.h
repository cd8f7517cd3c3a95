/* philox4x64-10 as protocols/expand.py keys it: one block of 32 bytes for (seed, block). */

#ifndef KAISAR_PHILOX_H
#define KAISAR_PHILOX_H

#include "portable.h"

#define PHILOX_BYTES 32u

typedef struct {
    u64 word[4];
} philox_block;

/* `seed` is four words, little-endian in memory as the devices are. */
DEVICE philox_block make_block(const u64 *RESTRICT seed, u64 block) {
    u64 key0 = seed[0], key1 = seed[1];
    u64 x0 = block + 1, x1 = 0, x2 = seed[2], x3 = seed[3];
    UNROLL
    for (int round = 0; round < 10; round++) {
        u64 low0 = x0 * 0xD2E7470EE14C6C93ull;
        u64 high0 = multiply_high(x0, 0xD2E7470EE14C6C93ull);
        u64 low1 = x2 * 0xCA5A826395121157ull;
        u64 high1 = multiply_high(x2, 0xCA5A826395121157ull);
        x0 = high1 ^ x1 ^ key0;
        x1 = low1;
        x2 = high0 ^ x3 ^ key1;
        x3 = low0;
        key0 += 0x9E3779B97F4A7C15ull;
        key1 += 0xBB67AE8584CAA73Bull;
    }
    philox_block made = {{x0, x1, x2, x3}};
    return made;
}

#endif
