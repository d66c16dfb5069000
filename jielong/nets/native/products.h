// Norms, and products of matrices that lie in panels.

#pragma once

#include <algorithm>
#include <limits>
#include <vector>

#ifdef __AVX512VNNI__
#include <immintrin.h>
#endif

#include "beside.h"

constexpr int PANEL = 2 * V;          // columns of a matrix that lie side by side
constexpr int AHEAD = 32;             // inputs ahead of which weights are fetched
constexpr int ROWS = REGISTERS / 2;   // rows of a product that are summed at once

struct Norm { const float *weight, *bias; float eps; };  // no weight: no norm; no bias: RMS
struct Matrix { const void *packed; const float *bias, *scales; const int32_t *sums; int64_t n, k; };  // scales: int8
struct Me {  // one thread's own
    int thread, threads;
    std::vector<float> inner, read, space, scales;
    std::vector<uint8_t> bytes;
    std::vector<const Thin *> thins[4];  // by matrix
};

void normalise(const Norm &norm, const float *x, float *y, int64_t size) {
    vec total{};
    float mean = 0.0f;
    if (norm.bias) {
        for (int64_t i = 0; i < size; i += V) total += some(x + i, size - i);
        mean = sum(total) / size;
        total = vec{};
    }
    for (int64_t i = 0; i < size; i += V) {
        const vec apart = some(x + i, size - i) - some(mean, size - i);
        total += apart * apart;
    }
    float scale = 1.0f / std::sqrt(sum(total) / size + norm.eps);
    for (int64_t i = 0; i < size; i += V) {
        vec value = (some(x + i, size - i) - mean) * scale * some(norm.weight + i, size - i);
        if (norm.bias) value += some(norm.bias + i, size - i);
        keep(y + i, value, size - i);
    }
}

// Products: y = x W^T + b. W lies in panels of PANEL columns, each panel input by input.

enum class End { Store, Add, Activate };

struct Job {
    const Matrix &matrix;
    const float *x;         // (N, k)
    const uint8_t *bytes;   // (N, k rounded up to fours): 8-bit inputs of an 8-bit matrix
    const float *scales;    // (N,): what a unit of those is worth
    float *y;
    int64_t stride;         // from one row of y to the next
    End end;
    int activation, gated;
    const Beside *beside;   // null: no row has an adapter here
};

template <int R, int P> inline void products(const Job &job, int64_t row, int64_t panel, vec (&sums)[R][2 * P]) {
    const int64_t k = job.matrix.k, step = k * PANEL;
    const float *w = static_cast<const float *>(job.matrix.packed) + panel * step, *x = job.x + row * k;
    for (int64_t i = 0; i < k; ++i, w += PANEL) {
        vec b[2 * P];
        for (int p = 0; p < P; ++p) fetch(w + p * step + AHEAD * PANEL, PANEL);
        for (int p = 0; p < P; ++p) b[2 * p] = load(w + p * step), b[2 * p + 1] = load(w + p * step + V);
        for (int r = 0; r < R; ++r) {
            const vec a = splat(x[r * k + i]);
            for (int j = 0; j < 2 * P; ++j) sums[r][j] += a * b[j];
        }
    }
}

inline ivec fours(ivec total, int32_t x, const int8_t *w) {  // each column's four products of unsigned x and signed w
#ifdef __AVX512VNNI__
    return (ivec)_mm512_dpbusd_epi32((__m512i)total, _mm512_set1_epi32(x), _mm512_loadu_si512(w));
#else
    uint8_t four[4];
    std::memcpy(four, &x, 4);
    for (int c = 0; c < V; ++c)
        for (int q = 0; q < 4; ++q) total[c] += four[q] * w[4 * c + q];
    return total;
#endif
}

template <int R, int P> inline void products8(const Job &job, int64_t row, int64_t panel, vec (&sums)[R][2 * P]) {
    const int64_t k = (job.matrix.k + 3) / 4 * 4, step = k * PANEL;
    const int8_t *w = static_cast<const int8_t *>(job.matrix.packed) + panel * step;
    const uint8_t *x = job.bytes + row * k;
    ivec totals[R][2 * P] = {};
    for (int64_t i = 0; i < k; i += 4, w += 4 * PANEL) {
        for (int p = 0; p < P; ++p)  // inputs are a quarter as large: further ahead
            fetch(reinterpret_cast<const float *>(w + p * step + 3 * AHEAD * PANEL), PANEL);
        for (int r = 0; r < R; ++r) {
            int32_t four;
            std::memcpy(&four, x + r * k + i, 4);
            for (int j = 0; j < 2 * P; ++j) totals[r][j] = fours(totals[r][j], four, w + j / 2 * step + j % 2 * 4 * V);
        }
    }
    for (int j = 0; j < 2 * P; ++j) {
        const int64_t column = (panel * 2 + j) * V;
        ivec zeros;
        std::memcpy(&zeros, job.matrix.sums + column, sizeof zeros);
        for (int r = 0; r < R; ++r)
            sums[r][j] = __builtin_convertvector(totals[r][j] - zeros, vec) * (load(job.matrix.scales + column) * job.scales[row + r]);
    }
}

