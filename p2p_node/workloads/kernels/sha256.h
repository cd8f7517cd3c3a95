/* SHA-256 (FIPS 180-4), one message per thread. */

#ifndef KAISAR_SHA256_H
#define KAISAR_SHA256_H

#include "portable.h"

#define DIGEST_WORDS 8

CONSTANT u32 SHA256_ROUNDS[64] = {
    0x428a2f98u, 0x71374491u, 0xb5c0fbcfu, 0xe9b5dba5u, 0x3956c25bu, 0x59f111f1u, 0x923f82a4u,
    0xab1c5ed5u, 0xd807aa98u, 0x12835b01u, 0x243185beu, 0x550c7dc3u, 0x72be5d74u, 0x80deb1feu,
    0x9bdc06a7u, 0xc19bf174u, 0xe49b69c1u, 0xefbe4786u, 0x0fc19dc6u, 0x240ca1ccu, 0x2de92c6fu,
    0x4a7484aau, 0x5cb0a9dcu, 0x76f988dau, 0x983e5152u, 0xa831c66du, 0xb00327c8u, 0xbf597fc7u,
    0xc6e00bf3u, 0xd5a79147u, 0x06ca6351u, 0x14292967u, 0x27b70a85u, 0x2e1b2138u, 0x4d2c6dfcu,
    0x53380d13u, 0x650a7354u, 0x766a0abbu, 0x81c2c92eu, 0x92722c85u, 0xa2bfe8a1u, 0xa81a664bu,
    0xc24b8b70u, 0xc76c51a3u, 0xd192e819u, 0xd6990624u, 0xf40e3585u, 0x106aa070u, 0x19a4c116u,
    0x1e376c08u, 0x2748774cu, 0x34b0bcb5u, 0x391c0cb3u, 0x4ed8aa4au, 0x5b9cca4fu, 0x682e6ff3u,
    0x748f82eeu, 0x78a5636fu, 0x84c87814u, 0x8cc70208u, 0x90befffau, 0xa4506cebu, 0xbef9a3f7u,
    0xc67178f2u,
};

typedef struct {
    u32 word[DIGEST_WORDS];
} sha256_state;

DEVICE u32 rotate_right(u32 x, int count) { return x >> count | x << (32 - count); }

DEVICE sha256_state begin_sha256(void) {
    sha256_state state = {{0x6a09e667u, 0xbb67ae85u, 0x3c6ef372u, 0xa54ff53au, 0x510e527fu,
                           0x9b05688cu, 0x1f83d9abu, 0x5be0cd19u}};
    return state;
}

/* Absorb one block of 16 big-endian words; `w` is used up. */
DEVICE void absorb_block(sha256_state *state, u32 *w) {
    u32 a = state->word[0], b = state->word[1], c = state->word[2], d = state->word[3];
    u32 e = state->word[4], f = state->word[5], g = state->word[6], h = state->word[7];
    UNROLL
    for (int i = 0; i < 64; i++) {
        if (i >= 16) {
            u32 near = w[(i + 14) & 15], far = w[(i + 1) & 15];
            u32 sum0 = rotate_right(far, 7) ^ rotate_right(far, 18) ^ far >> 3;
            u32 sum1 = rotate_right(near, 17) ^ rotate_right(near, 19) ^ near >> 10;
            w[i & 15] += sum0 + w[(i + 9) & 15] + sum1;
        }
        u32 mix1 = rotate_right(e, 6) ^ rotate_right(e, 11) ^ rotate_right(e, 25);
        u32 t1 = h + mix1 + ((e & f) ^ (~e & g)) + SHA256_ROUNDS[i] + w[i & 15];
        u32 mix0 = rotate_right(a, 2) ^ rotate_right(a, 13) ^ rotate_right(a, 22);
        u32 t2 = mix0 + ((a & b) ^ (a & c) ^ (b & c));
        h = g;
        g = f;
        f = e;
        e = d + t1;
        d = c;
        c = b;
        b = a;
        a = t1 + t2;
    }
    state->word[0] += a;
    state->word[1] += b;
    state->word[2] += c;
    state->word[3] += d;
    state->word[4] += e;
    state->word[5] += f;
    state->word[6] += g;
    state->word[7] += h;
}

DEVICE void store_digest(const sha256_state *state, u32 *RESTRICT out) {
    UNROLL
    for (int i = 0; i < DIGEST_WORDS; i++) out[i] = swap_bytes(state->word[i]);
}

#endif
