/* A SIMD vector of floats, as wide as the instruction set of this compilation, and the functions of an LSTM on it.
 *
 * NaN propagates through all of them, and none overflows where the exact function is finite. */
#ifndef CONVRNN_VECTOR_H
#define CONVRNN_VECTOR_H

#include <math.h>
#include <stdint.h>

#if defined(__AVX512F__)
#include <immintrin.h>
#define LANES 16
#elif defined(__AVX2__)
#include <immintrin.h>
#define LANES 8
#else
#define LANES 4
#endif

#define INLINE static inline __attribute__((always_inline))

INLINE int64_t whole_vectors(int64_t count) { return (count + LANES - 1) / LANES * LANES; }

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef int32_t ivec __attribute__((vector_size(4 * LANES)));
typedef vec unaligned_vec __attribute__((aligned(4), may_alias));

INLINE vec load(const float *p) { return *(const unaligned_vec *)p; }
INLINE void store(float *p, vec v) { *(unaligned_vec *)p = v; }
INLINE vec broadcast(float value) { return value - (vec){0}; }
INLINE void add_to(float *sum, vec value) { store(sum, load(sum) + value); }

/* The first `count` lanes, the others 0; memory beyond them is not touched. */
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

/* The larger one; NaN if either is NaN, as in torch.amax. */
INLINE vec maximum(vec a, vec b) { return choose((a >= b) | (a != a), a, b); }

/* x clamped to [low, high]; NaN stays NaN. */
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

/* e^x - 1 for |x| <= 88, with a relative error of about 1e-7 even near 0, where e^x - 1 would cancel. */
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

/* 1 / sigmoid(x) = 1 + e^-x; infinity below -88, so that sigmoid(-infinity) is exactly 0. */
INLINE vec sigmoid_inverse(vec x) {
    vec inverse = 2.0f + expm1_within(clamp(-x, -88.0f, 88.0f));
#if defined(__AVX512F__)
    return _mm512_mask_mov_ps(inverse, _mm512_cmp_ps_mask(x, broadcast(-88.0f), _CMP_LT_OQ), broadcast(INFINITY));
#else
    return choose(x < broadcast(-88.0f), broadcast(INFINITY), inverse);
#endif
}

/* e = e^-2x - 1, from which tanh(x) = -e / (2 + e); beyond |x| = 10 tanh is +-1 in float32. */
INLINE vec tanh_exponential(vec x) { return expm1_within(clamp(-2.0f * x, -20.0f, 20.0f)); }

INLINE vec tanh_of(vec x) {
    vec e = tanh_exponential(x);
    return -e / (2.0f + e);
}

#endif
