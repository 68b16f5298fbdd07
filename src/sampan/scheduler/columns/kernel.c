/* The inner loops of the scheduler: one pod, or a run of equal pods, against all nodes.
 *
 * Nodes are columns: arrays with one number for each row. `place` answers with the row of the best node; in a run, the
 * next pod sees those before it as if they were bound. twin.py does the same in numpy, and says which plugin refuses a
 * node; tests/scheduler/columns compare both with the plugins.
 *
 * All memory is the caller's (see native.py, which has these structures again); nothing is kept between calls.
 * Domains are numbers of topology values: row -> domain by one column for each topology key, and 0 says that the
 * node has no such label. counts[0] is never counted in and stays 0.
 *
 * Exactness: amounts are int64. While they are below 2^46 (`wide` unset) quotients are taken in double: the numbers are
 * integers that a double holds exactly, and a correctly rounded quotient below 128 cannot reach the next integer when
 * the divisor is below 2^46. So it equals the integer division, and many fit in one instruction. Fractions are true
 * divisions, as upstream's; compile with -ffp-contract=off.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

#ifndef LANES
#define LANES 4 /* numbers in one register; compilers split them where registers are shorter */
#endif

enum { LEAST, MOST, RATIO };
enum { SPREAD, NEAR, APART };

typedef struct { /* what a pod asks of one resource */
    const int64_t *limit, *used;
    int64_t want, weight;
} Share;

typedef struct { /* column[row] grows by amount when the pod is placed */
    int64_t *column;
    int64_t amount;
} Add;

typedef struct { /* a topology key that rules or terms of the pod speak of */
    const int32_t *domain;
    int64_t size;     /* domains, the 0th included */
    uint8_t *refused; /* scratch: for each domain whether a rule forbids it */
    int64_t *sums;    /* scratch: for each domain the sum of the preferred terms */
} Axis;

typedef struct { /* a hard rule about a domain: SPREAD (skew), NEAR (needs pods there), APART (needs none) */
    const int64_t *counts;
    const uint8_t *present; /* SPREAD: the domains that count for the least */
    int32_t kind, axis;
    int64_t max_skew, own, min_domains;
} Rule;

typedef struct { /* a soft spread constraint; counts are by domain, or by row where by_row is set */
    const int64_t *counts;
    const int32_t *domain;
    double *points;  /* scratch: score for each domain or row */
    uint8_t *marked; /* scratch, by domain */
    int64_t size, max_skew, by_row;
} Soft;

typedef struct { /* a preferred term: weight for each pod counted in the node's domain */
    const int64_t *counts;
    int64_t axis, weight;
} Term;

typedef struct { /* a counter that the pod itself is counted in, once placed */
    const int32_t *seat; /* row -> domain, 0 where the row is not counted; NULL: the row itself */
    int64_t *counts;
    int64_t amount;
} Effect;

typedef struct {
    int64_t rows;
    /* filters that only the node and the pod's kind decide: 0 where they pass, -1 where one refuses */
    const int32_t *refused;
    int64_t *pods;
    const int64_t *max_pods;
    int64_t n_needs, n_fit, n_balance, n_adds, n_axes, n_rules, n_softs, n_terms, n_effects;
    const Share *needs, *fit, *balance;
    const Add *adds;
    const Axis *axes;
    const Rule *rules;
    const Soft *softs;
    const Term *terms;
    const Effect *effects;
    /* scores that only the node and the pod's kind decide; NULL where all are 0 */
    const int32_t *taints, *affinity, *fixed;
    int64_t fit_weight, balance_weight, taint_weight, affinity_weight, spread_weight, near_weight;
    int64_t strategy, wide, near_self, soft_all;
    int64_t *without;      /* balance of the node as it is; NULL: work it out (then balance is not cpu and memory) */
    const int64_t *shape;  /* RATIO: the score for each utilization from 0 to 100 */
    const double *logs;    /* logs[n] is the natural logarithm of n */
    const int32_t *odd;    /* rows without any cpu or memory, which the fast loop leaves to the slow one */
    int64_t n_odd;
    int64_t settled;   /* no counter that the pod is judged by changes when it is placed */
    int64_t exclusive; /* it takes a port: no second one on the same node */
    /* scratch, each of `rows` numbers; tree of the least power of two >= rows, twice */
    int32_t *base, *total, *tree;
    int64_t *raw;
} Query;

