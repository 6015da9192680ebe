/* measure.c - chooses the strategy of a plan by trying some.
 *
 * The best few by the estimates are run on scratch arrays. First each is looked at for a moment; those that are much
 * slower than the fastest are dropped. The others are run by turns, round after round, and compared within each round,
 * as bench/ does it, so that a machine that gets slower meanwhile is not taken for a strategy that is. In each round the
 * arrays lie elsewhere: where a caller's begin within a page is not known, and some strategies depend on it.
 *
 * The estimate's choice always takes part, and wins a tie. What must not be broken: measuring decides how long a run
 * takes and nothing else. */
#include "os_threads.h" /* first: it asks the system for its clock */

#include <stdlib.h>
#include <string.h>

#include "plan.h"
#include "shared.h"

enum { PAGE = 4096, LINE = 64, MOST_LOOKED_AT = 64, MOST_ROUNDS = 32, LEAST_ROUNDS = 4 };

static const double SAMPLE_NANOSECONDS = 20000; /* runs together: the clock takes some 25 ns */
static const double LOOKING = 0.4;              /* of the time, for the first look */
static const double BUSY = 10;                  /* times the time, on a machine that has other things to do */
static const double CLOSE = 1.15;               /* times the fastest, at a first look */
static const double TIE = 0.98;                 /* of the estimate's time: less is a gain */
static const double SURE = 0.75;                /* of the rounds must see it */
static const int64_t RUNS = 32; /* that fit into the time for a whole batch, or it is measured of less */

/* Where x may begin: NumPy's large arrays begin 16 bytes after the beginning of a page, others at any multiple of 16. */
static const int places[] = {16, 1024 + 48, 2048 + 32, 3072};
enum { PLACES = sizeof places / sizeof *places };

typedef struct candidate {
    dw_plan *plan;
    const dw_strategy *strategy;
    double best;                /* of all samples, nanoseconds of a run */
    double rounds[MOST_ROUNDS]; /* nanoseconds of a run */
} candidate;

typedef struct measurement {
    const dw_desc *desc;
    const dw_measuring *how;
    int64_t begin, cpu_begin; /* when, and what this thread had computed by then */
    int64_t batch;            /* of the runs */
    char *x, *y;              /* with room for any place */
    candidate at[MOST_LOOKED_AT];
    int count, looked_at;
    int rounds;
    int stopped;
} measurement;

/* ---- one sample ------------------------------------------------------------------------------------ */

/* Whether `share` of the time has passed: of this thread's, since on a busy machine most of the time may be another
 * program's; but no more than some times as much by the clock. */
static int time_is_over(measurement *m, double share) {
    if (m->how->stop && m->how->stop(m->how->context)) m->stopped = 1;
    const double own = (double)(os_cpu_nanoseconds() - m->cpu_begin), all = (double)(os_nanoseconds() - m->begin);
    return m->stopped || own >= share * m->how->nanoseconds || all >= share * m->how->nanoseconds * BUSY;
}

/* The first address from `memory` on that is `place` modulo PAGE. */
static char *placed(char *memory, int place) { return memory + ((uintptr_t)place - (uintptr_t)memory) % PAGE; }

/* Nanoseconds of a run: a few together, after one that is not counted. */
static double sample(measurement *m, candidate *c, int place) {
    const dw_measuring *how = m->how;
    char *const x = placed(m->x, place);
    const int y_place = dw_plan_place_batch(c->plan, m->batch, x);
    char *const y = placed(m->y, y_place < 0 ? 0 : y_place);
    int64_t runs = 1, begin = os_nanoseconds(), taken;
    m->stopped |= dw_plan_run_batch(c->plan, m->batch, x, y, how->num_threads, how->stop, how->context);
    taken = os_nanoseconds() - begin;
    if (taken < (int64_t)SAMPLE_NANOSECONDS) runs = (int64_t)SAMPLE_NANOSECONDS / (taken > 0 ? taken : 1) + 1;
    if (runs > 1000) runs = 1000;
    begin = os_nanoseconds();
    for (int64_t i = 0; i < runs && !m->stopped; i++)
        m->stopped |= dw_plan_run_batch(c->plan, m->batch, x, y, how->num_threads, how->stop, how->context);
    const double each = (double)(os_nanoseconds() - begin) / (double)runs;
    if (each < c->best) c->best = each;
    return each;
}

