/* thread_pool.h - the threads of the library: started when first needed, asleep between calls. */
#ifndef DW_THREAD_POOL_H
#define DW_THREAD_POOL_H

#include <stdint.h>

#include "dwconv.h"

enum { DW_MOST_THREADS = 128, DW_MOST_PARTS_EACH = 4, DW_MOST_PARTS = DW_MOST_PARTS_EACH * DW_MOST_THREADS };

/* How many of `num_threads` threads some work is worth, at least 1: each gets `least` nanoseconds of it or more. */
int dw_pool_threads(int64_t nanoseconds, int64_t least, int num_threads);

/* Into how many parts to divide it: one for each thread. Long work gets more, so that the others help one that begins
 * late. */
int dw_pool_parts(int64_t nanoseconds, int threads);

/* How many threads a call can have, its caller included: DW_MOST_THREADS, or, after a thread could not be started, those
 * that there are. */
int dw_pool_most(void);

/* One of `parts` parts of some work, which may run at the same time as the others. */
typedef void dw_task_fn(const void *arguments, int part, int parts);

/* Runs all parts on the caller and up to threads - 1 workers that are idle now. If none is idle it calls task(arguments,
 * 0, 1). If parts == threads and fewer are idle, it makes one part for each thread that takes part. Cannot fail, and waits
 * for nothing but parts that are running. While it waits it calls stop(context) every 30 ms, unless that is NULL: only the
 * caller's thread may be told of what its parts are to end for. */
void dw_pool_run(dw_task_fn *task, const void *arguments, int parts, int threads, dw_stop_fn *stop, void *context);

#endif