typedef int32_t Ints __attribute__((vector_size(LANES * 4)));
typedef int64_t Longs __attribute__((vector_size(LANES * 8)));
typedef double Doubles __attribute__((vector_size(LANES * 8)));

/* ---- One node, in plain arithmetic: the reference of the loops below, and what re-scores a changed node. ---- */

static int fits(const Query *q, int64_t row) {
    if (q->refused[row] || q->pods[row] + 1 > q->max_pods[row]) return 0;
    for (int64_t k = 0; k < q->n_needs; k++) {
        const Share *s = &q->needs[k];
        if (s->want > s->limit[row] - s->used[row]) return 0;
    }
    return 1;
}

static int64_t share_score(const Query *q, int64_t used, int64_t limit) {
    if (q->strategy == LEAST) return used > limit ? 0 : (limit - used) * 100 / limit;
    if (q->strategy == MOST) return (used > limit ? limit : used) * 100 / limit;
    return q->shape[used > limit ? 100 : used * 100 / limit];
}

static int64_t fit_score(const Query *q, int64_t row) {
    int64_t sum = 0, weights = 0;
    for (int64_t k = 0; k < q->n_fit; k++) {
        const Share *s = &q->fit[k];
        if (!s->limit[row]) continue;
        int64_t score = share_score(q, s->used[row] + s->want, s->limit[row]);
        if (q->strategy == RATIO && score <= 0) continue;
        sum += score * s->weight;
        weights += s->weight;
    }
    if (!weights) return 0;
    return q->strategy == RATIO ? (int64_t)round((double)sum / (double)weights) : sum / weights;
}

/* (1 - standard deviation of the fractions in use) * 100; `with` the pod, or as the node is. */
static int64_t balance(const Query *q, int64_t row, int with) {
    double sum = 0, first = 0, second = 0, squares = 0;
    int64_t n = 0;
    for (int64_t k = 0; k < q->n_balance; k++) {
        const Share *s = &q->balance[k];
        if (!s->limit[row]) continue;
        double f = (double)(s->used[row] + (with ? s->want : 0)) / (double)s->limit[row];
        if (f > 1) f = 1;
        sum += f;
        if (n == 0) first = f;
        if (n == 1) second = f;
        n++;
    }
    if (n < 2) return 100;
    if (n == 2) return (int64_t)((1 - fabs((first - second) / 2)) * 100);
    double mean = sum / (double)n;
    for (int64_t k = 0; k < q->n_balance; k++) {
        const Share *s = &q->balance[k];
        if (!s->limit[row]) continue;
        double f = (double)(s->used[row] + (with ? s->want : 0)) / (double)s->limit[row];
        if (f > 1) f = 1;
        squares += (f - mean) * (f - mean);
    }
    return (int64_t)((1 - sqrt(squares / (double)n)) * 100);
}

/* The part of the score that needs no other node; -1 where a filter that needs no other node refuses. */
static int32_t base_of(const Query *q, int64_t row) {
    if (!fits(q, row)) return -1;
    int64_t sum = q->fixed ? q->fixed[row] : 0;
    if (q->fit_weight) sum += q->fit_weight * fit_score(q, row);
    if (q->balance_weight) {
        int64_t before = q->without ? q->without[row] : balance(q, row, 0);
        sum += q->balance_weight * (50 + (50 + balance(q, row, 1) - before) / 2);
    }
    return (int32_t)sum;
}

/* ---- The same for all nodes at once, where fit and balance both look at cpu and memory. ---- */

static int is_common(const Query *q) {
    return !q->wide && q->without && q->strategy != RATIO && q->n_fit == 2 && q->n_balance == 2 &&
           q->fit[0].limit == q->balance[0].limit && q->fit[1].limit == q->balance[1].limit;
}

static inline Longs load(const int64_t *column) {
    Longs x;
    memcpy(&x, column, sizeof x);
    return x;
}

static inline Doubles choose(Longs mask, Doubles a, Doubles b) {
    return (Doubles)((mask & (Longs)a) | (~mask & (Longs)b));
}

