// A layer's pass over edges: reads every edge state once, writes it once. See edge_gated_kernels.py for the function.
//
// Edges are (batch, edges, width), block by block: a block has `outs` targets times `ins` sources. Work goes by tiles, as
// many channels as a vector holds; tiles never meet, so callers may split the width among threads. What nodes have lies
// tile by tile, as (batch, tiles, nodes, slots, lanes), so that a block's nodes fit the first cache. Messages are made
// by the same rounded operations in both passes (-ffp-contract=off): backward finds the extremes again by equality.

#include <cmath>
#include <cstring>

struct Stack { long blocks, outs, ins, edge, source, target; };

struct Shape {
    long batch, nodes, edges, width, stacks;
    const Stack *stack;
    const long *sources, *targets, *degrees;  // degrees (2, nodes)
};

template <class R> struct Lanes {
    typedef R type __attribute__((vector_size(64)));
    static const long count = 64 / sizeof(R);
};

// Of one network, the channels from h: n of them, all lanes of a vector if `whole`.
template <class R, bool whole> struct Tile {
    typedef typename Lanes<R>::type V;
    static const long lanes = Lanes<R>::count;
    const Shape &s;
    long m, h, n;

    V load(const R *p) const { V v = {}; memcpy(&v, p, (whole ? lanes : n) * sizeof(R)); return v; }
    void store(R *p, V v) const { memcpy(p, &v, (whole ? lanes : n) * sizeof(R)); }
    long edge(long number) const { return (m * s.edges + number) * s.width + h; }
    long node(long number, long slot) const { return ((m * s.nodes + number) * 4 + slot) * s.width + h; }
    // The tile's part of what nodes have, `slots` vectors each.
    V *of(R *p, long slots) const {
        return (V *)p + (m * ((s.width + lanes - 1) / lanes) + h / lanes) * s.nodes * slots;
    }
    V sign() const {
        V v;
        for (long k = 0; k < lanes; k++) v[k] = h + k < s.width / 2 ? 1 : -1;
        return v;
    }
};

const long EDGES = 2048;  // whose tiles follow one another, to stay in the second cache
const long SOURCES = 48;  // to stay in the first

// Some sources of a row of a block: edges from `edge`, to one target.
struct Row { long edge, target; const long *sources; long ins; };

// Reads a part of an array, if there is one, line after line into the second cache: saves a third of the time.
template <class R> static void fetch(const R *p, long at, long rows, long stride, long length) {
    for (long row = 0; p && row < rows; row++)
        for (long k = 0; k < length; k += Lanes<R>::count) (void)*(volatile const R *)(p + at + row * stride + k);
}

// Calls work.row for all edges, tile after tile; first and last are channels.
template <class R, template <class, bool> class Work, class Data>
static void sweep(const Shape &s, const Data &d, long first, long last) {
    const long lanes = Lanes<R>::count;
    for (long m = 0; m < s.batch; m++)
        for (long k = 0; k < s.stacks; k++) {
            const Stack &t = s.stack[k];
            const long some = t.ins < SOURCES ? t.ins : SOURCES, many = EDGES / some;
            for (long b = 0; b < t.blocks; b++)
                for (long i = 0; i < t.ins; i += some)
                    for (long o = 0; o < t.outs; o += many) {
                        const long rows = t.outs - o < many ? t.outs - o : many, ins = t.ins - i < some ? t.ins - i : some;
                        const long at = (m * s.edges + t.edge + (b * t.outs + o) * t.ins + i) * s.width;
                        fetch(d.e, at, rows, t.ins * s.width, ins * s.width);
                        fetch(d.g, at, rows, t.ins * s.width, ins * s.width);
                        for (long h = first; h < last; h += lanes)
                            for (long row = o; row < o + rows; row++) {
                                const Row r = {t.edge + (b * t.outs + row) * t.ins + i,
                                               s.targets[t.target + b * t.outs + row],
                                               s.sources + t.source + b * t.ins + i,
                                               ins};
                                if (s.width - h >= lanes) Work<R, true>::row({s, m, h, lanes}, d, r);
                                else Work<R, false>::row({s, m, h, s.width - h}, d, r);
                            }
                    }
        }
}

