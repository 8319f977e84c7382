// One layer over edges in one pass: reads every edge state once, writes it once. See edge_gated_pass.py.
//
// Edges (batch, edges, width) lie block by block; a block has `outs` targets times `ins` sources, all of a stack's
// blocks being of one shape. Lanes of the width never meet, so callers may split it into [first, last) among threads.
// Every message is a product of two rounded numbers with no fused multiply-add (compile with -ffp-contract=off): the
// backward pass finds the extremes of the forward pass again by equality.

#include <cmath>
#include <cstring>

template <class R> struct Lanes {
    typedef R type __attribute__((vector_size(64)));
    static const long count = 64 / sizeof(R);
};

struct Stack { long blocks, outs, ins, edge, source, target; };

struct Shape { long batch, nodes, edges, width, stacks; const Stack *stack; const long *sources, *targets; };

// A vector of n lanes; n is all of them but at the end of the width.
template <class R, bool whole> struct Tile {
    typedef typename Lanes<R>::type V;
    long n;
    long bytes() const { return (whole ? Lanes<R>::count : n) * (long)sizeof(R); }
    V get(const R *p) const { V v = {}; memcpy(&v, p, bytes()); return v; }
    void put(R *p, V v) const { memcpy(p, &v, bytes()); }
    void add(R *p, V v) const { put(p, get(p) + v); }
};

const long CHUNK = 2048;  // edges whose tiles follow one another, so that they stay in the second cache

// Calls work(row of edges, targets, sources) for tiles [first, last) of all rows of all blocks.
template <class R, template <class, bool> class Work, class Data>
static void sweep(const Shape &s, const Data &d, long first, long last) {
    const long lanes = Lanes<R>::count;
    for (long m = 0; m < s.batch; m++)
        for (long k = 0; k < s.stacks; k++) {
            const Stack &t = s.stack[k];
            const long rows = t.ins < CHUNK ? CHUNK / t.ins : 1;
            for (long b = 0; b < t.blocks; b++)
                for (long from = 0; from < t.outs; from += rows) {
                    const long to = from + rows < t.outs ? from + rows : t.outs;
                    for (long h = first; h < last; h += lanes)
                        for (long o = from; o < to; o++) {
                            const long edge = m * s.edges + t.edge + (b * t.outs + o) * t.ins;
                            const long *sources = s.sources + t.source + b * t.ins;
                            const long target = s.targets[t.target + b * t.outs + o];
                            if (last - h >= lanes)
                                Work<R, true>::row(s, d, m, h, lanes, edge, target, sources, t.ins);
                            else
                                Work<R, false>::row(s, d, m, h, last - h, edge, target, sources, t.ins);
                        }
                }
        }
}

// stats and ties: (batch, 2, nodes, 4 or 2, width), directions to sources and to targets.
template <class R> struct Forward { const R *a1, *a3, *a4, *e; R *out, *stats, *ties; };

template <class R, bool whole> struct ForwardRow {
    typedef typename Lanes<R>::type V;

    // The extreme and how many messages have it; `more` says which of two is more extreme.
    static void extreme(V &best, V &count, V t, bool counted, bool most) {
        const auto better = most ? t > best : t < best;
        if (counted) count = better ? V{} + 1 : count + (t == best ? V{} + 1 : V{});
        best = better ? t : best;
    }

    static void merge(Tile<R, whole> x, R *best, R *count, V t, V n, bool most) {
        const V old = x.get(best);
        const auto better = most ? t > old : t < old;
        x.put(best, better ? t : old);
        if (count) x.put(count, (better ? V{} : x.get(count)) + ((better | (t == old)) ? n : V{}));
    }

    static void row(const Shape &s, const Forward<R> &d, long m, long h, long n, long edge, long target,
                    const long *sources, long ins) {
        const Tile<R, whole> x{n};
        const long w = s.width, t = (m * s.nodes + target) * w + h;
        const V o1 = x.get(d.a1 + t), o3 = x.get(d.a3 + t), o4 = x.get(d.a4 + t);
        R *in = d.stats + m * 2 * s.nodes * 4 * w + h, *at = in + (s.nodes + target) * 4 * w;
        R *in_ties = d.ties ? d.ties + m * 2 * s.nodes * 2 * w + h : nullptr;
        R *at_ties = d.ties ? in_ties + (s.nodes + target) * 2 * w : nullptr;
        V sum = {}, square = {}, most = V{} - HUGE_VAL, least = V{} + HUGE_VAL, most_n = {}, least_n = {};
        for (long i = 0; i < ins; i++) {
            const long u = (m * s.nodes + sources[i]) * w + h, here = (edge + i) * w + h;
            const V e = x.get(d.e + here), up = o1 * e, down = x.get(d.a1 + u) * e;
            R *a = in + sources[i] * 4 * w, *c = d.ties ? in_ties + sources[i] * 2 * w : nullptr;
            x.add(a, up);
            x.add(a + w, up * up);
            merge(x, a + 2 * w, c, up, V{} + 1, true);
            merge(x, a + 3 * w, c ? c + w : c, up, V{} + 1, false);
            sum += down;
            square += down * down;
            extreme(most, most_n, down, d.ties, true);
            extreme(least, least_n, down, d.ties, false);
            if (d.out) x.put(d.out + here, e * (1 + (o3 * x.get(d.a4 + u) + o4 * x.get(d.a3 + u))));
        }
        x.add(at, sum);
        x.add(at + w, square);
        merge(x, at + 2 * w, at_ties, most, most_n, true);
        merge(x, at + 3 * w, at_ties ? at_ties + w : nullptr, least, least_n, false);
    }
};

