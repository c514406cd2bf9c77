/* For processors with AVX-512 VNNI: Intel since Cascade Lake and Ice Lake, AMD since Zen 4. */
#if defined(__x86_64__)
#include <immintrin.h>
#define INSTRUCTION_SET avx512_vnni

static int is_supported(void) {
    return __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,fma"))), \
                             apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,fma,prefer-vector-width=512")
#endif
#define LANES 16
#define MAX_ROWS 6

#include <stdint.h>
#include <string.h>

static inline __attribute__((always_inline)) void tile_of(const int rows, const uint8_t *x, int inputs,
                                                          const int8_t *panel, int is_first, int32_t *sums) {
    __m512i acc[6][4];
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int c = 0; c < 4; c++) acc[r][c] = _mm512_setzero_si512();
    const int8_t *next = panel + (size_t)inputs * 64;
    for (int k = 0; k < inputs; k += 4, panel += 256, next += 256) {
        __m512i w0 = _mm512_load_si512(panel), w1 = _mm512_load_si512(panel + 64);
        __m512i w2 = _mm512_load_si512(panel + 128), w3 = _mm512_load_si512(panel + 192);
        /* Keep the weights in registers: reloading them for each row would saturate the load units. */
        __asm__("" : "+v"(w0), "+v"(w1), "+v"(w2), "+v"(w3));
        if (is_first) {
            _mm_prefetch((const char *)next, _MM_HINT_T1);
            _mm_prefetch((const char *)next + 64, _MM_HINT_T1);
            _mm_prefetch((const char *)next + 128, _MM_HINT_T1);
            _mm_prefetch((const char *)next + 192, _MM_HINT_T1);
        }
#pragma GCC unroll 6
        for (int r = 0; r < rows; r++) {
            int32_t four;
            memcpy(&four, x + (size_t)r * inputs + k, 4);
            __m512i q = _mm512_set1_epi32(four);
            acc[r][0] = _mm512_dpbusd_epi32(acc[r][0], q, w0);
            acc[r][1] = _mm512_dpbusd_epi32(acc[r][1], q, w1);
            acc[r][2] = _mm512_dpbusd_epi32(acc[r][2], q, w2);
            acc[r][3] = _mm512_dpbusd_epi32(acc[r][3], q, w3);
        }
    }
#pragma GCC unroll 6
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int c = 0; c < 4; c++) _mm512_store_si512(sums + r * 64 + c * 16, acc[r][c]);
}

static void dot_tile(int rows, const uint8_t *x, int inputs, const int8_t *panel, int is_first, int32_t *sums) {
    switch (rows) {
    case 1: tile_of(1, x, inputs, panel, is_first, sums); break;
    case 2: tile_of(2, x, inputs, panel, is_first, sums); break;
    case 3: tile_of(3, x, inputs, panel, is_first, sums); break;
    case 4: tile_of(4, x, inputs, panel, is_first, sums); break;
    case 5: tile_of(5, x, inputs, panel, is_first, sums); break;
    default: tile_of(6, x, inputs, panel, is_first, sums);
    }
}

#include "kernels.inc"
#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