// Calls work.nodes for every network and tile.
template <class R, template <class, bool> class Work, class Data>
static void each(const Shape &s, const Data &d, long first, long last) {
    for (long m = 0; m < s.batch; m++)
        for (long h = first; h < last; h += Lanes<R>::count) {
            if (s.width - h >= Lanes<R>::count) Work<R, true>::nodes({s, m, h, Lanes<R>::count}, d);
            else Work<R, false>::nodes({s, m, h, s.width - h}, d);
        }
}

enum { SUM, SQUARE, MOST, LEAST, MOST_TIES, LEAST_TIES, STATS };  // slots of what a node receives in one direction

// a and received (batch, nodes, 4, width). ends: a1, a3, a4 in slots; stats: STATS slots of leaving edges, then entering.
// g: null.
template <class R> struct Forward { const R *a, *e, *g; R *out, *received, *ends, *stats; long counted; };

template <class R, bool whole> struct Begin {  // lay out ends, and what nodes have received before the first message
    typedef typename Lanes<R>::type V;
    static void nodes(const Tile<R, whole> &x, const Forward<R> &d) {
        V *ends = x.of(d.ends, 3), *stats = x.of(d.stats, 2 * STATS);
        for (long v = 0; v < x.s.nodes; v++, ends += 3) {
            ends[0] = x.load(d.a + x.node(v, 0));
            ends[1] = x.load(d.a + x.node(v, 2));
            ends[2] = x.load(d.a + x.node(v, 3));
            for (long side = 0; side < 2; side++, stats += STATS) {
                stats[SUM] = stats[SQUARE] = stats[MOST_TIES] = stats[LEAST_TIES] = V{};
                stats[MOST] = V{} - HUGE_VAL;
                stats[LEAST] = V{} + HUGE_VAL;
            }
        }
    }
};

template <class V, bool counted> static inline void more(V *at, V sum, V square, V most, V least, V n_most, V n_least) {
    at[SUM] += sum;
    at[SQUARE] += square;
    const V high = at[MOST], low = at[LEAST];
    const auto above = most > high, below = least < low;
    at[MOST] = above ? most : high;
    at[LEAST] = below ? least : low;
    if (counted) {
        at[MOST_TIES] = (above ? V{} : at[MOST_TIES]) + ((above | (most == high)) ? n_most : V{});
        at[LEAST_TIES] = (below ? V{} : at[LEAST_TIES]) + ((below | (least == low)) ? n_least : V{});
    }
}

template <class R, bool whole> struct Send {
    typedef typename Lanes<R>::type V;

    template <bool counted> static void send(const Tile<R, whole> &x, const Forward<R> &d, const Row &r) {
        const V *ends = x.of(d.ends, 3), *o = ends + 3 * r.target;
        const V o1 = o[0], o3 = o[1], o4 = o[2], one = V{} + 1;
        V *stats = x.of(d.stats, 2 * STATS), at[STATS] = {V{}, V{}, V{} - HUGE_VAL, V{} + HUGE_VAL, V{}, V{}};
        const R *in = d.e + x.edge(r.edge);
        R *out = d.out + x.edge(r.edge);
        for (long i = 0; i < r.ins; i++, in += x.s.width, out += x.s.width) {
            const V *u = ends + 3 * r.sources[i];
            const V e = x.load(in), up = o1 * e, down = u[0] * e;
            more<V, counted>(stats + 2 * STATS * r.sources[i], up, up * up, up, up, one, one);
            more<V, counted>(at, down, down * down, down, down, one, one);
            x.store(out, e * (1 + (o3 * u[2] + o4 * u[1])));
        }
        more<V, counted>(stats + 2 * STATS * r.target + STATS, at[SUM], at[SQUARE], at[MOST], at[LEAST],
                         at[MOST_TIES], at[LEAST_TIES]);
    }

    static void row(const Tile<R, whole> &x, const Forward<R> &d, const Row &r) {
        if (d.counted) send<true>(x, d, r);
        else send<false>(x, d, r);
    }
};

