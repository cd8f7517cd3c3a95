/* Several chains of the cpu proof side by side on one core.
 *
 * A chain is SHA-256 over zero bytes (protocols/chains.py), each block needing the one before. An
 * SHA instruction takes four cycles and another can begin in each of them, so one chain leaves the
 * core idle three quarters of the time; and the schedule of a block of zeros is zero, so nothing
 * but the rounds is left to do. This program keeps four chains under way at once.
 *
 *     cc -O2 -msha -msse4.1 interleaved_chains.c && ./a.out
 *
 * prints "chains, blocks per second of all of them together" for one chain and for four, by the
 * processor time of one thread, and the state that one chain ends in, to be compared with hashlib.
 */
#include <immintrin.h>
#include <stdint.h>
#include <stdio.h>
#include <time.h>

#define BLOCKS 2000000L
#define UNROLLED _Pragma("GCC unroll 16")

static const uint32_t K[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

/* Absorb `blocks` blocks of zeros into each of `lanes` states, kept as SHA instructions want them:
 * (a b e f) and (c d g h), each from the high word down. */
#define ABSORB(lanes)                                                                              \
    __attribute__((noinline)) static void absorb_##lanes(__m128i (*state)[2], long blocks) {       \
        __m128i abef[lanes], cdgh[lanes];                                                          \
        for (int l = 0; l < lanes; l++) abef[l] = state[l][0], cdgh[l] = state[l][1];              \
        for (long block = 0; block < blocks; block++) {                                            \
            __m128i first[lanes], second[lanes];                                                   \
            UNROLLED for (int l = 0; l < lanes; l++) first[l] = abef[l], second[l] = cdgh[l];      \
            UNROLLED for (int r = 0; r < 16; r++) {                                                \
                __m128i low = _mm_loadu_si128((const __m128i *)(K + 4 * r));                       \
                __m128i high = _mm_shuffle_epi32(low, 0x0E);                                       \
                UNROLLED for (int l = 0; l < lanes; l++)                                           \
                    cdgh[l] = _mm_sha256rnds2_epu32(cdgh[l], abef[l], low);                        \
                UNROLLED for (int l = 0; l < lanes; l++)                                           \
                    abef[l] = _mm_sha256rnds2_epu32(abef[l], cdgh[l], high);                       \
            }                                                                                      \
            UNROLLED for (int l = 0; l < lanes; l++) {                                             \
                abef[l] = _mm_add_epi32(abef[l], first[l]);                                        \
                cdgh[l] = _mm_add_epi32(cdgh[l], second[l]);                                       \
            }                                                                                      \
        }                                                                                          \
        for (int l = 0; l < lanes; l++) state[l][0] = abef[l], state[l][1] = cdgh[l];              \
    }
ABSORB(1)
ABSORB(4)

static void begin(__m128i (*state)[2], int lanes) {
    for (int l = 0; l < lanes; l++) {
        state[l][0] = _mm_set_epi32(0x6a09e667, (int)0xbb67ae85, 0x510e527f, (int)0x9b05688c);
        state[l][1] = _mm_set_epi32(0x3c6ef372, (int)0xa54ff53a, 0x1f83d9ab, 0x5be0cd19);
    }
}

static volatile int kept; /* so that no compiler leaves the work out */

static double measure(void (*absorb)(__m128i (*)[2], long), __m128i (*state)[2], int lanes) {
    struct timespec before, after;
    begin(state, lanes);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &before);
    absorb(state, BLOCKS);
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &after);
    kept = _mm_extract_epi32(state[0][0], 0);
    double seconds = (double)(after.tv_sec - before.tv_sec);
    seconds += 1e-9 * (double)(after.tv_nsec - before.tv_nsec);
    return lanes * (double)BLOCKS / seconds;
}

int main(void) {
    __m128i state[4][2];
    uint32_t words[8];
    double one = 0, four = 0;
    for (int repeat = 0; repeat < 3; repeat++) {
        double found = measure(absorb_1, state, 1);
        one = found > one ? found : one;
        found = measure(absorb_4, state, 4);
        four = found > four ? found : four;
    }
    begin(state, 4);
    absorb_4(state, 3);
    _mm_storeu_si128((__m128i *)words, state[3][0]);
    _mm_storeu_si128((__m128i *)(words + 4), state[3][1]);
    printf("1 %.0f\n4 %.0f\n", one, four);
    printf("%08x%08x%08x%08x%08x%08x%08x%08x\n", words[3], words[2], words[7], words[6], words[1],
           words[0], words[5], words[4]);
    return 0;
}
