/* desc.h - sizes of a dw_desc without overflow. */
#ifndef DW_DESC_H
#define DW_DESC_H

#include "dwconv.h"

int64_t dw_item_size(dw_dtype dtype);

/* *bytes = item * the product of sizes, all >= 0; returns 0 if that is more than an object may have. */
int dw_bytes(int64_t item, const int64_t *sizes, int count, int64_t *bytes);

#endif
