// Vectors of floats, as wide as this CPU's, and the functions of them that a Transformer needs.

#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <utility>

#if defined(__AVX512F__)
constexpr int V = 16, REGISTERS = 24;  // floats in a vector, and vectors that sums may take
#elif defined(__AVX__)
constexpr int V = 8, REGISTERS = 12;
#else
constexpr int V = 4, REGISTERS = 12;
#endif
constexpr int SILU = 0, GELU = 1, GELU_TANH = 2, RELU = 3;

typedef float vec __attribute__((vector_size(4 * V)));
typedef int32_t ivec __attribute__((vector_size(4 * V)));

inline vec load(const float *p) { vec v; std::memcpy(&v, p, sizeof v); return v; }
inline void store(float *p, vec v) { std::memcpy(p, &v, sizeof v); }
inline void fetch(const float *p, int64_t n) {  // into the cache, for what comes next
    for (int64_t i = 0; i < n; i += 16) __builtin_prefetch(p + i);
}
inline vec splat(float a) { return a - vec{}; }
inline vec some(const float *p, int64_t n) {  // the first n of a vector, zeros after them
    if (n >= V) return load(p);
    vec v{};
    for (int64_t i = 0; i < n; ++i) v[i] = p[i];
    return v;
}
inline vec some(float a, int64_t n) {
    vec v = splat(a);
    for (int64_t i = n; i < V; ++i) v[i] = 0.0f;
    return v;
}
inline void keep(float *p, vec v, int64_t n) {
    if (n >= V) return store(p, v);
    for (int64_t i = 0; i < n; ++i) p[i] = v[i];
}
template <int N> inline float total(const float *p) {  // halves are added until one is left
    if constexpr (N == 1) return *p;
    else {
        typedef float part __attribute__((vector_size(2 * N)));
        part two[2];
        std::memcpy(two, p, sizeof two);
        two[0] += two[1];
        return total<N / 2>(reinterpret_cast<float *>(two));
    }
}
inline float sum(vec v) { return total<V>(reinterpret_cast<float *>(&v)); }

// exp by 2^n e^r, |r| <= ln 2 / 2, a polynomial of degree 6 for e^r: within 2 units in the last place
inline vec exponential(vec x) {
    const vec low = splat(-87.3f), high = splat(88.3f), magic = splat(12582912.0f);
    x = x < low ? low : x;
    x = x > high ? high : x;
    vec shifted = x * 1.44269504f + magic, n = shifted - magic;
    vec r = x - n * 0.693359375f;
    r = r + n * 2.12194440e-4f;
    vec y = r * 1.9875691500e-4f + 1.3981999507e-3f;  // minimax coefficients of Cephes' expf
    y = y * r + 8.3334519073e-3f;
    y = y * r + 4.1665795894e-2f;
    y = y * r + 1.6666665459e-1f;
    y = y * r + 5.0000001201e-1f;
    y = y * r * r + r + 1.0f;
    ivec bits = ((ivec)shifted - 0x4B400000 + 127) << 23;
    return y * (vec)bits;
}

inline vec logarithm(vec x) {  // of positive numbers that are not tiny: within 2 units in the last place
    const ivec bits = (ivec)x;
    vec exponent = __builtin_convertvector((bits >> 23) - 126, vec), m = (vec)((bits & 0x007FFFFF) | 0x3F000000);
    const vec one = splat(1.0f);
    exponent = m < 0.70710678f ? exponent - one : exponent;
    m = (m < 0.70710678f ? m + m : m) - one;
    const vec square = m * m;
    vec y = m * 7.0376836292e-2f - 1.1514610310e-1f;  // minimax coefficients of Cephes' logf
    y = y * m + 1.1676998740e-1f;
    y = y * m - 1.2420140846e-1f;
    y = y * m + 1.4249322787e-1f;
    y = y * m - 1.6668057665e-1f;
    y = y * m + 2.0000714765e-1f;
    y = y * m - 2.4999993993e-1f;
    y = y * m + 3.3333331174e-1f;
    y = y * m * square + exponent * -2.12194440e-4f - square * 0.5f;
    return m + y + exponent * 0.693359375f;
}

inline vec hyperbolic(vec x) {  // tanh: an odd polynomial near zero (Cephes' tanhf), else by exp
    vec square = x * x;
    vec near = square * -5.70498872745e-3f + 2.06390887954e-2f;
    near = near * square - 5.37397155531e-2f;
    near = near * square + 1.33314422036e-1f;
    near = near * square - 3.33332819422e-1f;
    near = near * square * x + x;
    vec far = 1.0f - 2.0f / (exponential(2.0f * x) + 1.0f);
    return square < splat(0.390625f) ? near : far;
}

inline vec activate(int kind, vec x) {
    if (kind == SILU) return x / (1.0f + exponential(-x));
    if (kind == GELU_TANH)  // x / 2 (1 + tanh u) = x / (1 + exp(-2 u))
        return x / (1.0f + exponential(x * (x * x * 0.044715f + 1.0f) * -1.5957691216f));
    if (kind == GELU) {
        for (int i = 0; i < V; ++i) x[i] *= 0.5f + 0.5f * std::erf(x[i] * 0.70710678118f);
        return x;
    }
    vec zero{}, y = x > zero ? x : (x == x ? zero : x);
    return kind == RELU ? y : y * y;
}

// The sums of V vectors as one vector: at stride S, lane i of two becomes the sum of a pair of lanes of one of them.
template <int S, int... I> inline vec merge(vec a, vec b, std::integer_sequence<int, I...>) {
    return __builtin_shufflevector(a, b, (I & S ? V + I - S : I)...) + __builtin_shufflevector(a, b, (I & S ? V + I : I + S)...);
}
template <int S> inline vec sums(const vec *v) {  // of the vectors v[0] to v[2 S - 1], in the lanes modulo 2 S
    if constexpr (S == 0) return *v;
    else return merge<S>(sums<S / 2>(v), sums<S / 2>(v + S), std::make_integer_sequence<int, V>());
}

// The largest of some numbers; NaN where one of them is.
inline float greatest(const float *p, int64_t n) {
    vec most = splat(p[0]);
    for (int64_t i = 0; i < n; i += V) {
        vec value = some(p + i, n - i);
        for (int64_t j = n - i; j < V; ++j) value[j] = p[0];
        most = value > most || value != value ? value : most;
    }
    float largest = most[0];
    for (int i = 1; i < V; ++i)
        if (most[i] > largest || most[i] != most[i]) largest = most[i];
    return largest;
}
