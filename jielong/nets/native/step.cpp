// One step of a Transformer on a CPU, all layers in one call (see native/__init__.py for the face it has in Python).
//
// Shapes and names as in decoder.py: N tokens of many rows, D width, H query heads, K key heads, C head size. Threads
// share out columns of matrices and (row, key head) pairs of attention; norms are small, and every thread takes them
// for itself rather than wait for another's.
//
// Every number is summed in an order that depends on its own row alone: a column's products one after the other, keys
// by their place. So a row's bits are the same whatever else is in the batch, and exact mode needs nothing more.

#include <omp.h>

#include "attention.h"
#include "choice.h"

namespace {

constexpr int64_t SMALL = 1 << 14;  // numbers that one thread is done with before another has begun

// A step. All threads run through it together; only what stands between two barriers is shared out.

struct Space {
    std::vector<float> x, wide, mixed, added, inverses, low;
    std::vector<Row> rows;
    std::vector<Me> each;
};

template <class T> void room(std::vector<T> &space, int64_t size) {
    if (static_cast<int64_t>(space.size()) < size) space.resize(size);
}

enum Which { QKV, OUT, UP, DOWN };

// A matrix of a layer as the rows' adapters have it: `x` is what they read, `beside` (null: nobody changes anything)
// what they add. What is narrow is shared out, and each matrix has room of its own for it.
struct Changed {
    const float *x;
    Beside all;
    const Beside *beside = nullptr;