static inline Doubles least_of(Doubles a, Doubles b) { return choose(a < b, a, b); }

/* As doubles, 0 <= x < 2^52: the conversion that AVX2 lacks. */
static inline Doubles narrow(Longs x) { return (Doubles)(x | 0x4330000000000000) - 0x1p52; }

/* Without the fraction; |x| < 2^31. */
static inline Doubles whole(Doubles x) { return __builtin_convertvector(__builtin_convertvector(x, Ints), Doubles); }

/* The numbers of a query that the loop over all nodes needs, out of the reach of its stores. */
typedef struct {
    Share cpu, memory, real_cpu, real_memory;
    int64_t need_cpu, need_memory;
    double from, sign, cpu_weight, memory_weight, weights, fit_weight, balance_weight;
    const int64_t *without;
} Common;

/* What must be free of a resource that balance looks at; nothing where it is not needed. */
static int64_t need_of(const Query *q, int64_t k) {
    for (int64_t n = 0; n < q->n_needs; n++)
        if (q->needs[n].used == q->balance[k].used) return q->needs[n].want;
    return INT64_MIN;
}

static Common common_of(const Query *q) {
    const int least = q->strategy == LEAST;
    const double cpu_weight = (double)q->fit[0].weight, memory_weight = (double)q->fit[1].weight;
    return (Common){
        q->fit[0], q->fit[1], q->balance[0], q->balance[1], need_of(q, 0), need_of(q, 1),
        least ? 1 : 0, least ? -1 : 1, cpu_weight, memory_weight,
        cpu_weight + memory_weight, (double)q->fit_weight, (double)q->balance_weight, q->without,
    };
}

/* The fit and balance scores of LANES nodes from row i on; those without cpu or memory get a meaningless one. `unfit`
 * gets those that lack cpu or memory. */
static inline Doubles scores_from(const Common *q, int64_t i, Longs *unfit) {
    const Longs cpu_limit = load(q->cpu.limit + i), memory_limit = load(q->memory.limit + i);
    const Doubles cpu = narrow(cpu_limit - (cpu_limit == 0)), memory = narrow(memory_limit - (memory_limit == 0));
    const Doubles cu = least_of(narrow(load(q->cpu.used + i)) + (double)q->cpu.want, cpu);
    const Doubles mu = least_of(narrow(load(q->memory.used + i)) + (double)q->memory.want, memory);
    const Doubles cs = whole((cpu * q->from + cu * q->sign) * 100 / cpu);
    const Doubles ms = whole((memory * q->from + mu * q->sign) * 100 / memory);
    const Doubles sum = cs * q->cpu_weight + ms * q->memory_weight;
    const Doubles fit = whole(q->weights == 2 ? sum / 2 : sum / q->weights), one = cpu * 0 + 1;
    const Longs cpu_taken = load(q->real_cpu.used + i), memory_taken = load(q->real_memory.used + i);
    *unfit |= (q->need_cpu > cpu_limit - cpu_taken) | (q->need_memory > memory_limit - memory_taken);
    const Doubles cf = least_of((narrow(cpu_taken) + (double)q->real_cpu.want) / cpu, one);
    const Doubles mf = least_of((narrow(memory_taken) + (double)q->real_memory.want) / memory, one);
    const Doubles half = (cf - mf) / 2, apart = choose(half < 0, -half, half);
    const Doubles change = whole((1 - apart) * 100) - narrow(load(q->without + i));
    return fit * q->fit_weight + (whole((change + 50) / 2) + 50) * q->balance_weight;
}

/* base of the first n rows, n being a multiple of LANES */
static void score_common(const Query *q, int64_t n) {
    const Common common = common_of(q);
    const int64_t *restrict pods = q->pods, *restrict max_pods = q->max_pods;
    const int32_t *restrict fixed = q->fixed, *restrict refusals = q->refused;
    int32_t *restrict base = q->base;
    for (int64_t i = 0; i < n; i += LANES) {
        Longs unfit = load(pods + i) >= load(max_pods + i);
        Ints score = __builtin_convertvector(scores_from(&common, i, &unfit), Ints), more;
        if (fixed) {
            memcpy(&more, fixed + i, sizeof more);
            score += more;
        }
        memcpy(&more, refusals + i, sizeof more);
        score |= more | __builtin_convertvector(unfit, Ints);
        memcpy(base + i, &score, sizeof score);
    }
}

