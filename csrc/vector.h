/* A vector of floats, as wide as the instruction set that this is compiled for, and the functions that an LSTM needs.
 *
 * NaN passes through everything here; no function raises infinities that its definition has not. */
#ifndef CONVRNN_VECTOR_H
#define CONVRNN_VECTOR_H

#include <math.h>
#include <stdint.h>

#if defined(__AVX512F__)
#include <immintrin.h>
#define LANES 16
#define BLOCK_ROWS 6 /* 6 rows x 4 vectors of sums, 4 of weights and 1 of a row's value: 29 of 32 registers */
#elif defined(__AVX2__)
#include <immintrin.h>
#define LANES 8
#define BLOCK_ROWS 3 /* 16 registers */
#elif defined(__aarch64__)
#define LANES 4
#define BLOCK_ROWS 6
#else
#define LANES 4
#define BLOCK_ROWS 2
#endif

#define INLINE static inline __attribute__((always_inline))

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef int32_t ivec __attribute__((vector_size(4 * LANES)));
typedef vec unaligned_vec __attribute__((aligned(4), may_alias));

INLINE vec load(const float *p) { return *(const unaligned_vec *)p; }
INLINE void store(float *p, vec v) { *(unaligned_vec *)p = v; }
INLINE vec broadcast(float value) { return value - (vec){0}; }

/* The first `count` lanes, zeros behind them; memory beyond is not touched. */
INLINE vec load_part(const float *p, int64_t count) {
    if (count >= LANES) return load(p);
#if defined(__AVX512F__)
    return _mm512_maskz_loadu_ps((__mmask16)((1u << count) - 1), p);
#else
    vec v = {0};
    for (int64_t lane = 0; lane < count; lane++) v[lane] = p[lane];
    return v;
#endif
}

INLINE void store_part(float *p, vec v, int64_t count) {
    if (count >= LANES) {
        store(p, v);
        return;
    }
#if defined(__AVX512F__)
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << count) - 1), v);
#else
    for (int64_t lane = 0; lane < count; lane++) p[lane] = v[lane];
#endif
}

/* 1 where a equals b, else 0. */
INLINE vec equal(vec a, vec b) { return (vec)((ivec)(a == b) & (ivec)broadcast(1.0f)); }

INLINE vec choose(ivec mask, vec a, vec b) { return (vec)((mask & (ivec)a) | (~mask & (ivec)b)); }

/* The larger, and NaN where either is NaN, as torch.amax has it. */
INLINE vec maximum(vec a, vec b) { return choose((a >= b) | (a != a), a, b); }

/* x within [low, high]; NaN stays. */
INLINE vec clamp(vec x, float low, float high) {
#if defined(__AVX512F__)
    return _mm512_min_ps(broadcast(high), _mm512_max_ps(broadcast(low), x));
#elif defined(__AVX2__)
    return _mm256_min_ps(broadcast(high), _mm256_max_ps(broadcast(low), x));
#else
    x = choose(x < broadcast(low), broadcast(low), x);
    return choose(x > broadcast(high), broadcast(high), x);
#endif
}

/* e^x - 1 for |x| <= 88, to a relative error of some 1e-7 also near 0, where e^x would have lost the digits. */
INLINE vec expm1_within(vec x) {
    /* x = n ln 2 + r. Adding 1.5 * 2^23 rounds to an integer; 127 more is the exponent's bias. */
    const vec shift = broadcast(12582912.0f + 127.0f);
    vec shifted = x * 1.44269504f + shift;
    vec n = shifted - shift;
    vec r = x - n * 0.693359375f + n * 2.12194440e-4f;
    vec power = (vec)((ivec)shifted << 23); /* 2^n */
    /* Minimax on [-ln 2 / 2, ln 2 / 2], relative error 1.6e-8. */
    vec p = broadcast(0.0013946472899988294f);
    p = p * r + 0.008366597816348076f;
    p = p * r + 0.04166628047823906f;
    p = p * r + 0.1666654348373413f;
    p = p * r + 0.5f;
    vec q = p * (r * r) + r; /* e^r - 1 */
    return power * q + (power - 1.0f);
}

/* 1 / sigmoid(x) = 1 + e^-x; infinity below -88, so that the gate of minus infinity is 0, and 0 times infinity NaN. */
INLINE vec sigmoid_inverse(vec x) {
    vec inverse = 2.0f + expm1_within(clamp(-x, -88.0f, 88.0f));
#if defined(__AVX512F__)
    return _mm512_mask_mov_ps(inverse, _mm512_cmp_ps_mask(x, broadcast(-88.0f), _CMP_LT_OQ), broadcast(INFINITY));
#else
    return choose(x < broadcast(-88.0f), broadcast(INFINITY), inverse);
#endif
}

/* e = e^-2x - 1, with which tanh(x) = -e / (2 + e); beyond |x| = 10 tanh is 1 in float32. */
INLINE vec tanh_exponential(vec x) { return expm1_within(clamp(-2.0f * x, -20.0f, 20.0f)); }

INLINE vec tanh_of(vec x) {
    vec e = tanh_exponential(x);
    return -e / (2.0f + e);
}

#endif
