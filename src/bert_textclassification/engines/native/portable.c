/* For all other processors: plain C, vectorized by the compiler where possible. */
#define INSTRUCTION_SET portable
#define LANES 4
#define MAX_ROWS 4

#include <stddef.h>
#include <stdint.h>

static int is_supported(void) { return 1; }

static void dot_tile(int rows, const uint8_t *x, int inputs, const int8_t *panel, int is_first, int32_t *sums) {
    (void)is_first;
    for (int i = 0; i < rows * 64; i++) sums[i] = 0;
    for (int k = 0; k < inputs; k += 4, panel += 256)
        for (int r = 0; r < rows; r++) {
            const uint8_t *q = x + (size_t)r * inputs + k;
            for (int c = 0; c < 64; c++)
                sums[r * 64 + c] +=
                    q[0] * panel[4 * c] + q[1] * panel[4 * c + 1] + q[2] * panel[4 * c + 2] + q[3] * panel[4 * c + 3];
        }
}

#include "kernels.inc"