/* ---- a first look ---------------------------------------------------------------------------------- */

static void drop(measurement *m, int index) {
    dw_plan_destroy(m->at[index].plan);
    memmove(m->at + index, m->at + index + 1, (size_t)(m->count - index - 1) * sizeof *m->at);
    m->count--;
}

/* Makes candidates of the strategies, the best estimate first, and keeps those that are close to the fastest. What
 * cannot be made for lack of memory takes no part. */
static void look(measurement *m, const dw_strategies *list, dw_isa isa, const void *kernel, const void *bias) {
    double fastest = 0;
    if (list->count == 1) sample(m, m->at, places[0]);
    for (int i = 1; i < list->count && m->count < MOST_LOOKED_AT && !time_is_over(m, LOOKING); i++) {
        candidate *c = m->at + m->count;
        *c = (candidate){.strategy = list->at + i, .best = 1e300};
        if (dw_plan_make(m->desc, isa, c->strategy, kernel, bias, m->how->stop, m->how->context, &c->plan) != DW_OK)
            continue;
        m->count++;
        m->looked_at++;
        for (int again = 0; again < 2 && !m->stopped; again++) {
            if (i % 4 == 1) sample(m, m->at, places[again]); /* the estimate's choice, now and then */
            sample(m, c, places[again]);
        }
        fastest = c->best < m->at[0].best && (fastest == 0 || c->best < fastest) ? c->best : fastest;
    }
    if (fastest == 0) fastest = m->at[0].best;
    for (int i = m->count - 1; i > 0; i--)
        if (m->at[i].best > CLOSE * fastest) drop(m, i);
    while (m->count > DW_MOST_MEASURED) {
        int slowest = 1;
        for (int i = 2; i < m->count; i++)
            if (m->at[i].best > m->at[slowest].best) slowest = i;
        drop(m, slowest);
    }
}

/* ---- rounds ---------------------------------------------------------------------------------------- */

static int compare(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, int count) {
    qsort(values, (size_t)count, sizeof *values, compare);
    return count % 2 ? values[count / 2] : (values[count / 2 - 1] + values[count / 2]) / 2;
}

/* Time / time of the estimate's choice: the median over the rounds, of the ratios within them. */
static double ratio(const measurement *m, const candidate *c) {
    double ratios[MOST_ROUNDS];
    for (int i = 0; i < m->rounds; i++) ratios[i] = c->rounds[i] / m->at[0].rounds[i];
    return median(ratios, m->rounds);
}

static void take_rounds(measurement *m) {
    while (m->count > 1 && m->rounds < MOST_ROUNDS && !time_is_over(m, 1)) {
        const int place = m->how->x_place >= 0 ? m->how->x_place % PAGE : places[m->rounds % PLACES];
        for (int i = 0; i < m->count && !m->stopped; i++) {
            candidate *c = m->at + (i + m->rounds) % m->count;
            const double one = sample(m, c, place), other = sample(m, c, place);
            c->rounds[m->rounds] = one < other ? one : other;
        }
        m->rounds++;
        /* Half of them go, while there is time to tell the others apart. */
        if (m->rounds % PLACES != 0 || m->rounds == MOST_ROUNDS) continue;
        for (int least = m->count / 2 > 2 ? m->count / 2 : 2; m->count > least;) {
            int slowest = 1;
            for (int i = 2; i < m->count; i++)
                if (ratio(m, m->at + i) > ratio(m, m->at + slowest)) slowest = i;
            drop(m, slowest);
        }
    }
}

/* The index of the one to keep. */
static int choose(const measurement *m) {
    int best = 0;
    if (m->rounds < LEAST_ROUNDS) return 0;
    for (int i = 1; i < m->count; i++)
        if (ratio(m, m->at + i) < ratio(m, m->at + best)) best = i;
    int faster = 0;
    for (int i = 0; i < m->rounds; i++) faster += m->at[best].rounds[i] < m->at[0].rounds[i];
    return ratio(m, m->at + best) <= TIE && faster >= SURE * m->rounds ? best : 0;
}

/* ---- all of it ------------------------------------------------------------------------------------- */