// In memory, since each row's ranks are its own: sums that are indexed so would be there from the beginning.
template <int R, int P> __attribute__((noinline)) void adapt(const Job &job, int64_t row, int64_t panel, float (&sums)[R][2 * P * V]) {
    for (int r = 0; r < R; ++r)
        if (const Thin *thin = job.beside->thins[row + r])
            change(*thin, job.beside->low + (row + r) * job.beside->most, panel * 2, 2 * P, sums[r]);
}

template <int R, int P> __attribute__((noinline)) void ahead(const Job &job, int64_t row, int64_t panel) {
    const Thin *const *thins = job.beside->thins + row;
    for (int r = 0; r < R; ++r)
        if (thins[r] && (r == 0 || thins[r] != thins[r - 1])) fetch(*thins[r], panel * 2, 2 * P);
}

template <int R, int P> void tile(const Job &job, int64_t row, int64_t panel) {
    vec sums[R][2 * P] = {};
    if (job.beside) ahead<R, P>(job, row, panel);
    if (job.bytes) products8<R, P>(job, row, panel, sums);
    else products<R, P>(job, row, panel, sums);
    for (int j = 0; j < 2 * P; ++j) {
        const int64_t column = (panel * 2 + j) * V;
        const vec bias = job.matrix.bias ? load(job.matrix.bias + column) : vec{};
        for (int r = 0; r < R; ++r) sums[r][j] += bias;
    }
    if (job.beside) {
        float kept[R][2 * P * V];
        for (int r = 0; r < R; ++r)
            for (int j = 0; j < 2 * P; ++j) store(kept[r] + j * V, sums[r][j]);
        adapt<R, P>(job, row, panel, kept);
        for (int r = 0; r < R; ++r)
            for (int j = 0; j < 2 * P; ++j) sums[r][j] = load(kept[r] + j * V);
    }
    for (int r = 0; r < R; ++r) {
        float *y = job.y + (row + r) * job.stride;
        if (job.end == End::Activate && job.gated) {  // half of a panel are gates, the other half what they let through
            for (int p = 0; p < P; ++p)
                store(y + (panel + p) * V, activate(job.activation, sums[r][2 * p]) * sums[r][2 * p + 1]);
            continue;
        }
        for (int j = 0; j < 2 * P; ++j) {
            const int64_t column = (panel * 2 + j) * V, left = job.matrix.n - column;
            vec value = sums[r][j];
            if (job.end == End::Activate) value = activate(job.activation, value);
            if (job.end == End::Add) value += some(y + column, left);
            keep(y + column, value, left);
        }
    }
}

template <int R> void block(int rows, const Job &job, int64_t row, int64_t from, int64_t to) {
    if constexpr (R > 1)
        if (rows < R) return block<R - 1>(rows, job, row, from, to);
    constexpr int P = std::max(1, std::min(4, REGISTERS / (2 * R)));
    for (; from + P <= to; from += P) tile<R, P>(job, row, from);
    for (; from < to; ++from) tile<R, 1>(job, row, from);
}

void multiply(Me &me, const Matrix &matrix, const float *x, int64_t rows, float *y, int64_t stride, End end,
              int activation = 0, int gated = 0, const Beside *beside = nullptr) {
    Job job{matrix, x, nullptr, nullptr, y, stride, end, activation, gated, beside};
    if (matrix.scales) {  // each row's inputs in 8 bits: largest magnitude / 127, zero at 128
        const int64_t k = matrix.k, wide = (k + 3) / 4 * 4;
        me.bytes.resize(rows * wide);
        me.scales.resize(rows);
        for (int64_t row = 0; row < rows; ++row) {
            const float *from = x + row * k;
            vec most{};
            for (int64_t i = 0; i < k; i += V) {
                vec value = some(from + i, k - i), size = value < vec{} ? -value : value;
                most = size > most || size != size ? size : most;
            }
            const float found = greatest(reinterpret_cast<const float *>(&most), V);
            if (!std::isfinite(found)) {  // what is no number must not come out as one
                std::fill_n(me.bytes.data() + row * wide, wide, 128);
                me.scales[row] = std::numeric_limits<float>::quiet_NaN();
                continue;
            }
            const float largest = std::max(found, 1e-12f);
            const float unit = 127.0f / largest;
            uint8_t *to = me.bytes.data() + row * wide;
            for (int64_t i = 0; i < k; ++i) to[i] = static_cast<uint8_t>(static_cast<int>(128.5f + from[i] * unit));
            me.scales[row] = largest / 127.0f;
        }
        job.bytes = me.bytes.data();
        job.scales = me.scales.data();
    }
    // Panels, or pieces of their rows, are shared out; one after the other, so that a panel stays in the cache.
    const int64_t panels = (matrix.n + PANEL - 1) / PANEL, pieces = (rows + ROWS - 1) / ROWS;
    const int64_t from = panels * pieces * me.thread / me.threads, to = panels * pieces * (me.thread + 1) / me.threads;
    if (pieces == 1) return block<ROWS>(static_cast<int>(rows), job, 0, from, to);
    for (int64_t i = from; i < to; ++i) {
        const int64_t row = rows * (i % pieces) / pieces, next = rows * (i % pieces + 1) / pieces;
        block<ROWS>(static_cast<int>(next - row), job, row, i / pieces, i / pieces + 1);
    }
}