// past3, past4 (layers, batch, nodes, width): gates that make the layer's edges out of those given.
// grads: those of stats, the extremes' divided by their ties. g: gradient of the updated edges, may be null.
template <class R> struct Backward {
    const R *a1, *a3, *a4, *e, *stats, *grads, *past3, *past4, *g;
    long past;
    R *ge, *g1, *g3, *g4;
};

template <class R, bool whole> struct BackwardRow {
    typedef typename Lanes<R>::type V;

    // The gradient of a message, from those of the four numbers it went into.
    static V message(V t, V sum, V square, V most, V g_most, V least, V g_least) {
        return sum + (t + t) * square + (t == most ? g_most : V{}) + (t == least ? g_least : V{});
    }

    static void row(const Shape &s, const Backward<R> &d, long m, long h, long n, long edge, long target,
                    const long *sources, long ins) {
        const Tile<R, whole> x{n};
        const long w = s.width, t = (m * s.nodes + target) * w + h, layer = s.batch * s.nodes * w;
        const V o1 = x.get(d.a1 + t), o3 = x.get(d.a3 + t), o4 = x.get(d.a4 + t);
        const long in = m * 2 * s.nodes * 4 * w + h, at = in + (s.nodes + target) * 4 * w;
        const R *c = d.stats + at, *f = d.grads + at;
        const V sum = x.get(f), square = x.get(f + w), g_most = x.get(f + 2 * w), g_least = x.get(f + 3 * w);
        const V most = x.get(c + 2 * w), least = x.get(c + 3 * w);
        V g1o = {}, g3o = {}, g4o = {};
        for (long i = 0; i < ins; i++) {
            const long u = (m * s.nodes + sources[i]) * w + h, here = (edge + i) * w + h;
            V e = x.get(d.e + here);
            for (long k = 0; k < d.past; k++) {
                const R *pp = d.past3 + k * layer, *pq = d.past4 + k * layer;
                e = e * (1 + (x.get(pp + t) * x.get(pq + u) + x.get(pq + t) * x.get(pp + u)));
            }
            const long a = in + sources[i] * 4 * w;
            const R *v = d.stats + a, *b = d.grads + a;
            const V i1 = x.get(d.a1 + u);
            const V up = message(o1 * e, x.get(b), x.get(b + w), x.get(v + 2 * w), x.get(b + 2 * w),
                                 x.get(v + 3 * w), x.get(b + 3 * w));
            const V down = message(i1 * e, sum, square, most, g_most, least, g_least);
            V ge = up * o1 + down * i1;
            g1o += up * e;
            x.add(d.g1 + u, down * e);
            if (d.g) {
                const V i3 = x.get(d.a3 + u), i4 = x.get(d.a4 + u), g = x.get(d.g + here), r = g * e;
                ge += g * (1 + (o3 * i4 + o4 * i3));
                g3o += r * i4;
                g4o += r * i3;
                x.add(d.g3 + u, r * o4);
                x.add(d.g4 + u, r * o3);
            }
            x.put(d.ge + here, ge);
        }
        x.add(d.g1 + t, g1o);
        x.add(d.g3 + t, g3o);
        x.add(d.g4 + t, g4o);
    }
};

#define EXPORT(R, NAME)                                                                                           \
    extern "C" void forward_##NAME(const Shape *s, const Forward<R> *d, long first, long last) {                  \
        sweep<R, ForwardRow>(*s, *d, first, last);                                                                \
    }                                                                                                             \
    extern "C" void backward_##NAME(const Shape *s, const Backward<R> *d, long first, long last) {                \
        sweep<R, BackwardRow>(*s, *d, first, last);                                                               \
    }

EXPORT(float, float32)
EXPORT(double, float64)
