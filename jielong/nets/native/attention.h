// Attention over pages of keys and values.

#pragma once

#include <limits>

#include "products.h"

constexpr int PAGE = 16, QUERIES = 4, MATRICES = 4;  // positions in a page; queries that share a pass over the keys

struct Layer {
    Norm before, between, after, last;
    Matrix qkv, out, up, down;
    const float *head_norm, *turns;  // (H + K, C) and complex (positions, C / 2)
    float *pages;                    // (2 K, positions of the pool, C)
    int64_t window;                  // 0: none
    float scale, softcap;            // softcap 0: none
    int32_t whole, post;             // heads normed together; the norm after an addition stands on the stream
};
struct Group { int64_t start, rows, width, pages; const int64_t *table; };
struct Model {
    const Layer *layers;
    const float *embed, *place, *kind, *slopes;
    Norm embed_norm, norm;
    Matrix head;
    int64_t count, dim, heads, kv, size, hidden, pool;  // pool: positions in the cache
    const Thin *thins;  // (adapters, layers, MATRICES)
    int64_t most;       // ranks that an adapter has at one matrix
    float embed_scale, softcap, eps;
    int32_t activation, gated, parallel;
};
struct Feed {
    const Group *groups;
    const int64_t *ids, *positions, *slots, *wanted;
    const int64_t *adapters;  // (N,) which each token has, 0: none; null: no token has any
    float *hidden, *logits;  // (N, D): the stream after the last norm, where it is asked for; (R, V)
    int64_t groups_count, tokens, wanted_count;
};
struct Row { int64_t start, width; const int64_t *table; };
struct Attention {
    const Model &model;
    const Layer &layer;
    const Feed &feed;
    float *wide, *mixed;    // (N, (H + 2 K) C) projections, (N, H C)
    const float *inverses;  // (N, 2): 1 / length of all queries and of all keys of a token, for norms over all heads
};

float inverse(const float *x, int64_t size, float eps) {
    vec total{};
    for (int64_t i = 0; i < size; i += V) {
        const vec value = some(x + i, size - i);
        total += value * value;
    }
    return 1.0f / std::sqrt(sum(total) / size + eps);
}

// Norm and turn a head where it lies.
void settle(const Attention &at, float *head, int64_t number, int64_t position, float scale) {
    const int64_t size = at.model.size;
    if (at.layer.head_norm) {
        const float *weight = at.layer.head_norm + number * size;
        for (int64_t c = 0; c < size; ++c) head[c] *= scale * weight[c];
    }
    if (!at.layer.turns) return;
    const float *turn = at.layer.turns + position * (size / 2 * 2);
    for (int64_t c = 0; c + 1 < size; c += 2) {
        const float a = head[c], b = head[c + 1];
        head[c] = a * turn[c] - b * turn[c + 1];
        head[c + 1] = a * turn[c + 1] + b * turn[c];
    }
}

// This row's queries and keys of key head g: normed and turned; keys and values stored in their pages.
void prepare(const Attention &at, const Row &row, int64_t g) {
    const Model &m = at.model;
    const int64_t shares = m.heads / m.kv, size = m.size, across = (m.heads + 2 * m.kv) * size;
    for (int64_t i = row.start; i < row.start + row.width; ++i) {
        float *token = at.wide + i * across, *key = token + (m.heads + g) * size;
        const auto scale = [&](const float *head, int which) {
            if (!at.layer.head_norm) return 1.0f;
            return at.layer.whole ? at.inverses[2 * i + which] : inverse(head, size, m.eps);
        };
        for (int64_t h = g * shares; h < (g + 1) * shares; ++h)
            settle(at, token + h * size, h, at.feed.positions[i], scale(token + h * size, 0));
        settle(at, key, m.heads + g, at.feed.positions[i], scale(key, 1));
        float *to = at.layer.pages + (g * m.pool + at.feed.slots[i]) * size;
        std::memcpy(to, key, size * sizeof(float));
        std::memcpy(to + m.kv * m.pool * size, key + m.kv * size, size * sizeof(float));
    }
}

// Scores become probabilities times their sum, which is returned; from `first` to `last`, nothing stands outside
// [low, high). There must be room for a vector more.
float soften(float *scores, int64_t first, int64_t low, int64_t high, int64_t last) {
    std::fill(scores + high, scores + high + V, -std::numeric_limits<float>::infinity());
    const float largest = greatest(scores + low, (high - low + V - 1) / V * V);
    vec all{};
    for (int64_t j = low; j < high; j += V) {
        const vec value = exponential(load(scores + j) - largest);
        store(scores + j, value);
        all += value;
    }
    std::fill(scores + first, scores + low, 0.0f);
    std::fill(scores + high, scores + last, 0.0f);
    return sum(all);
}

struct Next { const int64_t *table; int64_t pages, head; };  // what this thread attends to after this
struct Query { const float *vector; float *mixed; int64_t position, low; float slope; };