    Changed(Me &me, const Model &m, const Feed &feed, Space &space, int64_t layer, Which which, const float *from, int64_t k) : x(from), all{} {
        if (!feed.adapters) return;
        const int64_t tokens = feed.tokens;
        bool some = false, reads = false, ranks = false;
        me.thins[which].resize(tokens);
        for (int64_t i = 0; i < tokens; ++i) {
            const Thin *thin = nullptr;
            if (const int64_t number = feed.adapters[i]) thin = m.thins + ((number - 1) * m.count + layer) * MATRICES + which;
            if (thin && !(thin->read || thin->b || thin->factor || thin->shift)) thin = nullptr;
            me.thins[which][i] = thin;
            if (thin) some = true, reads |= thin->read != nullptr, ranks |= thin->b != nullptr;
        }
        if (!some) return;
        if (reads) {
            room(me.read, tokens * k);
            for (int64_t i = 0; i < tokens; ++i) {
                const Thin *thin = me.thins[which][i];
                for (int64_t c = 0; c < k; ++c)
                    me.read[i * k + c] = thin && thin->read ? from[i * k + c] * thin->read[c] : from[i * k + c];
            }
            x = me.read.data();
        }
        float *low = space.low.data() + which * tokens * m.most;
        if (ranks) {
            const int64_t pieces = (m.most + RANKS - 1) / RANKS;
            #pragma omp for
            for (int64_t each = 0; each < tokens * pieces; ++each) {
                const int64_t i = each / pieces;
                const Thin *thin = me.thins[which][i];
                const Thin *next = i + 1 < tokens ? me.thins[which][i + 1] : nullptr;
                const int64_t first = each % pieces * RANKS;
                if (next && next != thin && first < next->ranks)
                    fetch(next->a + first * k, std::min<int64_t>(RANKS, next->ranks - first) * k);
                if (thin && thin->b) narrow(*thin, x + i * k, k, first, low + i * m.most);
            }
        }
        all = {me.thins[which].data(), low, m.most};
        beside = &all;
    }
    Changed(const Changed &) = delete;
};

// x += what `matrix` makes of y, with the norm that may come after.
void add(Me &me, const Model &m, const Norm &after, bool post, const Matrix &matrix, const Changed &y, Space &space, int64_t tokens) {
    float *x = space.x.data(), *target = after.weight && !post ? space.added.data() : x;
    multiply(me, matrix, y.x, tokens, target, m.dim, target == x ? End::Add : End::Store, 0, 0, y.beside);
    #pragma omp barrier
    if (!after.weight) return;
    #pragma omp for
    for (int64_t i = 0; i < tokens; ++i) {
        float *to = x + i * m.dim, *normed = me.inner.data();
        normalise(after, target + i * m.dim, normed, m.dim);
        for (int64_t c = 0; c < m.dim; ++c) to[c] = post ? normed[c] : to[c] + normed[c];
    }
}

// What a matrix is to read: the stream normed, in this thread's own memory; or the stream itself.
const float *before(Me &me, const Norm &norm, const float *x, int64_t tokens, int64_t dim) {
    if (!norm.weight) return x;
    for (int64_t i = 0; i < tokens; ++i) normalise(norm, x + i * dim, me.inner.data() + i * dim, dim);
    return me.inner.data();
}

struct Half { const Matrix &matrix; Which which; const float *from; };

// The wide half of the feed-forward, with its activation.
void raise(Me &me, const Model &m, const Layer &layer, const Changed &inner, const Attention &at, int64_t tokens) {
    multiply(me, layer.up, inner.x, tokens, at.wide, m.hidden, End::Activate, m.activation, m.gated, inner.beside);
    #pragma omp barrier
}

void layer_step(Me &me, const Model &m, int64_t number, const Feed &feed, Space &space) {
    const Layer &layer = m.layers[number];
    const int64_t across = (m.heads + 2 * m.kv) * m.size, pairs = space.rows.size() * m.kv, tokens = feed.tokens;
    const Attention at{m, layer, feed, space.wide.data(), space.mixed.data(), space.inverses.data()};
    const float *x = space.x.data(), *inner = before(me, layer.before, x, tokens, m.dim);
    {
        const Changed read(me, m, feed, space, number, QKV, inner, m.dim);
        multiply(me, layer.qkv, read.x, tokens, at.wide, across, End::Store, 0, 0, read.beside);
    }
    #pragma omp barrier
    if (layer.head_norm && layer.whole) {
        #pragma omp for
        for (int64_t i = 0; i < tokens; ++i) {
            space.inverses[2 * i] = inverse(at.wide + i * across, m.heads * m.size, m.eps);
            space.inverses[2 * i + 1] = inverse(at.wide + i * across + m.heads * m.size, m.kv * m.size, m.eps);
        }
    }
    #pragma omp for schedule(static, 1)
    for (int64_t pair = 0; pair < pairs; ++pair) {
        const int64_t then = pair + me.threads;
        Next next{};
        if (then < pairs) {
            const Row &row = space.rows[then / m.kv];
            next = {row.table, feed.positions[row.start + row.width - 1] / PAGE + 1, then % m.kv};
        }
        attend(me, at, space.rows[pair / m.kv], pair % m.kv, &next);
    }
    if (m.parallel) {  // both halves read the same: what stands in `inner`, or in the stream, must not change yet
        raise(me, m, layer, Changed(me, m, feed, space, number, UP, inner, m.dim), at, tokens);
        for (const auto &[matrix, which, from] : {Half{layer.out, OUT, at.mixed}, Half{layer.down, DOWN, at.wide}}) {
            const Changed read(me, m, feed, space, number, which, from, matrix.k);
            multiply(me, matrix, read.x, tokens, space.x.data(), m.dim, End::Add, 0, 0, read.beside);
        }
        #pragma omp barrier
        return;
    }
    const int64_t mixed = m.heads * m.size;
    add(me, m, layer.after, layer.post, layer.out, Changed(me, m, feed, space, number, OUT, at.mixed, mixed), space, tokens);
    inner = before(me, layer.between, x, tokens, m.dim);
    raise(me, m, layer, Changed(me, m, feed, space, number, UP, inner, m.dim), at, tokens);
    add(me, m, layer.last, layer.post, layer.down, Changed(me, m, feed, space, number, DOWN, at.wide, m.hidden), space, tokens);
}

void embed(const Model &m, const Feed &feed, float *x, int64_t i) {
    for (int64_t c = 0; c < m.dim; ++c) {
        float value = m.embed[feed.ids[i] * m.dim + c] * m.embed_scale;
        if (m.place) value += m.place[feed.positions[i] * m.dim + c];
        x[i * m.dim + c] = m.kind ? value + m.kind[c] : value;
    }
    if (m.embed_norm.weight) normalise(m.embed_norm, x + i * m.dim, x + i * m.dim, m.dim);
}

void finish(Me &me, const Model &m, const Feed &feed, Space &space) {
    if (feed.hidden) {
        #pragma omp for
        for (int64_t i = 0; i < feed.tokens; ++i) {
            const float *from = space.x.data() + i * m.dim;
            if (m.norm.weight) normalise(m.norm, from, feed.hidden + i * m.dim, m.dim);
            else std::memcpy(feed.hidden + i * m.dim, from, m.dim * sizeof(float));
        }
    }
    if (!feed.wanted_count) return;
    room(me.inner, feed.wanted_count * m.dim);
    for (int64_t r = 0; r < feed.wanted_count; ++r) {
        const float *from = space.x.data() + feed.wanted[r] * m.dim;
        float *to = me.inner.data() + r * m.dim;
        if (m.norm.weight) normalise(m.norm, from, to, m.dim);
        else std::memcpy(to, from, m.dim * sizeof(float));
    }
    multiply(me, m.head, me.inner.data(), feed.wanted_count, feed.logits, m.head.n, End::Store);
    if (!m.softcap) return;
    #pragma omp barrier
    #pragma omp for
    for (int64_t i = 0; i < feed.wanted_count * m.head.n; i += V) {
        const int64_t left = feed.wanted_count * m.head.n - i;
        keep(feed.logits + i, hyperbolic(some(feed.logits + i, left) / m.softcap) * m.softcap, left);
    }
}

// Panels: `width` numbers of one column side by side, PANEL columns, all of the k inputs; what is missing is zero. Of a
// gated matrix (gates above what they let through), half of each panel is gates.
template <class T> void pack(T *to, const T *from, int64_t n, int64_t columns, int64_t k, int64_t width, int gated) {
    const int64_t real = gated ? n / 2 : n, wide = gated ? V : PANEL, panels = (real + wide - 1) / wide;
    for (int64_t p = 0; p < panels; ++p)
        for (int64_t i = 0; i < k; i += width)
            for (int64_t c = 0; c < PANEL; ++c) {
                const int64_t place = p * wide + c % wide, row = place + (c >= wide ? real : 0);
                for (int64_t j = 0; j < width; ++j)
                    *to++ = place < real && i + j < columns ? from[row * columns + i + j] : T(0);
            }
}

}  // namespace