/* base = -1 where another resource than cpu and memory is short */
static void refuse_short(const Query *q, int64_t n) {
    for (int64_t k = 0; k < q->n_needs; k++) {
        const Share need = q->needs[k];
        if (need.used == q->balance[0].used || need.used == q->balance[1].used) continue;
        for (int64_t i = 0; i < n; i++)
            if (need.want > need.limit[i] - need.used[i]) q->base[i] = -1;
    }
}

static void prepare(const Query *q) {
    const int64_t many = is_common(q) ? q->rows / LANES * LANES : 0;
    if (many) {
        score_common(q, many);
        refuse_short(q, many);
    }
    for (int64_t i = many; i < q->rows; i++) q->base[i] = base_of(q, i);
    if (many)
        for (int64_t k = 0; k < q->n_odd; k++) q->base[q->odd[k]] = base_of(q, q->odd[k]);
}

/* ---- Rules and terms that look at other pods, domain by domain. ---- */

/* Upstream lets the first pod of a group that wants to be near itself go anywhere. */
static int nobody_near(const Query *q) {
    for (int64_t k = 0; k < q->n_rules; k++) {
        const Rule *r = &q->rules[k];
        if (r->kind != NEAR) continue;
        for (int64_t d = 1; d < q->axes[r->axis].size; d++)
            if (r->counts[d] > 0) return 0;
    }
    return 1;
}

static int64_t fewest(const Rule *r, int64_t size) {
    int64_t least = INT32_MAX, domains = 0;
    for (int64_t d = 1; d < size; d++) {
        if (!r->present[d]) continue;
        domains++;
        if (r->counts[d] < least) least = r->counts[d];
    }
    return domains < r->min_domains ? 0 : least;
}

static void apply_rule(const Rule *r, const Axis *a, int anywhere) {
    const int64_t *restrict counts = r->counts;
    uint8_t *restrict refused = a->refused;
    const int64_t size = a->size;
    if (r->kind == APART) {
        for (int64_t d = 1; d < size; d++) refused[d] |= counts[d] > 0;
        return;
    }
    refused[0] = 1; /* the label is required */
    if (r->kind == NEAR) {
        if (!anywhere)
            for (int64_t d = 1; d < size; d++) refused[d] |= counts[d] <= 0;
        return;
    }
    const int64_t least = fewest(r, size), most = r->max_skew + least - r->own;
    for (int64_t d = 1; d < size; d++) refused[d] |= (r->present[d] ? counts[d] : 0) > most;
}

/* total = base where the rules allow the node, otherwise -1 */
static void refuse_by_rules(const Query *q) {
    memcpy(q->total, q->base, (size_t)q->rows * sizeof *q->total);
    if (!q->n_rules) return;
    const int anywhere = q->near_self && nobody_near(q);
    for (int64_t k = 0; k < q->n_axes; k++) memset(q->axes[k].refused, 0, (size_t)q->axes[k].size);
    for (int64_t k = 0; k < q->n_rules; k++) apply_rule(&q->rules[k], &q->axes[q->rules[k].axis], anywhere);
    for (int64_t k = 0; k < q->n_axes; k++) {
        const uint8_t *refused = q->axes[k].refused;
        const int32_t *domain = q->axes[k].domain;
        for (int64_t i = 0; i < q->rows; i++)
            if (refused[domain[i]]) q->total[i] = -1;
    }
}

/* ---- Scores that are normalised over the feasible nodes. ---- */

/* weight * 100 * raw / greatest raw, or 100 less that; nothing changes the order where all raws are 0 */
static void add_scaled(const Query *q, const int32_t *raw, int64_t weight, int reverse) {
    int64_t most = 0;
    for (int64_t i = 0; i < q->rows; i++)
        if (q->total[i] >= 0 && raw[i] > most) most = raw[i];
    if (!most && !reverse) return;
    for (int64_t i = 0; i < q->rows; i++) {
        if (q->total[i] < 0) continue;
        int64_t score = most ? 100 * (int64_t)raw[i] / most : 0;
        q->total[i] += (int32_t)(weight * (reverse ? 100 - score : score));
    }
}