// COUNT queries in one pass over their keys and one over their values.
template <int COUNT, bool EVEN> void mix(Me &me, const Attention &at, const Row &row, int64_t g, const Query *queries,
                                         const Next *next) {
    const Model &m = at.model;
    const Layer &layer = at.layer;
    const int64_t size = m.size, padded = (size + V - 1) / V * V, half = m.kv * m.pool * size;
    int64_t from = queries[0].low, to = 0;
    for (int q = 0; q < COUNT; ++q) from = std::min(from, queries[q].low), to = std::max(to, queries[q].position + 1);
    const int64_t first = from / PAGE, last = (to + PAGE - 1) / PAGE, across = last * PAGE + V;
    me.space.resize(COUNT * (padded + across));
    float *vectors = me.space.data(), *scores = vectors + COUNT * padded, *shared[COUNT], totals[COUNT];
    for (int q = 0; q < COUNT; ++q) {
        shared[q] = scores + q * across;
        for (int64_t c = 0; c < padded; ++c)
            vectors[q * padded + c] = c < size ? queries[q].vector[c] * layer.scale : 0.0f;
    }
    const float *pool = layer.pages + g * m.pool * size;
    for (int64_t j = first * PAGE; j < last * PAGE; j += V) {  // whole pages: what is too much gets probability 0
        const float *keys = pool + (row.table[j / PAGE] * PAGE + j % PAGE) * size;
        if (next && j / PAGE < next->pages) {
            const float *then = layer.pages + (next->head * m.pool + next->table[j / PAGE] * PAGE + j % PAGE) * size;
            fetch(then, V * size);
            fetch(then + half, V * size);
        }
        vec dots[COUNT][V] = {};
        for (int64_t c = 0; c < size; c += V)
            for (int k = 0; k < V; ++k) {
                const vec part = EVEN ? load(keys + k * size + c) : some(keys + k * size + c, size - c);
                for (int q = 0; q < COUNT; ++q) dots[q][k] += part * load(vectors + q * padded + c);
            }
        for (int q = 0; q < COUNT; ++q) store(shared[q] + j, sums<V / 2>(dots[q]));
    }
    for (int q = 0; q < COUNT; ++q) {
        const Query &one = queries[q];
        if (layer.softcap)
            for (int64_t j = from; j < to; j += V)
                keep(shared[q] + j, hyperbolic(some(shared[q] + j, to - j) / layer.softcap) * layer.softcap, to - j);
        if (one.slope)
            for (int64_t j = from; j < to; ++j) shared[q][j] -= one.slope * std::abs(one.position - j);
        totals[q] = soften(shared[q], first * PAGE, one.low, one.position + 1, last * PAGE);
    }
    for (int64_t c = 0; c < size; c += 2 * V) {
        vec mixed[2][COUNT][2] = {};  // even and odd keys apart: twice as many sums on their way
        for (int64_t page = first; page < last; ++page) {
            const float *value = pool + half + row.table[page] * PAGE * size + c, *p = shared[0] + page * PAGE;
            for (int64_t j = 0; j < PAGE; j += 2)
                for (int odd = 0; odd < 2; ++odd, value += size, ++p) {
                    const vec low = EVEN ? load(value) : some(value, size - c);
                    const vec high = size - c <= V ? vec{} : EVEN ? load(value + V) : some(value + V, size - c - V);
                    for (int q = 0; q < COUNT; ++q) {
                        mixed[odd][q][0] += p[q * across] * low;
                        mixed[odd][q][1] += p[q * across] * high;
                    }
                }
        }
        for (int q = 0; q < COUNT; ++q) {
            keep(queries[q].mixed + c, (mixed[0][q][0] + mixed[1][q][0]) / totals[q], size - c);
            if (size - c > V) keep(queries[q].mixed + c + V, (mixed[0][q][1] + mixed[1][q][1]) / totals[q], size - c - V);
        }
    }
}

void attend(Me &me, const Attention &at, const Row &row, int64_t g, const Next *next) {
    const Model &m = at.model;
    const int64_t shares = m.heads / m.kv, across = (m.heads + 2 * m.kv) * m.size, all = row.width * shares;
    prepare(at, row, g);
    for (int64_t first = 0; first < all; first += QUERIES) {
        Query queries[QUERIES];
        const int count = static_cast<int>(std::min<int64_t>(QUERIES, all - first));
        for (int q = 0; q < count; ++q) {
            const int64_t i = row.start + (first + q) / shares, h = g * shares + (first + q) % shares;
            const int64_t position = at.feed.positions[i], window = at.layer.window;
            queries[q] = {at.wide + i * across + h * m.size, at.mixed + (i * m.heads + h) * m.size, position,
                          window ? std::max<int64_t>(0, position - window + 1) : 0, m.slopes ? m.slopes[h] : 0.0f};
        }
        const bool even = m.size % V == 0;
        const auto pass = count == 1 ? even ? mix<1, true> : mix<1, false>
                        : count == 2 ? even ? mix<2, true> : mix<2, false>
                        : count == 3 ? even ? mix<3, true> : mix<3, false>
                                     : even ? mix<4, true> : mix<4, false>;
        pass(me, at, row, g, queries, first ? nullptr : next);
    }
}

