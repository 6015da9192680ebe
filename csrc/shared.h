/* shared.h - memory that several plans may have in common: tables and packed weights. Nobody writes to it once it has a
 * second owner. */
#ifndef DW_SHARED_H
#define DW_SHARED_H

#include <stdint.h>

/* `bytes` >= 0 bytes, zeroed, aligned to DW_ALIGNMENT, with one owner; NULL if there is no memory. */
void *dw_shared_new(int64_t bytes);

/* One owner more, or one fewer; the memory goes with the last one. Any thread may call them. NULL is fine. */
void dw_shared_keep(void *memory);
void dw_shared_drop(void *memory);

/* Of `bytes` bytes at `memory`, what the other owners count for if each counts for the same; 0 for NULL. */
int64_t dw_shared_by_others(const void *memory, int64_t bytes);

/* If `*mine` and `other` hold the same bytes, replaces `*mine` by `other`, which gets one owner more. Returns whether
 * they are one now. */
int dw_shared_merge(void **mine, void *other);

#endif
