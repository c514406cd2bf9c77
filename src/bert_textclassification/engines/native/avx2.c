/* For x86-64 processors with AVX2 (since about 2013). Products are 16-bit: AVX2's 8-bit instruction saturates the sum
 * of two large products, which would change the scores. */
#if defined(__x86_64__)
#include <immintrin.h>
#define INSTRUCTION_SET avx2

static int is_supported(void) { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC target("avx2,fma")
#endif
#define LANES 8
#define MAX_ROWS 3

#include <stdint.h>
#include <string.h>

static inline __attribute__((always_inline)) void tile_of(const int rows, const uint8_t *x, int inputs,
                                                          const int8_t *panel, int32_t *sums) {
    for (int column = 0; column < 64; column += 16) {
        __m256i acc[3][4];
        for (int r = 0; r < rows; r++)
            for (int c = 0; c < 4; c++) acc[r][c] = _mm256_setzero_si256();
        const int8_t *from = panel + column * 4;
        for (int k = 0; k < inputs; k += 4, from += 256) {
            __m256i w[4];
            for (int c = 0; c < 4; c++) w[c] = _mm256_cvtepi8_epi16(_mm_load_si128((const __m128i *)(from + 16 * c)));
            for (int r = 0; r < rows; r++) {
                int32_t four;
                memcpy(&four, x + (size_t)r * inputs + k, 4);
                __m256i q = _mm256_broadcastq_epi64(_mm_cvtepu8_epi16(_mm_cvtsi32_si128(four)));
                for (int c = 0; c < 4; c++) acc[r][c] = _mm256_add_epi32(acc[r][c], _mm256_madd_epi16(q, w[c]));
            }
        }
        for (int r = 0; r < rows; r++)
            for (int c = 0; c < 4; c += 2) { /* adjacent elements are halves of one sum */
                __m256i both = _mm256_hadd_epi32(acc[r][c], acc[r][c + 1]);
                both = _mm256_permute4x64_epi64(both, 0xd8);
                _mm256_store_si256((__m256i *)(sums + r * 64 + column + 4 * c), both);
            }
    }
}

static void dot_tile(int rows, const uint8_t *x, int inputs, const int8_t *panel, int is_first, int32_t *sums) {
    (void)is_first;
    if (rows == 1) tile_of(1, x, inputs, panel, sums);
    else if (rows == 2) tile_of(2, x, inputs, panel, sums);
    else tile_of(3, x, inputs, panel, sums);
}

#include "kernels.inc"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
