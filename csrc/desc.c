/* desc.c - checks a dw_desc. After that no size or offset that the library computes can overflow. */
#include "desc.h"

#include "build.h"

#include <math.h>
#include <stddef.h>

/* *total = a + b * c for a, b, c >= 0; returns 0 if that does not fit. */
static int add_product(int64_t a, int64_t b, int64_t c, int64_t *total) {
    if (c > 0 && b > (INT64_MAX - a) / c) return 0;
    *total = a + b * c;
    return 1;
}

int64_t dw_weight_size(dw_dtype dtype) { return dtype == DW_F64 ? 8 : 4; }

int64_t dw_element_size(dw_dtype dtype) { return dw_is_half(dtype) ? 2 : dw_weight_size(dtype); }

int dw_bytes(int64_t element_size, const int64_t *sizes, int count, int64_t *bytes) {
    *bytes = element_size;
    for (int i = 0; i < count; i++)
        if (!add_product(0, *bytes, sizes[i], bytes)) return 0;
    return *bytes <= PTRDIFF_MAX;
}

/* One dimension: out = floor((before + in + after - dilated) / stride) + 1, dilated = (kernel - 1) * dilation + 1. */
static dw_status output_length(int64_t in, int64_t before, int64_t after, int64_t kernel, int64_t dilation,
                               int64_t stride, int64_t *out) {
    int64_t padded, dilated; /* input with its padding, kernel with its gaps */
    if (!add_product(before, in, 1, &padded) || !add_product(padded, after, 1, &padded)) return DW_ERR_OVERFLOW;
    if (!add_product(1, kernel - 1, dilation, &dilated)) return DW_ERR_OUTPUT;
    if (dilated > padded) return DW_ERR_OUTPUT;
    *out = (padded - dilated) / stride + 1;
    return DW_OK;
}

dw_status dw_check_activation(dw_dtype dtype, dw_activation activation, double alpha) {
    static const char built[DW_DTYPE_COUNT] = {DW_HAS_F32, DW_HAS_F64, DW_HAS_I32, DW_HAS_HALF, DW_HAS_HALF};
    if (dtype < DW_F32 || dtype >= DW_DTYPE_COUNT) return DW_ERR_DTYPE;
    if (!built[dtype]) return DW_ERR_BUILD;
    if (activation < DW_LINEAR || activation >= DW_ACTIVATION_COUNT) return DW_ERR_ACTIVATION;
    if ((dtype == DW_I32 || dw_is_half(dtype)) && activation > DW_RELU6) return DW_ERR_ACTIVATION;
    const int has_alpha = activation == DW_LEAKY_RELU || activation == DW_ELU;
    return has_alpha && !isfinite(alpha) ? DW_ERR_ACTIVATION : DW_OK;
}

int dw_denormals_known(dw_denormals denormals) {
    return denormals == DW_DENORMALS_FLUSH || denormals == DW_DENORMALS_IEEE;
}

/* One dimension of 'same': what lacks for ceil(in / stride) outputs, the larger half after the input. */
static dw_status same_padding(int64_t in, int64_t kernel, int64_t dilation, int64_t stride, int64_t *before,
                              int64_t *after) {
    int64_t dilated, last; /* the kernel with its gaps; where the last output begins */
    if (!add_product(1, kernel - 1, dilation, &dilated)) return DW_ERR_OVERFLOW;
    last = (in - 1) / stride * stride;
    const int64_t rest = in - last; /* pixels from there on */
    const int64_t total = dilated > rest ? dilated - rest : 0;
    *before = total / 2;
    *after = total - total / 2;
    return DW_OK;
}

dw_status dw_pad_same(dw_desc *d) {
    if (!d) return DW_ERR_NULL;
    if (d->height < 1 || d->width < 1) return DW_ERR_SHAPE;
    if (d->kernel_h < 1 || d->kernel_w < 1) return DW_ERR_KERNEL;
    if (d->stride_h < 1 || d->stride_w < 1) return DW_ERR_STRIDE;
    if (d->dilation_h < 1 || d->dilation_w < 1) return DW_ERR_DILATION;
    int64_t top, bottom, left, right;
    dw_status status = same_padding(d->height, d->kernel_h, d->dilation_h, d->stride_h, &top, &bottom);
    if (status == DW_OK) status = same_padding(d->width, d->kernel_w, d->dilation_w, d->stride_w, &left, &right);
    if (status != DW_OK) return status;
    d->pad_top = top, d->pad_bottom = bottom, d->pad_left = left, d->pad_right = right;
    return DW_OK;
}