const double VARIANCE = 1e-5;  // a smaller one counts as none

template <class V> static inline V root(V v) {
    for (unsigned long k = 0; k < sizeof(V) / sizeof(v[0]); k++) v[k] = std::sqrt(v[k]);
    return v;
}

template <class R, bool whole> struct Receive {  // mean, deviation, maximum, minimum of messages, both directions added
    typedef typename Lanes<R>::type V;
    static void nodes(const Tile<R, whole> &x, const Forward<R> &d) {
        const V *stats = x.of(d.stats, 2 * STATS), sign = x.sign(), none = {};
        for (long v = 0; v < x.s.nodes; v++) {
            V got[4] = {none, none, none, none}, a2 = x.load(d.a + x.node(v, 1));
            for (long side = 0; side < 2; side++, stats += STATS, a2 *= sign) {
                const long count = x.s.degrees[side * x.s.nodes + v];
                if (!count) continue;
                const V mean = stats[SUM] / (R)count, variance = (stats[SQUARE] / (R)count - mean * mean) * (a2 * a2);
                const auto rising = a2 >= 0;
                got[0] += mean * a2;
                got[1] += variance > (R)VARIANCE ? root(variance) : none;
                got[2] += (rising ? stats[MOST] : stats[LEAST]) * a2;
                got[3] += (rising ? stats[LEAST] : stats[MOST]) * a2;
            }
            for (long slot = 0; slot < 4; slot++) x.store(d.received + x.node(v, slot), got[slot]);
        }
    }
};

enum { G_SUM, G_SQUARE, HIGH, G_HIGH, LOW, G_LOW, GRADS };  // gradients of stats (G_SQUARE twice), and the extremes

// past (layers, batch, nodes, 4, width): a of the layers that made this one's edges of those given.
// g: gradient of the updated edges, or null. ends: a1, a3, a4, then a3, a4 of each past layer; sums: those of a1, a3, a4.
template <class R> struct Backward {
    const R *a, *e, *past, *received, *g;
    R *ge, *ga, *ends, *stats, *grads, *sums;
    long layers;
};

template <class R, bool whole> struct Return {  // from gradients of what nodes receive to those of stats and a2
    typedef typename Lanes<R>::type V;
    static void nodes(const Tile<R, whole> &x, const Backward<R> &d) {
        const long slots = 3 + 2 * d.layers;
        const V *stats = x.of(d.stats, 2 * STATS), sign = x.sign(), none = {};
        V *ends = x.of(d.ends, slots), *sums = x.of(d.sums, 3), *grads = x.of(d.grads, 2 * GRADS);
        for (long v = 0; v < x.s.nodes; v++, ends += slots, sums += 3) {
            ends[0] = x.load(d.a + x.node(v, 0));
            for (long k = 0; k <= d.layers; k++) {
                const R *a = k ? d.past + (k - 1) * x.s.batch * x.s.nodes * 4 * x.s.width : d.a;
                ends[1 + 2 * k] = x.load(a + x.node(v, 2));
                ends[2 + 2 * k] = x.load(a + x.node(v, 3));
            }
            sums[0] = sums[1] = sums[2] = none;
            V g2 = {}, f[4];
            for (long slot = 0; slot < 4; slot++) f[slot] = x.load(d.received + x.node(v, slot));
            for (long side = 0; side < 2; side++, stats += STATS, grads += GRADS) {
                const V s = side ? sign : none + 1;
                if (const long count = x.s.degrees[side * x.s.nodes + v])
                    g2 += s * back(stats, grads, x.load(d.a + x.node(v, 1)) * s, f, (R)count);
            }
            x.store(d.ga + x.node(v, 1), g2);
        }
    }

    static V back(const V *stats, V *grads, V a2, const V *f, R count) {
        const V none = {}, mean = stats[SUM] / count, square = a2 * a2;
        const V plain = stats[SQUARE] / count - mean * mean, variance = plain * square;
        const V g = variance > (R)VARIANCE ? f[1] / (2 * root(variance)) : none;
        const auto rising = a2 >= 0;
        const V high = rising ? f[2] : f[3], low = rising ? f[3] : f[2];
        grads[G_SUM] = (f[0] * a2 - 2 * g * square * mean) / count;
        grads[G_SQUARE] = 2 * g * square / count;
        grads[HIGH] = stats[MOST];
        grads[G_HIGH] = high * a2 / stats[MOST_TIES];
        grads[LOW] = stats[LEAST];
        grads[G_LOW] = low * a2 / stats[LEAST_TIES];
        return f[0] * mean + 2 * g * plain * a2 + high * stats[MOST] + low * stats[LEAST];
    }
};