#define EXPORT extern "C" __attribute__((visibility("default")))

EXPORT int64_t jielong_vector() { return V; }

EXPORT void jielong_pack(float *to, const float *from, int64_t n, int64_t columns, int64_t k, int gated) {
    pack(to, from, n, columns, k, 1, gated);
}

EXPORT void jielong_pack8(int8_t *to, const int8_t *from, int64_t n, int64_t columns, int64_t k, int gated) {
    pack(to, from, n, columns, k, 4, gated);
}

EXPORT void jielong_step(const Model *model, const Feed *feed, int threads) {
    static thread_local Space space;
    const Model &m = *model;
    const int64_t tokens = feed->tokens, across = std::max((m.heads + 2 * m.kv) * m.size, m.hidden);
    room(space.x, tokens * m.dim), room(space.added, tokens * m.dim), room(space.wide, tokens * across);
    room(space.mixed, tokens * m.heads * m.size), room(space.inverses, 2 * tokens), room(space.each, threads);
    if (feed->adapters) room(space.low, MATRICES * tokens * m.most);
    space.rows.clear();
    for (int64_t i = 0; i < feed->groups_count; ++i) {
        const Group &group = feed->groups[i];
        for (int64_t row = 0; row < group.rows; ++row)
            space.rows.push_back({group.start + row * group.width, group.width, group.table + row * group.pages});
    }
    Space &shared = space;  // a thread_local's name would mean another in every thread
    #pragma omp parallel num_threads(threads)
    {
        Me &me = shared.each[omp_get_thread_num()];
        me.thread = omp_get_thread_num(), me.threads = omp_get_num_threads();
        room(me.inner, tokens * m.dim);
        #pragma omp for
        for (int64_t i = 0; i < tokens; ++i) embed(m, *feed, shared.x.data(), i);
        for (int64_t i = 0; i < m.count; ++i) layer_step(me, m, i, *feed, shared);
        finish(me, m, *feed, shared);
    }
}

EXPORT void jielong_crest(const float *logits, int64_t *best, float *most, float *total, int64_t rows, int64_t size, int threads) {
    #pragma omp parallel for num_threads(rows * size < SMALL ? 1 : threads)
    for (int64_t row = 0; row < rows; ++row) crest(logits + row * size, size, best[row], most[row], total[row]);
}

EXPORT void jielong_race(const float *logits, const uint64_t *places, int64_t *won, int64_t rows, int64_t size, int threads) {
    #pragma omp parallel for num_threads(rows * size < SMALL ? 1 : threads)
    for (int64_t row = 0; row < rows; ++row) won[row] = race(logits + row * size, size, places + row * PLACE);
}
