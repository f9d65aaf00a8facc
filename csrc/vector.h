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

/* e^(-rate x) = power * (even - odd) / (even + odd). With t the part of rate x that is left after the power of 2,
 * even is t coth(t / 2) and odd is t, both over rate. */
struct exponential {
    vec power, even, odd;
};

/* For -88.5 <= rate x <= 88; the power is infinity where its exponent is 128, and 0 where it is -127. */
INLINE struct exponential exponential(vec x, float rate) {
    /* -rate x = n ln 2 - t. Adding 1.5 * 2^23 rounds to an integer; 127 more is the exponent's bias. */
    const vec shift = broadcast(12582912.0f + 127.0f);
    vec shifted = x * (-1.44269504f * rate) + shift;
    vec n = shifted - shift;
    vec odd = n * (0.693147181f / rate) + x, square = odd * odd;
    /* t coth(t / 2), minimax on [-ln 2 / 2, ln 2 / 2], relative error 2.2e-9. */
    vec even = square * (-0.00276675952f * rate * rate * rate) + 0.166666258f * rate;
    even = even * square + 2.0f / rate;
    return (struct exponential){(vec)((ivec)shifted << 23), even, odd};
}

/* Its division is left to the caller, which can often do one for two functions. */
struct fraction {
    vec numerator, denominator;
};

/* 1 / (1 + e^-x), and exactly 0 below -88.03. */
INLINE struct fraction sigmoid_fraction(vec x) {
    struct exponential e = exponential(clamp(x, -88.5f, 88.0f), 1.0f);
    vec sum = e.even + e.odd;
    return (struct fraction){sum, sum + e.power * (e.even - e.odd)};
}

/* (1 - e^-2x) / (1 + e^-2x) for |x|, with the sign of x; beyond |x| = 10 it is 1 in float32. Where tanh is close to 1 a
 * gradient depends on its difference from 1. So the denominator is the numerator and 2 e^-2x: they share their error.
 */
INLINE struct fraction tanh_fraction(vec x) {
    x = clamp(x, -10.0f, 10.0f);
    ivec sign = (ivec)x & (ivec)broadcast(-0.0f);
    struct exponential e = exponential((vec)((ivec)x ^ sign), 2.0f);
    vec sinh = (1.0f - e.power) * e.even + (1.0f + e.power) * e.odd;
    return (struct fraction){(vec)((ivec)sinh ^ sign), sinh + (e.power + e.power) * (e.even - e.odd)};
}

/* Both within 2.5 units in the last place, but for the sigmoid below -30, 4.5, and without fused multiply-add below -8,
 * 70: there the rounding of -x / ln 2 shows. */
INLINE vec sigmoid_of(vec x) {
    struct fraction sigmoid = sigmoid_fraction(x);
    return sigmoid.numerator / sigmoid.denominator;
}

INLINE vec tanh_of(vec x) {
    struct fraction tanh = tanh_fraction(x);
    return tanh.numerator / tanh.denominator;
}

#endif
