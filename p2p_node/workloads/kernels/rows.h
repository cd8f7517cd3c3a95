/* Digests of rows of C: protocols/mix.py, and the leaves of protocols/compute.py and memory.py. */

#ifndef KAISAR_ROWS_H
#define KAISAR_ROWS_H

#include "sha256.h"

#define LANES 32u
#define IN_FLIGHT 8u

#define STATE_WORDS (2 * LANES)
#define HEAD_WORDS 3
#define LEAF_BLOCKS 5

DEVICE u64 absorb_word(u64 state, u64 word) {
    state = (state ^ word) * 0x9E3779B97F4A7C15ull;
    return state ^ state >> 32;
}

/* End states of `count / 32` rows; an item is one lane of one row, so that a warp reads a row's
   words side by side. `start` are the 32 start states. */
KERNEL mix_rows(u64 count, const u64 *RESTRICT rows, u64 row_words, const u64 *RESTRICT start,
                u64 *RESTRICT states) {
    FOR_EACH(item, count) {
        u32 lane = item % LANES;
        const u64 *words = rows + item / LANES * row_words;
        u64 state = start[lane];
        u64 at = lane;
        for (; at + (IN_FLIGHT - 1) * LANES < row_words; at += IN_FLIGHT * LANES) {
            u64 loaded[IN_FLIGHT];
            UNROLL
            for (u32 i = 0; i < IN_FLIGHT; i++) loaded[i] = words[at + i * LANES];
            UNROLL
            for (u32 i = 0; i < IN_FLIGHT; i++) state = absorb_word(state, loaded[i]);
        }
        for (; at < row_words; at += LANES) state = absorb_word(state, words[at]);
        states[item] = state;
    }
}

/* Word `index` of a leaf's message behind its tag, big-endian, padding included. */
DEVICE u32 get_leaf_word(int index, const u32 *head, const u32 *RESTRICT states) {
    u32 word = 0;
    if (index < HEAD_WORDS)
        word = index == 0 ? head[0] : index == 1 ? head[1] : head[2];
    else if (index < HEAD_WORDS + (int)STATE_WORDS)
        word = states[index - HEAD_WORDS];
    else if (index == HEAD_WORDS + (int)STATE_WORDS)
        word = 0x80;
    return swap_bytes(word);
}

/* Leaves of `count` rows:
   SHA-256(tag ‖ number u32le ‖ first + row u32le ‖ row bytes u32le ‖ 32 states).

   `tag` is five big-endian words, zeros behind the `tag_bytes` = 17 … 20 that count. */
KERNEL hash_leaves(u64 count, const u64 *RESTRICT states, const u32 *RESTRICT tag, u64 tag_bytes,
                   u64 number, u64 first, u64 row_bytes, u32 *RESTRICT leaves) {
    int shift = 32 - 8 * (int)(20 - tag_bytes);
    u32 bits = 8 * (u32)(tag_bytes + 4 * (HEAD_WORDS + STATE_WORDS));
    FOR_EACH(row, count) {
        const u32 *own = (const u32 *)(states + row * LANES);
        u32 head[HEAD_WORDS] = {(u32)number, (u32)(first + row), (u32)row_bytes};
        sha256_state state = begin_sha256();
        for (int block = 0; block < LEAF_BLOCKS; block++) {
            u32 w[16];
            /* Words shifted to where the tag ends. */
            u32 before = block ? get_leaf_word(16 * block - 5, head, own) : 0;
            UNROLL
            for (int i = 0; i < 16; i++) {
                int index = 16 * block + i - 5;
                u32 next = index + 1 >= 0 ? get_leaf_word(index + 1, head, own) : 0;
                u32 filled = (u32)(((u64)before << 32 | next) >> shift);
                w[i] = index < 0 ? tag[i < 5 ? i : 0] | filled : filled;
                before = next;
            }
            if (block == LEAF_BLOCKS - 1) w[15] = bits;
            absorb_block(&state, w);
        }
        store_digest(&state, leaves + row * DIGEST_WORDS);
    }
}

#endif
