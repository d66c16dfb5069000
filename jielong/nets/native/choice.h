// From a row of logits to a token: the top, and a draw.

#pragma once

#include "vectors.h"

constexpr int PLACE = 5, BLOCKS = 8;  // numbers of an address (base/noise.py); blocks of 8 tokens' chance at once

// The first largest logit (a NaN counts as largest), and log sum exp.
inline void crest(const float *x, int64_t size, int64_t &best, float &most, float &sum_of) {
    const float largest = greatest(x, size);
    vec all{};
    for (int64_t i = 0; i < size; i += V) {
        vec value = exponential(some(x + i, size - i) - largest);
        for (int64_t j = size - i; j < V; ++j) value[j] = 0.0f;
        all += value;
    }
    int64_t place = 0;
    while (place < size && x[place] != largest && x[place] == x[place]) ++place;
    best = std::min(place, size - 1), most = largest, sum_of = largest + std::log(sum(all));
}

// Philox 4x64-10: the words of `BLOCKS` blocks from `first` on, as numpy's generator gives them at this key and counter.
inline void philox(const uint64_t *place, uint64_t first, uint64_t *words) {
    uint64_t state[BLOCKS][4], key[2] = {place[0], place[1]};
    for (int b = 0; b < BLOCKS; ++b)  // numpy counts before it draws
        state[b][0] = first + b + 1, state[b][1] = place[2], state[b][2] = place[3], state[b][3] = place[4];
    for (int round = 0; round < 10; ++round) {
        for (auto &s : state) {
            const auto a = static_cast<unsigned __int128>(s[0]) * 0xD2E7470EE14C6C93u;
            const auto b = static_cast<unsigned __int128>(s[2]) * 0xCA5A826395121157u;
            s[0] = static_cast<uint64_t>(b >> 64) ^ s[1] ^ key[0], s[1] = static_cast<uint64_t>(b);
            s[2] = static_cast<uint64_t>(a >> 64) ^ s[3] ^ key[1], s[3] = static_cast<uint64_t>(a);
        }
        key[0] += 0x9E3779B97F4A7C15u, key[1] += 0xBB67AE8584CAA73Bu;
    }
    std::memcpy(words, state, sizeof state);
}

inline bool any(ivec mask) {
    int32_t found = 0;
    for (int i = 0; i < V; ++i) found |= mask[i];
    return found;
}

// argmax(logit - log E), E exponential: token i with probability softmax(logits)_i. E = -log(1 - x) from 32 bits a token,
// x at least 2^-33; written so that small E, which win, have all their digits. What cannot win is passed over: nearly
// all vectors, for E is not less than the power of two below x, and all of a block's tokens that are far from the top.
struct Winner { float score; int64_t token; };

inline void race(const float *logits, int64_t size, const uint64_t *place, int64_t first, Winner &best) {
    typedef uint32_t uvec __attribute__((vector_size(4 * V)));
    constexpr float NONE = -std::numeric_limits<float>::infinity(), MOST = 22.875f;  // > 33 ln 2, of -log x
    constexpr int PARTS = 8 * BLOCKS / V;
    vec logit[PARTS], x[PARTS], top = splat(NONE);
    for (int p = 0; p < PARTS; ++p) {
        const int64_t at = first + p * V;
        logit[p] = at + V <= size ? load(logits + at) : splat(NONE);
        for (int64_t j = at; j < size && at + V > size; ++j) logit[p][j - at] = logits[j];
        top = logit[p] > top ? logit[p] : top;
    }
    if (!any(top > best.score - MOST)) return;
    uint64_t words[4 * BLOCKS];
    philox(place, first / 8, words);
    ivec can{};
    for (int p = 0; p < PARTS; ++p) {
        uvec bits;
        std::memcpy(&bits, words + p * V / 2, sizeof bits);
        x[p] = __builtin_convertvector(bits, vec) * 0x1p-32f + 0x1p-33f;
        can |= logit[p] + __builtin_convertvector(127 - ((ivec)x[p] >> 23), vec) * 0.69314724f > best.score;
    }
    if (!any(can)) return;
    for (int p = 0; p < PARTS; ++p) {
        const vec rest = 1.0f - x[p], small = rest == 1.0f ? x[p] : logarithm(rest) * x[p] / (rest - 1.0f);
        const vec score = logit[p] - logarithm(small);
        if (!any(score > best.score)) continue;
        for (int j = 0; j < V; ++j)
            if (score[j] > best.score) best = {score[j], first + p * V + j};
    }
}

inline int64_t race(const float *logits, int64_t size, const uint64_t *place) {
    const float largest = greatest(logits, size);
    int64_t top = 0;
    while (top < size - 1 && logits[top] != largest) ++top;
    Winner best{-std::numeric_limits<float>::infinity(), top};
    const int64_t group = 8 * BLOCKS, promising = top / group * group;
    race(logits, size, place, promising, best);
    for (int64_t first = 0; first < size; first += group)
        if (first != promising) race(logits, size, place, first, best);
    return best.token;
}
