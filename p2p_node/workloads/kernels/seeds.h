/* Seeds that depend on a root, made where the root is, so that no round waits for the host. */

#ifndef KAISAR_SEEDS_H
#define KAISAR_SEEDS_H

#include "sha256.h"

#define ROOT_BYTES 32u

/* Byte `at` of prefix ‖ number u32le ‖ root ‖ padding up to the length. */
DEVICE u8 get_seed_byte(u64 at, const u8 *prefix, u64 prefix_bytes, u64 number, const u8 *root) {
    if (at < prefix_bytes) return prefix[at];
    at -= prefix_bytes;
    if (at < 4) return (u8)(number >> 8 * at);
    at -= 4;
    if (at < ROOT_BYTES) return root[at];
    return at == ROOT_BYTES ? 0x80 : 0;
}

/* SHA-256(prefix ‖ number u32le ‖ root): one item, a few microseconds. */
KERNEL derive_seed(u64 count, const u8 *prefix, u64 prefix_bytes, u64 number, const u8 *root,
                   u32 *seed) {
    u64 length = prefix_bytes + 4 + ROOT_BYTES, blocks = (length + 9 + 63) / 64;
    FOR_EACH(item, count) {
        sha256_state state = begin_sha256();
        for (u64 block = 0; block < blocks; block++) {
            u32 w[16];
            UNROLL
            for (int i = 0; i < 16; i++) {
                u32 word = 0;
                for (int byte = 0; byte < 4; byte++) {
                    u64 at = 64 * block + 4 * (u64)i + (u64)byte;
                    word = word << 8 | get_seed_byte(at, prefix, prefix_bytes, number, root);
                }
                w[i] = word;
            }
            if (block == blocks - 1) w[15] = (u32)(8 * length);
            absorb_block(&state, w);
        }
        store_digest(&state, seed + item * DIGEST_WORDS);
    }
}

#endif
