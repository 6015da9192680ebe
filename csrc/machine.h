/* machine.h - what this CPU tells of itself besides its instructions: who made it, its caches, the width of its data
 * paths. Estimates are made from it, results never. */
#ifndef DW_MACHINE_H
#define DW_MACHINE_H

#include "dwconv.h"

/* What dw_cpu_describe tells, with a usual size in place of each that it does not. */
dw_cpu_info dw_machine(void);

/* For tests: one entry of cpuid leaf 4 (Intel) or 8000001D (AMD), registers EAX, EBX, ECX, taken over into *info.
 * Returns 0 for the entry that ends the list. */
int dw_machine_take_cache(dw_cpu_info *info, const unsigned r[4]);

/* For tests: the design that the rest of *info and the DW_CPU_* of such a CPU tell: the nearest of those that estimates
 * know; "": none. */
const char *dw_machine_design(const dw_cpu_info *info, unsigned flags);

#endif
