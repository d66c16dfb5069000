// What adapters change in a product, each row by its own: y = factor * (W (read * x) + b) + B A (read * x) + shift.
//
// W's product is made for all rows together (products.h); here are the thin ones. Ranks may differ, and so may their
// number from one vector of columns to the next: queries, keys and values have ranks of their own.

#pragma once

#include "vectors.h"

struct Thin {               // a null pointer: there is none of it
    const float *read, *a;  // (k,), (ranks, k)
    const float *b;         // each vector of columns after the other, in the order of W's panels: its own ranks' rows
    const float *factor, *shift;  // in the panels of W's columns
    const int32_t *spans;   // for each vector of columns, and one after the last: the first rank, and where it stands in b
    int64_t ranks;          // in fours
};
struct Beside { const Thin *const *thins; const float *low; int64_t most; };  // (N,); A x: (N, most)

constexpr int RANKS = 8;  // of A x that are summed at once

// COUNT ranks of A x.
template <int COUNT> void narrow(const float *a, const float *x, int64_t k, float *low) {
    vec dots[COUNT] = {};
    int64_t i = 0;
    for (; i + V <= k; i += V) {
        const vec part = load(x + i);
        for (int q = 0; q < COUNT; ++q) dots[q] += part * load(a + q * k + i);
    }
    if (i < k) {
        const vec part = some(x + i, k - i);
        for (int q = 0; q < COUNT; ++q) dots[q] += part * some(a + q * k + i, k - i);
    }
    constexpr int TOGETHER = COUNT < V ? COUNT : V;  // sums that come out of one vector's lanes
    for (int q = 0; q < COUNT; q += TOGETHER) {
        float lanes[V];
        store(lanes, sums<TOGETHER / 2>(dots + q));
        for (int left = V / 2; left >= TOGETHER; left /= 2)
            for (int j = 0; j < left; ++j) lanes[j] += lanes[j + left];
        std::memcpy(low + q, lanes, sizeof(float) * TOGETHER);
    }
}

inline void narrow(const Thin &thin, const float *x, int64_t k, int64_t first, float *low) {
    if (thin.ranks - first >= RANKS) narrow<RANKS>(thin.a + first * k, x, k, low + first);
    else if (first < thin.ranks) narrow<RANKS / 2>(thin.a + first * k, x, k, low + first);
}

// Into the cache, what `change` will read: no two rows' adapters lie side by side, and nobody else would fetch them.
inline void fetch(const Thin &thin, int64_t column, int count) {
    if (!thin.b) return;
    const int32_t from = thin.spans[2 * column + 1], to = thin.spans[2 * (column + count) + 1];
    fetch(thin.b + from * V, (to - from) * V);
}

// Sums of one row, `count` vectors of columns from vector `column` on, as its adapter has them.
inline void change(const Thin &thin, const float *low, int64_t column, int count, float *sums) {
    for (int j = 0; j < count; ++j, ++column) {
        vec value = load(sums + j * V);
        if (thin.factor) value *= load(thin.factor + column * V);
        if (thin.b) {
            const int32_t *span = thin.spans + 2 * column, count = span[3] - span[1];
            const float *b = thin.b + span[1] * V, *own = low + span[0];
            for (int32_t i = 0; i < count; ++i, b += V) value += own[i] * load(b);
        }
        if (thin.shift) value += load(thin.shift + column * V);
        store(sums + j * V, value);
    }
}
