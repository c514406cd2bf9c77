/* The instruction sets that the encoder is compiled for. To add one, add its .c file and its line here.
 *
 * A .c file defines its name INSTRUCTION_SET and is_supported(), and includes kernels.inc. */
#ifndef INSTRUCTION_SETS_H
#define INSTRUCTION_SETS_H

#include "encoder.h"

typedef struct {
    const char *name;
    int (*is_supported)(void); /* whether this processor supports it */
    Encode *encode;
    Multiply *multiply;
} InstructionSet;

/* Fastest first. */
#if defined(__x86_64__)
#define X86_INSTRUCTION_SETS(ENTRY) \
    ENTRY(avx512_vnni) \
    ENTRY(avx2)
#else
#define X86_INSTRUCTION_SETS(ENTRY)
#endif
#define INSTRUCTION_SETS(ENTRY) \
    X86_INSTRUCTION_SETS(ENTRY) \
    ENTRY(portable)

#define DECLARE_INSTRUCTION_SET(name) extern const InstructionSet instruction_set_##name;
INSTRUCTION_SETS(DECLARE_INSTRUCTION_SET)

#endif
