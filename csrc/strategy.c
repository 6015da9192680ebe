/* strategy.c - lists of strategies: ranks them, writes their names. */
#include "strategy.h"

#include <stdlib.h>
#include <string.h>

void dw_strategies_add(dw_strategies *to, const dw_strategy *strategy) {
    if (to->count < DW_MAX_STRATEGIES) to->at[to->count++] = *strategy;
}

int dw_strategy_is(const dw_strategy *a, const dw_strategy *b) {
    return a->isa == b->isa && a->tile == b->tile && a->planar == b->planar &&
           memcmp(a->option, b->option, sizeof a->option) == 0;
}

/* Insertion sort: it is stable, so what costs the same stays in the order of the lists, and there are few. */
void dw_strategies_rank(dw_strategies *list, const dw_strategy *first) {
    for (int i = 1; i < list->count; i++) {
        const dw_strategy one = list->at[i];
        int j = i;
        for (; j > 0 && list->at[j - 1].cost > one.cost; j--) list->at[j] = list->at[j - 1];
        list->at[j] = one;
    }
    for (int i = 0; i < list->count; i++) {
        if (!dw_strategy_is(&list->at[i], first)) continue;
        const dw_strategy one = list->at[i];
        memmove(list->at + 1, list->at, (size_t)i * sizeof *list->at);
        list->at[0] = one;
        return;
    }
}

void dw_strategy_write_name(const char *kernel, const char *const *const *names, int axes, const signed char *option,
                            char *to, int size) {
    int used = 0;
    for (int axis = -1; axis < axes; axis++) {
        const char *text = axis < 0 ? kernel : names[axis][option[axis]];
        if (axis >= 0 && *text && used < size - 1) to[used++] = '+';
        while (*text && used < size - 1) to[used++] = *text++;
    }
    to[used] = 0;
}
