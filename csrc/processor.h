/* Which instruction sets this processor has and its operating system saves. */
#ifndef CONVRNN_PROCESSOR_H
#define CONVRNN_PROCESSOR_H

enum instruction_set { PORTABLE, AVX2, AVX512 };

#if defined(__x86_64__)
#include <cpuid.h>

/* Not __builtin_cpu_supports: the runtime that comes with some builds of clang answers no to everything. */
static inline int processor_has(enum instruction_set set) {
    enum { VECTORS_SAVED = 0x06, AVX512_SAVED = 0xe6 }; /* bits of the register XCR0 */
    const unsigned avx512 = bit_AVX512F | bit_AVX512DQ | bit_AVX512BW | bit_AVX512VL;
    unsigned a, b, c, d, saved, high;
    if (set == PORTABLE) return 1;
    if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & bit_OSXSAVE) || !(c & bit_FMA)) return 0;
    __asm__("xgetbv" : "=a"(saved), "=d"(high) : "c"(0));
    if ((saved & VECTORS_SAVED) != VECTORS_SAVED || !__get_cpuid_count(7, 0, &a, &b, &c, &d)) return 0;
    if (set == AVX2) return !!(b & bit_AVX2);
    return (saved & AVX512_SAVED) == AVX512_SAVED && (b & avx512) == avx512;
}
#else
static inline int processor_has(enum instruction_set set) { return set == PORTABLE; }
#endif

#endif
