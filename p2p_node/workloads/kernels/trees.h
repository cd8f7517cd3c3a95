/* Merkle trees by the rules of protocols/merkle.py. Levels lie end to end, leaves first. */

#ifndef KAISAR_TREES_H
#define KAISAR_TREES_H

#include "sha256.h"

DEVICE void copy_digest(const u32 *from, u32 *to) {
    UNROLL
    for (int i = 0; i < DIGEST_WORDS; i++) to[i] = from[i];
}

/* One level from the one below it of `below` digests; `count` = ⌈below / 2⌉. The last digest of
   an odd level goes up unchanged. `tag` is the 20 bytes of the node tag as big-endian words. */
KERNEL hash_level(u64 count, const u32 *tag, const u32 *level, u64 below, u32 *above) {
    FOR_EACH(node, count) {
        const u32 *pair = level + 2 * node * DIGEST_WORDS;
        u32 *out = above + node * DIGEST_WORDS;
        if (2 * node + 1 == below) {
            copy_digest(pair, out);
        } else {
            u32 w[16], rest[16];
            UNROLL
            for (int i = 0; i < 16; i++) {
                w[i] = i < 5 ? tag[i] : swap_bytes(pair[i - 5]);
                rest[i] = i < 5 ? swap_bytes(pair[i + 11]) : 0;
            }
            rest[5] = 0x80000000u;
            rest[15] = 8 * (20 + 64);
            sha256_state state = begin_sha256();
            absorb_block(&state, w);
            absorb_block(&state, rest);
            store_digest(&state, out);
        }
    }
}

/* Paths of `count` leaves of a tree over `leaves`: path p, siblings bottom up, at
   paths[p · path_words …]. */
KERNEL gather_paths(u64 count, const u32 *levels, u64 leaves, const u64 *RESTRICT indices,
                    u64 path_words, u32 *RESTRICT paths) {
    FOR_EACH(item, count) {
        const u32 *level = levels;
        u32 *out = paths + item * path_words;
        u64 index = indices[item];
        for (u64 size = leaves; size > 1; size = (size + 1) / 2) {
            u64 sibling = index ^ 1;
            if (sibling < size) {
                copy_digest(level + sibling * DIGEST_WORDS, out);
                out += DIGEST_WORDS;
            }
            level += size * DIGEST_WORDS;
            index /= 2;
        }
    }
}

#endif
