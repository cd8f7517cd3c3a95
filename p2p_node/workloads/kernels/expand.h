/* Matrices from seeds, as protocols/expand.py defines them. Rows are multiples of 16 bytes. */

#ifndef KAISAR_EXPAND_H
#define KAISAR_EXPAND_H

#include "philox.h"

/* Rows 0, 1, … end to end. An item is one philox block; `count` = rows · ⌈row_bytes / 32⌉. */
KERNEL expand_rows(u64 count, const u64 *RESTRICT seed, u64 row_bytes, u8 *RESTRICT out) {
    u64 row_blocks = (row_bytes + PHILOX_BYTES - 1) / PHILOX_BYTES;
    FOR_EACH(item, count) {
        philox_block block = make_block(seed, item);
        u64 row = item / row_blocks, column = (item - row * row_blocks) * PHILOX_BYTES;
        u64_pair *target = (u64_pair *)(out + row * row_bytes + column);
        u64_pair first = {block.word[0], block.word[1]}, second = {block.word[2], block.word[3]};
        target[0] = first;
        if (column + PHILOX_BYTES <= row_bytes) target[1] = second;
    }
}

/* The transpose of `rows` rows: byte (row, column) goes to out[column · rows + row]. An item is
   one philox block; neighbours have neighbouring rows, so that they store side by side. */
KERNEL expand_transposed(u64 count, const u64 *RESTRICT seed, u64 row_bytes, u64 rows,
                         u8 *RESTRICT out) {
    u64 row_blocks = (row_bytes + PHILOX_BYTES - 1) / PHILOX_BYTES;
    FOR_EACH(item, count) {
        u64 column_block = item / rows, row = item - column_block * rows;
        philox_block block = make_block(seed, row * row_blocks + column_block);
        u64 column = column_block * PHILOX_BYTES;
        u8 *target = out + column * rows + row;
        UNROLL
        for (u32 i = 0; i < PHILOX_BYTES; i++)
            if (column + i < row_bytes) target[i * rows] = (u8)(block.word[i / 8] >> i % 8 * 8);
    }
}

#endif