/* Whether a node counts for soft spread: unless `soft_all`, one that lacks a label is scored by the others. */
static int is_ignored(const Query *q, int64_t row) {
    if (!q->soft_all) return 0;
    for (int64_t k = 0; k < q->n_softs; k++)
        if (!q->softs[k].domain[row]) return 1;
    return 0;
}

/* points = count * log(domains + 2) + maxSkew - 1, where domains are those of the feasible nodes */
static void soft_points(const Query *q, const Soft *s, int64_t feasible) {
    int64_t size = feasible;
    if (!s->by_row) {
        memset(s->marked, 0, (size_t)s->size);
        for (int64_t i = 0; i < q->rows; i++)
            if (q->raw[i] >= 0) s->marked[s->domain[i]] = 1;
        size = 0;
        for (int64_t d = 0; d < s->size; d++) size += s->marked[d];
    }
    const double weight = q->logs[size + 2], more = (double)(s->max_skew - 1);
    const int64_t n = s->by_row ? q->rows : s->size;
    for (int64_t d = 0; d < n; d++) s->points[d] = (double)s->counts[d] * weight + more;
    if (!s->by_row) s->points[0] = 0;
}

static void add_soft_spread(const Query *q) {
    int64_t feasible = 0, least = INT64_MAX, most = 0;
    for (int64_t i = 0; i < q->rows; i++) {
        q->raw[i] = q->total[i] < 0 || is_ignored(q, i) ? -1 : 0;
        feasible += q->raw[i] == 0;
    }
    for (int64_t k = 0; k < q->n_softs; k++) soft_points(q, &q->softs[k], feasible);
    for (int64_t i = 0; i < q->rows; i++) {
        if (q->raw[i] < 0) continue;
        double score = 0;
        for (int64_t k = 0; k < q->n_softs; k++) {
            const Soft *s = &q->softs[k];
            if (s->by_row) score += s->domain[i] ? s->points[i] : 0;
            else score += s->points[s->domain[i]];
        }
        double whole = (double)(int64_t)score;
        q->raw[i] = (int64_t)whole + (score - whole >= 0.5);
        if (q->raw[i] < least) least = q->raw[i];
        if (q->raw[i] > most) most = q->raw[i];
    }
    for (int64_t i = 0; i < q->rows; i++) {
        if (q->raw[i] < 0) continue;
        int64_t score = most ? 100 * (most + least - q->raw[i]) / most : 100;
        q->total[i] += (int32_t)(q->spread_weight * score);
    }
}

static void add_terms(const Query *q) {
    int64_t least = INT64_MAX, most = INT64_MIN;
    for (int64_t k = 0; k < q->n_axes; k++) memset(q->axes[k].sums, 0, (size_t)q->axes[k].size * sizeof(int64_t));
    for (int64_t k = 0; k < q->n_terms; k++) {
        const Term *t = &q->terms[k];
        int64_t *sums = q->axes[t->axis].sums;
        for (int64_t d = 1; d < q->axes[t->axis].size; d++) sums[d] += t->weight * t->counts[d];
    }
    memset(q->raw, 0, (size_t)q->rows * sizeof *q->raw);
    for (int64_t k = 0; k < q->n_axes; k++) {
        const int64_t *sums = q->axes[k].sums;
        const int32_t *domain = q->axes[k].domain;
        for (int64_t i = 0; i < q->rows; i++) q->raw[i] += sums[domain[i]];
    }
    for (int64_t i = 0; i < q->rows; i++) {
        if (q->total[i] < 0) continue;
        if (q->raw[i] < least) least = q->raw[i];
        if (q->raw[i] > most) most = q->raw[i];
    }
    if (most <= least) return;
    const double span = (double)(most - least);
    for (int64_t i = 0; i < q->rows; i++) {
        if (q->total[i] < 0) continue;
        int64_t score = (int64_t)(100.0 * ((double)(q->raw[i] - least) / span));
        q->total[i] += (int32_t)(q->near_weight * score);
    }
}

static int is_relative(const Query *q) { return q->taints || q->affinity || q->n_softs || q->n_terms; }