/* What the plan keeps of it, the fastest first. Without memory it keeps nothing. */
static void keep(const measurement *m, dw_plan *plan) {
    dw_measured *to = dw_shared_new((int64_t)sizeof *to);
    if (!to) return;
    for (int i = 0; i < m->count; i++) {
        double times[MOST_ROUNDS];
        memcpy(times, m->at[i].rounds, sizeof times);
        const double each = (m->rounds > 0 ? median(times, m->rounds) : m->at[i].best) / (double)m->batch;
        int at = to->count++;
        for (; at > 0 && to->at[at - 1].nanoseconds_per_image > each; at--) to->at[at] = to->at[at - 1];
        to->at[at].strategy = *m->at[i].strategy;
        to->at[at].nanoseconds_per_image = each;
    }
    plan->measured = to;
}

/* The images that fit into the memory and, often enough, into the time; 0: not even one does. */
static int64_t batch_of(const dw_plan *plan, const dw_measuring *how) {
    const int64_t batch = plan->problem.desc.batch;
    if (batch < 1) return 0;
    dw_plan_info info;
    dw_plan_describe(plan, &info);
    const int64_t room = how->scratch_bytes - 4 * PAGE;
    const int64_t bytes = (info.x_bytes + info.y_bytes) / batch;
    const int64_t fit = room > 0 && info.x_bytes < INT64_MAX / 4 && info.y_bytes < INT64_MAX / 4 ? room / bytes : 0;
    const double each = (double)plan->nanoseconds / (double)batch * (double)RUNS;
    const int64_t timely = each * (double)batch <= how->nanoseconds ? batch : (int64_t)(how->nanoseconds / each);
    return dw_min(fit, dw_min(batch, timely > 1 ? timely : 1));
}

static dw_plan *measure(measurement *m, const dw_strategies *list, dw_isa isa, const void *kernel, const void *bias) {
    look(m, list, isa, kernel, bias);
    take_rounds(m);
    const int chosen = choose(m);
    const int alone = m->count == 1 && (m->looked_at > 0 || list->count == 1); /* the others are much slower */
    if ((m->rounds > 0 || alone) && !m->stopped) keep(m, m->at[chosen].plan);
    for (int i = 0; i < m->count; i++)
        if (i != chosen) dw_plan_destroy(m->at[i].plan);
    return m->at[chosen].plan;
}

dw_status dw_plan_create_measured(const dw_desc *desc, dw_isa isa, const void *kernel, const void *bias,
                                  const dw_measuring *how, dw_plan **out) {
    if (out) *out = NULL;
    if (!how) return DW_ERR_NULL;
    const int64_t begin = os_nanoseconds(), cpu_begin = os_cpu_nanoseconds();
    dw_plan *plan;
    const dw_status status = dw_plan_create_until(desc, isa, kernel, bias, how->stop, how->context, out ? &plan : NULL);
    if (status != DW_OK) return status;
    *out = plan;
    const int64_t batch = batch_of(plan, how);
    if (batch == 0 || how->nanoseconds <= 0) return DW_OK;
    dw_plan_info info;
    dw_plan_describe(plan, &info);
    const int64_t x_bytes = info.x_bytes / desc->batch * batch, y_bytes = info.y_bytes / desc->batch * batch;
    measurement *m = calloc(1, sizeof *m);
    dw_strategies *list = dw_plan_list_strategies(&plan->problem);
    char *const x = malloc((size_t)x_bytes + PAGE), *const y = malloc((size_t)y_bytes + PAGE);
    if (m && list && x && y) {
        memset(x, 0x3f, (size_t)x_bytes + PAGE); /* an ordinary number in each dtype; pages of its own */
        memset(y, 0, (size_t)y_bytes + PAGE);
        *m = (measurement){.desc = desc, .how = how, .batch = batch, .x = x, .y = y, .count = 1};
        m->begin = begin, m->cpu_begin = cpu_begin;
        m->at[0] = (candidate){.plan = plan, .strategy = list->at, .best = 1e300};
        *out = measure(m, list, isa, kernel, bias);
        if (m->stopped) {
            dw_plan_destroy(*out);
            *out = NULL;
        }
    }
    const int stopped = m && m->stopped;
    free(m);
    free(list);
    free(x);
    free(y);
    return stopped ? DW_ERR_STOPPED : DW_OK;
}