template <class R, bool whole> struct Resend {
    typedef typename Lanes<R>::type V;

    static inline V message(V t, const V *g) {
        return g[G_SUM] + t * g[G_SQUARE] + (t == g[HIGH] ? g[G_HIGH] : V{}) + (t == g[LOW] ? g[G_LOW] : V{});
    }

    static void row(const Tile<R, whole> &x, const Backward<R> &d, const Row &r) {
        const long slots = 3 + 2 * d.layers;
        const V *ends = x.of(d.ends, slots), *o = ends + slots * r.target, *grads = x.of(d.grads, 2 * GRADS);
        const V o1 = o[0], o3 = o[1], o4 = o[2];
        V at[GRADS], *sums = x.of(d.sums, 3), g1 = {}, g3 = {}, g4 = {};
        for (long slot = 0; slot < GRADS; slot++) at[slot] = grads[2 * GRADS * r.target + GRADS + slot];
        long here = x.edge(r.edge);
        for (long i = 0; i < r.ins; i++, here += x.s.width) {
            const V *u = ends + slots * r.sources[i];
            V *sum = sums + 3 * r.sources[i], e = x.load(d.e + here);
            for (long k = 3; k < slots; k += 2) e = e * (1 + (o[k] * u[k + 1] + o[k + 1] * u[k]));
            const V up = message(o1 * e, grads + 2 * GRADS * r.sources[i]), down = message(u[0] * e, at);
            V ge = up * o1 + down * u[0];
            g1 += up * e;
            sum[0] += down * e;
            if (d.g) {
                const V g = x.load(d.g + here), both = g * e;
                ge += g * (1 + (o3 * u[2] + o4 * u[1]));
                g3 += both * u[2];
                g4 += both * u[1];
                sum[1] += both * o4;
                sum[2] += both * o3;
            }
            x.store(d.ge + here, ge);
        }
        sums[3 * r.target] += g1;
        sums[3 * r.target + 1] += g3;
        sums[3 * r.target + 2] += g4;
    }
};

template <class R, bool whole> struct End {
    static void nodes(const Tile<R, whole> &x, const Backward<R> &d) {
        const auto *sums = x.of(d.sums, 3);
        for (long v = 0; v < x.s.nodes; v++, sums += 3) {
            x.store(d.ga + x.node(v, 0), sums[0]);
            x.store(d.ga + x.node(v, 2), sums[1]);
            x.store(d.ga + x.node(v, 3), sums[2]);
        }
    }
};

#define EXPORT(R, NAME)                                                                                  \
    extern "C" void forward_##NAME(const Shape *s, const Forward<R> *d, long first, long last) {         \
        each<R, Begin>(*s, *d, first, last);                                                             \
        sweep<R, Send>(*s, *d, first, last);                                                             \
        each<R, Receive>(*s, *d, first, last);                                                           \
    }                                                                                                    \
    extern "C" void backward_##NAME(const Shape *s, const Backward<R> *d, long first, long last) {       \
        each<R, Return>(*s, *d, first, last);                                                            \
        sweep<R, Resend>(*s, *d, first, last);                                                           \
        each<R, End>(*s, *d, first, last);                                                               \
    }

EXPORT(float, float32)
EXPORT(double, float64)