static void score_all(const Query *q) {
    refuse_by_rules(q);
    if (q->taints) add_scaled(q, q->taints, q->taint_weight, 1);
    if (q->affinity) add_scaled(q, q->affinity, q->affinity_weight, 0);
    if (q->n_softs) add_soft_spread(q);
    if (q->n_terms) add_terms(q);
}

/* ---- Choosing. ---- */

static int64_t best_row(const Query *q, const int32_t *restrict score) {
    int32_t most = -1;
    for (int64_t i = 0; i < q->rows; i++) most = score[i] > most ? score[i] : most;
    if (most < 0) return -1;
    int64_t row = 0;
    while (score[row] != most) row++;
    return row;
}

/* Write the pod into the columns, or with sign -1 take it out again. */
static void take(const Query *q, int64_t row, int64_t sign) {
    q->pods[row] += sign;
    for (int64_t k = 0; k < q->n_adds; k++) q->adds[k].column[row] += sign * q->adds[k].amount;
    for (int64_t k = 0; k < q->n_effects; k++) {
        const Effect *e = &q->effects[k];
        if (!e->seat) e->counts[row] += sign * e->amount;
        else if (e->seat[row]) e->counts[e->seat[row]] += sign * e->amount;
    }
    if (q->without) q->without[row] = balance(q, row, 0);
}

/* A tournament among the totals: tree[1] is the winning row, of equals the first. */
static void play(const Query *q, int64_t at) {
    const int32_t a = q->tree[2 * at], b = q->tree[2 * at + 1];
    if (b < 0 || b >= q->rows) q->tree[at] = a;
    else q->tree[at] = q->total[b] > q->total[a] ? b : a;
}

static int64_t leaves(const Query *q) {
    int64_t n = 1;
    while (n < q->rows) n *= 2;
    return n;
}

static void build_tree(const Query *q) {
    const int64_t n = leaves(q);
    for (int64_t i = 0; i < n; i++) q->tree[n + i] = i < q->rows ? (int32_t)i : -1;
    for (int64_t at = n - 1; at >= 1; at--) play(q, at);
}

static void replay(const Query *q, int64_t row) {
    for (int64_t at = (leaves(q) + row) / 2; at >= 1; at /= 2) play(q, at);
}

/* A run where a placed pod changes nothing but its node's own columns: only that node is scored again. Where scores
 * are relative to all feasible nodes, and one ceases to be feasible, all are. */
static int64_t place_settled(const Query *q, int64_t count, int32_t *out) {
    int64_t done = 0;
    while (done < count) {
        score_all(q);
        build_tree(q);
        for (;;) {
            const int64_t row = q->tree[1];
            if (q->total[row] < 0) return done;
            out[done++] = (int32_t)row;
            take(q, row, 1);
            if (done == count) return done;
            const int32_t before = q->base[row];
            q->base[row] = q->exclusive ? -1 : base_of(q, row);
            if (q->base[row] < 0 && is_relative(q)) break;
            q->total[row] = q->base[row] < 0 ? -1 : q->total[row] + q->base[row] - before;
            replay(q, row);
        }
    }
    return done;
}

/* A run where each placed pod may change how all nodes are judged. */
static int64_t place_each(const Query *q, int64_t count, int32_t *out) {
    const int alone = !q->n_rules && !is_relative(q);
    for (int64_t done = 0; done < count; done++) {
        if (!alone) score_all(q);
        const int64_t row = best_row(q, alone ? q->base : q->total);
        if (row < 0) return done;
        out[done] = (int32_t)row;
        take(q, row, 1);
        if (done + 1 < count) q->base[row] = q->exclusive ? -1 : base_of(q, row);
    }
    return count;
}

/* Place up to `count` equal pods one after the other; `out` gets their rows. Answers how many found one. In the end the
 * columns are as they were. */
int64_t place(const Query *q, int64_t count, int32_t *out) {
    if (q->rows <= 0) return 0;
    prepare(q);
    const int64_t done = q->settled && count > 2 ? place_settled(q, count, out) : place_each(q, count, out);
    for (int64_t k = 0; k < done; k++) take(q, out[k], -1);
    return done;
}
