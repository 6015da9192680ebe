/* quantized_portable.h - the words of quantized_kernels.inc in plain C, and what they mean. */
#include <stdint.h>
#include <string.h>

#include "names.h"

enum { Q_BYTES = 16, Q_WEIGHT_BYTES = 4 * Q_BYTES }; /* channels of a vector; q_pack's result */

/* Unsigned bytes of as many channels. */
typedef struct q_bytes {
    uint8_t at[Q_BYTES];
} q_bytes;

/* An int16 for all of them. */
typedef int16_t q_words;

/* Four vectors of bytes, one below the other, in whatever order q_add_taps likes. */
typedef struct q_column {
    q_bytes row[4];
} q_column;

/* Their int32 sums; dw_quantized_lane tells the order. */
typedef struct q_sums {
    int32_t at[Q_BYTES];
} q_sums;

DW_INLINE q_bytes q_load(const uint8_t *p) {
    q_bytes x;
    memcpy(x.at, p, Q_BYTES);
    return x;
}
DW_INLINE void q_store(uint8_t *p, q_bytes x) { memcpy(p, x.at, Q_BYTES); }

/* The first n bytes, 0 < n <= Q_BYTES; nothing else is read, the others are zeros. */
DW_INLINE q_bytes q_load_n(const uint8_t *p, int n) {
    q_bytes x = {{0}};
    memcpy(x.at, p, (size_t)n);
    return x;
}
DW_INLINE void q_store_n(uint8_t *p, q_bytes x, int n) { memcpy(p, x.at, (size_t)n); }

DW_INLINE q_bytes q_set1(uint8_t value) {
    q_bytes x;
    memset(x.at, value, Q_BYTES);
    return x;
}

DW_INLINE q_words q_set1_word(int16_t value) { return value; }

DW_INLINE q_bytes q_xor(q_bytes a, q_bytes b) {
    for (int i = 0; i < Q_BYTES; i++) a.at[i] ^= b.at[i];
    return a;
}

DW_INLINE q_bytes q_max(q_bytes a, q_bytes b) {
    for (int i = 0; i < Q_BYTES; i++) a.at[i] = a.at[i] > b.at[i] ? a.at[i] : b.at[i];
    return a;
}

DW_INLINE q_bytes q_min(q_bytes a, q_bytes b) {
    for (int i = 0; i < Q_BYTES; i++) a.at[i] = a.at[i] < b.at[i] ? a.at[i] : b.at[i];
    return a;
}

DW_INLINE q_column q_interleave(const q_bytes *rows) { return (q_column){{rows[0], rows[1], rows[2], rows[3]}}; }

DW_INLINE q_sums q_load_sums(const int32_t *p) {
    q_sums sums;
    memcpy(sums.at, p, sizeof sums);
    return sums;
}

/* [4][Q_BYTES] weights as q_add_taps reads them. */
static void q_pack(const int8_t *weights, void *to) { memcpy(to, weights, Q_WEIGHT_BYTES); }

/* sums += the four products of each channel, modulo 2**32. */
DW_INLINE void q_add_taps(q_sums *sums, const q_column *column, const uint8_t *weights) {
    for (int r = 0; r < 4; r++)
        for (int i = 0; i < Q_BYTES; i++) {
            const int32_t product = column->row[r].at[i] * (int8_t)weights[r * Q_BYTES + i];
            sums->at[i] = (int32_t)((uint32_t)sums->at[i] + (uint32_t)product);
        }
}

/* float32(sum) * multiplier, rounded to the nearest integer, ties to even; plus the zero point, saturated to 0 ... 255.
 * `beyond`: that integer may be too large for int32. */
DW_INLINE q_bytes q_requantize(const q_sums *sums, const float *multipliers, q_words zero, int beyond) {
    (void)beyond;
    q_bytes y;
    for (int i = 0; i < Q_BYTES; i++) {
        const float LIMIT = 1024, MAGIC = 0x1.8p23f; /* a sum with it has no bits below the units */
        float value = (float)sums->at[i] * multipliers[i];
        value = value > LIMIT ? LIMIT : value < -LIMIT ? -LIMIT : value;
        volatile float shifted = value + MAGIC; /* no wider than float32, on any processor */
        const int rounded = (int)(shifted - MAGIC) + zero;
        y.at[i] = (uint8_t)(rounded < 0 ? 0 : rounded > 255 ? 255 : rounded);
    }
    return y;
}