dw_status dw_output_size(const dw_desc *d, int64_t *oh, int64_t *ow) {
    if (!d || !oh || !ow) return DW_ERR_NULL;
    const dw_status activation = dw_check_activation(d->dtype, d->activation, d->activation_alpha);
    if (activation != DW_OK) return activation;
    if (d->layout != DW_NHWC && d->layout != DW_NCHW) return DW_ERR_LAYOUT;
    if (d->layout == DW_NCHW && dw_is_half(d->dtype)) return DW_ERR_LAYOUT;
    if (d->layout == DW_NCHW && !DW_HAS_NCHW) return DW_ERR_BUILD;
    if (!dw_denormals_known(d->denormals)) return DW_ERR_DENORMALS;
    if (d->batch < 0 || d->height < 1 || d->width < 1 || d->channels < 1 || d->multiplier < 1) return DW_ERR_SHAPE;
    if (d->kernel_h < 1 || d->kernel_w < 1) return DW_ERR_KERNEL;
    if (d->stride_h < 1 || d->stride_w < 1) return DW_ERR_STRIDE;
    if (d->dilation_h < 1 || d->dilation_w < 1) return DW_ERR_DILATION;
    if (d->pad_top < 0 || d->pad_bottom < 0 || d->pad_left < 0 || d->pad_right < 0) return DW_ERR_PADDING;

    dw_status status = output_length(d->height, d->pad_top, d->pad_bottom, d->kernel_h, d->dilation_h, d->stride_h, oh);
    if (status != DW_OK) return status;
    status = output_length(d->width, d->pad_left, d->pad_right, d->kernel_w, d->dilation_w, d->stride_w, ow);
    if (status != DW_OK) return status;

    /* The arrays must fit. An empty batch counts as one image, because the plan computes offsets in one. */
    const int64_t n = d->batch > 0 ? d->batch : 1, element_size = dw_element_size(d->dtype);
    const int64_t x[] = {n, d->height, d->width, d->channels};
    const int64_t y[] = {n, *oh, *ow, d->channels, d->multiplier};
    const int64_t kernel[] = {d->kernel_h, d->kernel_w, d->channels, d->multiplier};
    int64_t bytes;
    if (!dw_bytes(element_size, x, 4, &bytes) || !dw_bytes(element_size, y, 5, &bytes) ||
        !dw_bytes(dw_weight_size(d->dtype), kernel, 4, &bytes))
        return DW_ERR_OVERFLOW;
    return DW_OK;
}

const char *dw_status_text(dw_status status) {
    switch (status) {
    case DW_OK: return "ok";
    case DW_ERR_NULL: return "a required pointer is NULL";
    case DW_ERR_DTYPE: return "the dtype is not float32, float64, int32, float16 or bfloat16";
    case DW_ERR_ACTIVATION: return "the activation is not one that is fused for this dtype, or its alpha is not finite";
    case DW_ERR_LAYOUT: return "the layout is neither NHWC nor NCHW, or none for this dtype";
    case DW_ERR_DENORMALS: return "denormals are neither to be flushed nor IEEE's";
    case DW_ERR_STRATEGY: return "the problem has no strategy of that index";
    case DW_ERR_ISA: return "the instruction set is not available on this CPU or in this build";
    case DW_ERR_SHAPE: return "height, width, channels and multiplier must be at least 1, batch at least 0";
    case DW_ERR_KERNEL: return "the kernel size must be at least 1";
    case DW_ERR_STRIDE: return "strides must be at least 1";
    case DW_ERR_DILATION: return "dilations must be at least 1";
    case DW_ERR_PADDING: return "paddings must not be negative";
    case DW_ERR_OUTPUT: return "the output would be empty: the dilated kernel is larger than the padded input";
    case DW_ERR_OVERFLOW: return "a size does not fit the address space";
    case DW_ERR_NOMEM: return "out of memory";
    case DW_ERR_STOPPED: return "ended early";
    case DW_ERR_QUANTIZATION:
        return "a zero point or a bound is outside of its type, or a multiplier is negative or not finite";
    case DW_ERR_BUILD: return "the dtype, the layout, gradients or quantized convolutions are left out of this build";
    }
    return "unknown status";
}
