/* check.h - counts what holds and what does not, and says where. For programs of one file, in C and C++. */
#ifndef DW_CHECK_H
#define DW_CHECK_H

#include <stdio.h>

static long checks, failures;

#define CHECK(condition)                                                           \
    do {                                                                           \
        checks++;                                                                  \
        if (!(condition)) {                                                        \
            failures++;                                                            \
            fprintf(stderr, "FAILED %s:%d: %s\n", __FILE__, __LINE__, #condition); \
        }                                                                          \
    } while (0)

/* Says how it went; the exit status. */
static inline int report(void) {
    if (failures) {
        fprintf(stderr, "%ld of %ld checks failed\n", failures, checks);
        return 1;
    }
    printf("%ld checks passed\n", checks);
    return 0;
}

#endif
