/* dwconv.h - depthwise convolution on a CPU: the public C API (C11 and C++).
 *
 * A `dw_desc` describes a problem: sizes, strides, padding. `dw_plan_create` checks it once, packs the
 * weights and returns an opaque, immutable `dw_plan`; `dw_plan_run` cannot fail and may be called on one
 * plan from any number of threads at once.
 *
 * Shape letters, used at every array argument:
 *   N batch, H height, W width, C input channels, M depth multiplier, kh/kw kernel height/width,
 *   OH/OW output height/width, OC = C*M output channels (channel c, multiplier m -> c*M + m).
 *
 * Arrays: x (N, H, W, C), kernel (kh, kw, C, M), bias (OC), y (N, OH, OW, OC), or x (N, C, H, W) and
 * y (N, OC, OH, OW) in the other layout; row-major, no gaps, any alignment that suits the element type. No byte
 * outside of them is read or written.
 *
 * Results: each output element starts from its bias and adds its valid taps row by row, left to right,
 * one fused multiply-add each; taps in the padding are skipped, not multiplied by zero. That order is the
 * same in every kernel, so the result is the same to the bit on every instruction set (NaN payloads aside; denormal
 * numbers: see dw_denormals).
 */
#ifndef DWCONV_H
#define DWCONV_H

#include <stdint.h>

/* The version of this header; dw_version() is that of the library. */
#define DW_VERSION_MAJOR 0
#define DW_VERSION_MINOR 1
#define DW_VERSION_PATCH 0
#define DW_VERSION "0.1.0"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum dw_status {
    DW_OK = 0,
    DW_ERR_NULL,        /* a required pointer is NULL */
    DW_ERR_DTYPE,       /* dtype is none of dw_dtype */
    DW_ERR_ACTIVATION,  /* activation is none of dw_activation, or none for this dtype, or alpha is not finite */
    DW_ERR_ISA,         /* not an instruction set of this build and this CPU */
    DW_ERR_SHAPE,       /* batch or count < 0, or height, width, channels or multiplier < 1 */
    DW_ERR_KERNEL,      /* kernel_h or kernel_w < 1 */
    DW_ERR_STRIDE,      /* a stride < 1 */
    DW_ERR_DILATION,    /* a dilation < 1 */
    DW_ERR_PADDING,     /* a padding < 0 */
    DW_ERR_OUTPUT,      /* the kernel, dilated, is larger than the padded input */
    DW_ERR_OVERFLOW,    /* a size does not fit the address space */
    DW_ERR_NOMEM,       /* the plan could not be allocated */
    DW_ERR_LAYOUT,      /* layout is none of dw_layout */
    DW_ERR_DENORMALS,   /* denormals is none of dw_denormals */
    DW_ERR_STRATEGY,    /* strategy is no index of dw_strategies_of */
    DW_ERR_STOPPED,     /* stop() has ended the creation */
    DW_ERR_BUILD,       /* the dtype, the layout, gradients or quantized convolutions are left out, see build.h */
    DW_ERR_QUANTIZATION /* a zero point or a bound outside of its type, or a multiplier < 0 or not finite */
} dw_status;

typedef enum dw_dtype {
    DW_F32 = 0,
    DW_F64 = 1,
    DW_I32 = 2, /* exact: sums and products modulo 2**32, as NumPy has them */
    /* x and y of 16 bits; kernel and bias are float32, and so are sums. They are rounded once, after the activation, to
     * nearest, ties to even: the bits of a DW_F32 plan between casts. DW_NHWC alone, with linear, relu and relu6; no
     * gradients. DW_BF16 stores NaN as 0xffff. */
    DW_F16 = 3,
    DW_BF16 = 4,
    DW_DTYPE_COUNT = 5
} dw_dtype;

/* The last step of each element. Float results are within 2 ulp of the formula, over all numbers (float32: measured
 * for each of them), and the same to the bit on every instruction set. NaN stays NaN, infinities and -0 become what
 * the formula's limit is. DW_I32 has linear, relu and relu6. */
typedef enum dw_activation {
    DW_LINEAR = 0,
    DW_RELU = 1,         /* y < 0 ? 0 : y */
    DW_RELU6 = 2,        /* relu, then y > 6 ? 6 : y */
    DW_LEAKY_RELU = 3,   /* y > 0 ? y : alpha * y; alpha: Keras' negative_slope */
    DW_HARD_SIGMOID = 4, /* relu6(y + 3) / 6: Keras 3's, not that of Keras 2 */
    DW_HARD_SILU = 5,    /* y * relu6(y + 3) / 6, also called hard_swish */
    DW_SIGMOID = 6,      /* 1 / (1 + e**-y) */
    DW_TANH = 7,
    DW_SILU = 8,       /* y / (1 + e**-y), also called swish */
    DW_GELU = 9,       /* y * Phi(y), Phi the normal distribution: Keras' gelu(approximate=False) */
    DW_GELU_TANH = 10, /* y / 2 * (1 + tanh(sqrt(2 / pi) * (y + 0.044715 * y**3))): gelu(approximate=True) */
    DW_ELU = 11,       /* y > 0 ? y : alpha * (e**y - 1) */
    DW_ACTIVATION_COUNT = 12
} dw_activation;

/* Of x and y; the kernel is (kh, kw, C, M) with both. */
typedef enum dw_layout {
    DW_NHWC = 0, /* channels_last: x (N, H, W, C), y (N, OH, OW, OC) */
    DW_NCHW = 1  /* channels_first: x (N, C, H, W), y (N, OC, OH, OW) */
} dw_layout;

/* What becomes of denormal numbers, those nearer to 0 than 2**-126 (DW_F64: 2**-1022). Flushed to zeros of the same
 * sign, as inputs and as results, they cost nothing; otherwise a CPU may take a hundred times as long for them. Runs
 * set this, and rounding to nearest, and restore the floating-point control and status of their caller. With DW_DENORMALS_FLUSH x86-64 and AArch64 may differ in results of just that size: x86-64 flushes what
 * is denormal after rounding, AArch64 before. A CPU that is neither, and one of x86-64 without multiply-add
 * instructions, computes as with DW_DENORMALS_IEEE. */
typedef enum dw_denormals { DW_DENORMALS_FLUSH = 0, DW_DENORMALS_IEEE = 1 } dw_denormals;

/* The numbers are names, not an order. */
typedef enum dw_isa {
    DW_ISA_AUTO = -1, /* the best that this CPU and OS offer */
    DW_ISA_PORTABLE = 0,
    DW_ISA_NEON = 1,
    DW_ISA_AVX2 = 2,
    DW_ISA_AVX512 = 3,
    DW_ISA_COUNT = 4
} dw_isa;

typedef struct dw_desc {
    int64_t batch, height, width, channels; /* N, H, W, C of x */
    int64_t multiplier;                     /* M */
    int64_t kernel_h, kernel_w;             /* kh, kw */
    int64_t stride_h, stride_w;
    int64_t dilation_h, dilation_w;
    int64_t pad_top, pad_bottom, pad_left, pad_right;
    dw_dtype dtype;
    dw_activation activation;
    double activation_alpha; /* alpha of leaky_relu and elu, rounded to dtype; others ignore it */
    dw_layout layout;
    dw_denormals denormals;
} dw_desc;

typedef struct dw_plan dw_plan;

/* Output size of `desc` in *oh and *ow; every other field is checked too, nothing is allocated. */
dw_status dw_output_size(const dw_desc *desc, int64_t *oh, int64_t *ow);

/* Sets pad_top, pad_bottom, pad_left and pad_right to the padding 'same' of Keras and TensorFlow, for the other fields:
 * OH = ceil(H / stride_h), OW = ceil(W / stride_w), an odd pixel at the bottom and at the right. On failure *desc is as
 * before. */
dw_status dw_pad_same(dw_desc *desc);

/* kernel (kh, kw, C, M) and bias (OC) of desc->dtype are copied; bias may be NULL for none. On failure
 * *plan is NULL. */
dw_status dw_plan_create(const dw_desc *desc, dw_isa isa, const void *kernel, const void *bias, dw_plan **plan);
void dw_plan_destroy(dw_plan *plan); /* NULL is fine */

/* Whether something that takes long is to end early: nonzero, and from then on always. */
typedef int dw_stop_fn(void *context);

/* dw_plan_create for large kernels: after every megabyte of weights `stop(context)` is asked, on this thread. If it is
 * nonzero no plan is made, and the result is DW_ERR_STOPPED. stop NULL: nobody asks. */
dw_status dw_plan_create_until(const dw_desc *desc, dw_isa isa, const void *kernel, const void *bias, dw_stop_fn *stop,
                               void *context, dw_plan **plan);

/* Strategies: the ways that there are to compute a problem, which kernel with which options. They differ in time; the
 * result is the same to the bit with each of them. */
enum { DW_STRATEGY_NAME = 96 };
typedef struct dw_strategy_info {
    char name[DW_STRATEGY_NAME]; /* "k3x3s1_t0x7_avx512+aligned": the kernel, and what else was decided. Its own among
                                    those of a problem */
    double nanoseconds;          /* of a run by one thread, as the planner estimates it; it ranks them */
    double measured;             /* of a run by the threads of dw_measuring, as measured; 0: it was not */
} dw_strategy_info;

/* Stores the first `capacity` strategies of a problem at `to`, which may be NULL if that is 0, and in *count how many
 * there are. The first is the one that dw_plan_create takes, the others are in the order of their estimates. */
dw_status dw_strategies_of(const dw_desc *desc, dw_isa isa, dw_strategy_info *to, int capacity, int *count);

/* dw_plan_create with strategy `index` of these. */
dw_status dw_plan_create_strategy(const dw_desc *desc, dw_isa isa, int index, const void *kernel, const void *bias,
                                  dw_plan **plan);

/* dw_plan_create_until with the strategy of this name; DW_ERR_STRATEGY if the problem has none of that name. */
dw_status dw_plan_create_named(const dw_desc *desc, dw_isa isa, const char *name, const void *kernel, const void *bias,
                               dw_stop_fn *stop, void *context, dw_plan **plan);

/* How to measure strategies. */
typedef struct dw_measuring {
    double nanoseconds;    /* of CPU time that it may take, no run begins later; at most ten times that by the clock */
    int num_threads;       /* of the runs */
    int64_t scratch_bytes; /* that arrays to run on may take; what they begin with is measured of a larger batch */
    int x_place;           /* where in a page of 4096 bytes the caller's x will begin; -1: not known */
    dw_stop_fn *stop;      /* asked between runs, and by long ones: then DW_ERR_STOPPED; may be NULL */
    void *context;
} dw_measuring;

/* dw_plan_create with the strategy that is fastest when tried: of those with the best estimates, as many as the time
 * allows. They are run on arrays of the library's, placed as the caller's will be. The estimate's choice is kept unless
 * another one is faster by more than the noise; also where not even that can be measured, for lack of time or memory,
 * or because the batch is empty. Which strategy it is never changes a result. */
dw_status dw_plan_create_measured(const dw_desc *desc, dw_isa isa, const void *kernel, const void *bias,
                                  const dw_measuring *how, dw_plan **plan);

/* Stores the first `capacity` strategies of the plan's problem at `to`, which may be NULL if that is 0, and in *count
 * how many there are: the plan's own, then those that were measured, the fastest first, then the others in the order of
 * their estimates. */
dw_status dw_plan_strategies(const dw_plan *plan, dw_strategy_info *to, int capacity, int *count);

/* x (N, H, W, C) -> y (N, OH, OW, OC), or as the layout says. The arrays must not overlap. */
void dw_plan_run(const dw_plan *plan, const void *x, void *y);

/* The same by up to num_threads threads, this one included, with the same bits. The others are the library's, at most
 * 127 of them: started when first needed, asleep between calls, shared by callers at the same time. A call takes those
 * that are idle and does the rest itself; it waits for no other call. After fork() a child starts its own. */
void dw_plan_run_threads(const dw_plan *plan, const void *x, void *y, int num_threads);

/* The same for runs that somebody may want to end early. A long run is cut into pieces of some milliseconds, and before
 * each one `stop(context)` is asked, on the thread that is to compute it, by several threads at once; on the caller's
 * also while that waits for the others. Once it has returned nonzero no further piece begins, what y holds is undefined,
 * and the result is nonzero. Runs of a few milliseconds are not cut, and do not ask. */
int dw_plan_run_until(const dw_plan *plan, const void *x, void *y, int num_threads, dw_stop_fn *stop, void *context);

/* How many of num_threads threads dw_plan_run_threads uses: each is to have some microseconds of work. */
int dw_plan_threads(const dw_plan *plan, int num_threads);

/* Ends the threads of the library, which wait for work otherwise; the next call that needs some starts them again. For
 * programs that unload the library. */
void dw_threads_stop(void);

/* For threads of one's own: part `part` of `parts`, 0 <= part < parts. No two parts write the same byte, so they may
 * run at the same time; all of them together are dw_plan_run. Some may be empty. */
void dw_plan_run_part(const dw_plan *plan, const void *x, void *y, int part, int parts);

/* The best offset within a page of 4096 bytes at which an output for x begins: its address modulo 4096. Within a cache
 * line it is the offset of x where that matters, else 0. -1 for small outputs, where it makes no difference. */
int dw_plan_place(const dw_plan *plan, const void *x);

/* ---- plans of plans --------------------------------------------------------------------------------
 *
 * Planning takes microseconds; these take from a plan what it has decided. Each result is a plan like any other, with
 * the bits of one that dw_plan_create makes; what several plans have in common is kept until the last is destroyed. */

/* The same problem with other weights: kernel (kh, kw, C, M) and bias (OC) or NULL, as for dw_plan_create. It costs a
 * copy of the weights. On failure *out is NULL. */
dw_status dw_plan_with_weights(const dw_plan *plan, const void *kernel, const void *bias, dw_plan **out);
dw_status dw_plan_with_weights_until(const dw_plan *plan, const void *kernel, const void *bias, dw_stop_fn *stop,
                                     void *context, dw_plan **out); /* as dw_plan_create_until */

/* The same problem for `batch` images, with the same weights. DW_ERR_SHAPE, too, for a plan of an empty batch. */
dw_status dw_plan_with_batch(const dw_plan *plan, int64_t batch, dw_plan **out);

/* Lets `plan` use the packed weights of `other` instead of its own where both hold the same bytes: for plans of one
 * layer for several sizes of x. Nobody may use `plan` meanwhile; others may use `other`. */
void dw_plan_share(dw_plan *plan, const dw_plan *other);

/* A run for `batch` >= 0 images, whatever the descriptor says, of a plan whose own batch is at least 1: x and y are of
 * that batch, which fits into memory. As dw_plan_run_until; `stop` may be NULL. And those above for such a run. */
int dw_plan_run_batch(const dw_plan *plan, int64_t batch, const void *x, void *y, int num_threads, dw_stop_fn *stop,
                      void *context);
void dw_plan_run_part_batch(const dw_plan *plan, int64_t batch, const void *x, void *y, int part, int parts);
int dw_plan_threads_batch(const dw_plan *plan, int64_t batch, int num_threads);
int dw_plan_place_batch(const dw_plan *plan, int64_t batch, const void *x);

/* ---- quantized convolutions ------------------------------------------------------------------------
 *
 * Arrays of bytes that stand for real numbers, scale * (byte - zero point): of one scale and zero point for x and y each,
 * of a scale for each output channel and zero point 0 for the kernel. The definition is that of ONNX's QLinearConv:
 *
 *   sum = bias + the taps of (x - x_zero_point) * kernel   exact, modulo 2**32; the padding adds nothing
 *   y   = float32(sum) * multiplier of the channel         one multiplication in float32, ...
 *   y   = round(y) + y_zero_point                          ... to the nearest integer, ties to the even one
 *   y   = min(max(y, y_min), y_max)                        the activation, and y's type
 *
 * The multiplier is x_scale * kernel_scale / y_scale in float32, in this order, for results of ONNX Runtime. Sums are
 * exact, so results are the same to the bit on every instruction set. */

typedef enum dw_byte_type { DW_INT8 = 0, DW_UINT8 = 1 } dw_byte_type;

typedef struct dw_quantization {
    dw_byte_type x_type, y_type;
    int32_t x_zero_point, y_zero_point; /* of these types */
    int32_t y_min, y_max;               /* likewise; -128 and 127, or 0 and 255, for no activation */
} dw_quantization;

typedef struct dw_quantized dw_quantized;

/* A plan, which copies kernel (kh, kw, C, M), bias (OC), NULL for none, and multipliers (OC). desc->dtype is DW_I32, the
 * type of the sums, its activation linear, its layout DW_NHWC; its batch does not count. On failure *out is NULL. */
dw_status dw_quantized_create(const dw_desc *desc, dw_isa isa, const dw_quantization *quantization,
                              const int8_t *kernel, const int32_t *bias, const float *multipliers, dw_quantized **out);
void dw_quantized_destroy(dw_quantized *plan); /* NULL is fine */

/* x (N, H, W, C) -> y (N, OH, OW, OC) for N = batch >= 0, of the types of the plan. Threads and `stop`, which may be
 * NULL, are those of dw_plan_run_batch. */
int dw_quantized_run(const dw_quantized *plan, int64_t batch, const void *x, void *y, int num_threads, dw_stop_fn *stop,
                     void *context);

/* How many of num_threads threads such a run uses; the name of the kernels, for people. */
int dw_quantized_threads(const dw_quantized *plan, int64_t batch, int num_threads);
const char *dw_quantized_kernels(const dw_quantized *plan);

/* The last step of a plan alone, with the same results: `count` floats at `y`, in place. Not for DW_I32. */
dw_status dw_activate(dw_dtype dtype, dw_activation activation, double alpha, dw_denormals denormals, dw_isa isa,
                      int64_t count, void *y);

/* What a plan has decided, for people who wonder why a shape is fast or slow. */
typedef struct dw_plan_info {
    dw_isa isa;
    const char *kernel;              /* does most of the work, like "k3x3s1_t4x2_avx512"; "general_..." for any size.
                                Of a narrower instruction set where the channels fill no vector of `isa`.
                                DW_NCHW: "planar_k3x3s1_avx512", "planar_general_..." */
    char strategy[DW_STRATEGY_NAME]; /* its name, see dw_strategies_of */
    int lanes;                       /* elements of a vector */
    int tile_h, tile_w;              /* outputs that share their inputs; 1 x 1 for the general kernel */
    int64_t merged_pixels;           /* pixels that share vectors because one has too few channels; 1: none do */
    int64_t blocks;       /* vectors that the channels (of the merged pixels) fill; DW_NCHW: that a row of y fills */
    int64_t plan_bytes;   /* that the plan itself takes: weights in each arrangement, and tables */
    int64_t shared_bytes; /* of these, what other plans of the same weights count for, now */
    int64_t weight_bytes; /* of the packed weights */
    double multiply_adds; /* of one run, valid taps only */
    int64_t x_bytes, y_bytes;
} dw_plan_info;

void dw_plan_describe(const dw_plan *plan, dw_plan_info *info);

/* ---- gradients -------------------------------------------------------------------------------------
 *
 * Of a loss L, from dy = dL/dy, y being the convolution without activation (desc->activation is DW_LINEAR, or
 * DW_ERR_ACTIVATION). dtypes: DW_F32 and DW_F64; either layout. `dw_grad_create` checks once; a `dw_grad` is
 * immutable; `dw_grad_run` cannot fail and may be called on one of them from any number of threads at once, each with
 * a workspace of its own.
 *
 * The order of each sum is fixed, so the results are the same to the bit on every instruction set, in every
 * run and for any number of threads (NaN payloads aside):
 *   dL/dx: for each multiplier m from +0, the outputs that a pixel leads to, row by row, left to right, one
 *     fused multiply-add each; then the sums of m = 0, 1, ... are added in that order.
 *   dL/dkernel: for each image and band of ceil(64 / OW) rows of dy from +0, the products row by row, left to
 *     right, one fused multiply-add each; the sums of the bands, top to bottom, from +0; then those of the
 *     images, from +0. Taps in the padding are skipped.
 *   dL/dbias: dy in the same order. */

typedef struct dw_grad dw_grad;

/* kernel (kh, kw, C, M) is copied; NULL if dL/dx is not wanted. On failure *grad is NULL. */
dw_status dw_grad_create(const dw_desc *desc, dw_isa isa, const void *kernel, dw_grad **grad);
dw_status dw_grad_create_until(const dw_desc *desc, dw_isa isa, const void *kernel, dw_stop_fn *stop, void *context,
                               dw_grad **grad); /* as dw_plan_create_until */
void dw_grad_destroy(dw_grad *grad);            /* NULL is fine */

/* The same for y = f(z), f being desc->activation and z the convolution: dz = dy * f'(z) takes the place of dy above, as
 * dw_activation_gradient computes it. z is computed again, with the bits of the convolution, from kernel and bias (OC) or
 * NULL, which are copied; it takes no memory but some rows. x is needed for dx, too. with_input: whether dL/dx is wanted. */
dw_status dw_grad_create_through(const dw_desc *desc, dw_isa isa, const void *kernel, const void *bias, int with_input,
                                 dw_stop_fn *stop, void *context, dw_grad **grad);

/* The same problem with other weights, which costs a copy of them; bias is ignored without an activation. On failure
 * *out is NULL. */
dw_status dw_grad_with_weights(const dw_grad *grad, const void *kernel, const void *bias, dw_stop_fn *stop,
                               void *context, dw_grad **out);

/* Bytes that it takes: weights in each arrangement, and tables, of which those with other weights share some. */
int64_t dw_grad_bytes(const dw_grad *grad);

/* Bytes of a workspace for up to num_threads threads, which may lie at any address and hold anything. */
int64_t dw_grad_workspace(const dw_grad *grad, int num_threads);

/* dy (N, OH, OW, OC), x (N, H, W, C) -> dx (N, H, W, C), dkernel (kh, kw, C, M), dbias (OC); in NCHW dy (N, OC, OH, OW)
 * and x and dx (N, C, H, W). NULL for a gradient that is not wanted; x is read for dkernel and dbias only. An empty
 * batch gives zeros. The arrays must not overlap. */
void dw_grad_run(const dw_grad *grad, const void *dy, const void *x, void *dx, void *dkernel, void *dbias,
                 void *workspace);

/* The same by up to num_threads threads, as of dw_plan_run_threads, with the same bits; the workspace is one for that
 * number. */
void dw_grad_run_threads(const dw_grad *grad, const void *dy, const void *x, void *dx, void *dkernel, void *dbias,
                         void *workspace, int num_threads);

/* The same for runs that somebody may want to end early, as dw_plan_run_until; stop NULL: nobody. */
int dw_grad_run_until(const dw_grad *grad, const void *dy, const void *x, void *dx, void *dkernel, void *dbias,
                      void *workspace, int num_threads, dw_stop_fn *stop, void *context);

/* How many of num_threads threads dw_grad_run_threads uses. */
int dw_grad_threads(const dw_grad *grad, int num_threads);

/* For threads of one's own: a run is dw_grad_rounds rounds of some images, one after the other, each of `parts` parts.
 * Those of a round may run at the same time; when all have run, dw_grad_end_round. With the bits of dw_grad_run, for any
 * number of parts:
 *
 *   for (round = 0; round < dw_grad_rounds(grad, parts); round++) {
 *       in any order, at the same time or not: dw_grad_run_part(..., round, part, parts), 0 <= part < parts
 *       dw_grad_end_round(grad, dkernel, dbias, workspace, round, parts);
 *   }
 *
 * with_weights: whether dkernel or dbias is wanted; the last dw_grad_end_round stores them. Some parts may be empty. The
 * workspace is one for that many parts, the same in all rounds; its size is -1 if it does not fit the address space. */
int64_t dw_grad_rounds(const dw_grad *grad, int parts);
int64_t dw_grad_parts_workspace(const dw_grad *grad, int parts);
void dw_grad_run_part(const dw_grad *grad, const void *dy, const void *x, void *dx, int with_weights, void *workspace,
                      int64_t round, int part, int parts);
void dw_grad_end_round(const dw_grad *grad, void *dkernel, void *dbias, void *workspace, int64_t round, int parts);

/* Through an activation f alone: dz = dL/dz = dy * f'(z) for `count` floats, where y = f(z). dz may be z or dy, and
 * overlaps neither otherwise. Within some 4 ulp of the sizes of the terms that f' is the sum of, and the same to the bit
 * on every instruction set; NaN where z is. At kinks f' is what TensorFlow has: relu'(0) = relu6'(0) = relu6'(6) = 0,
 * leaky_relu'(0) = alpha, elu'(0) = 1, hard_silu'(-3) = 0 and hard_silu'(3) = 1, hard_sigmoid'(-3) = hard_sigmoid'(3) = 0.
 * DW_LINEAR copies dy. Not for DW_I32; DW_ERR_BUILD without gradients. */
dw_status dw_activation_gradient(dw_dtype dtype, dw_activation activation, double alpha, dw_denormals denormals,
                                 dw_isa isa, int64_t count, const void *z, const void *dy, void *dz);

/* ---- what this build and this CPU have ------------------------------------------------------------- */

/* A short text in English for a status; never NULL. */
const char *dw_status_text(dw_status status);

const char *dw_isa_name(dw_isa isa); /* "portable", "neon", "avx2", "avx512"; NULL if there is none */
int dw_isa_compiled(dw_isa isa);     /* part of this build? */
int dw_isa_available(dw_isa isa);    /* part of this build and usable on this CPU and OS? */
dw_isa dw_isa_best(void);            /* the one that DW_ISA_AUTO stands for */
/* Walks the CPU features that matter here: stores the name of feature `index` and returns whether this CPU
 * and OS offer it; the name is NULL past the last one. */
int dw_cpu_feature(int index, const char **name);

/* What this CPU tells of itself, which estimates of plans use; 0 or "" where neither it nor the system tells. */
typedef struct dw_cpu_info {
    char maker[16];     /* "AuthenticAMD", "GenuineIntel", "Apple", "ARM" */
    int family, model;  /* x86: as cpuid counts them; ARM on Linux: codes of implementer and part */
    int64_t line_bytes; /* of a cache line */
    int64_t l1_bytes;   /* of data, */
    int64_t l2_bytes;   /* and what a core has of the next level, */
    int64_t l3_bytes;   /* and what all cores of a group share */
    int vector_bits;    /* that are loaded, stored and computed at once: the width of the data paths */
    const char *design; /* "Zen 3": the nearest of those that estimates know something of, or ""; never NULL */
} dw_cpu_info;
void dw_cpu_describe(dw_cpu_info *info);

const char *dw_version(void);  /* "1.2.3", DW_VERSION of the build */
const char *dw_compiler(void); /* the compiler of this build, with its version */

/* What a kernel computes. */
typedef enum dw_kernel_family {
    DW_KERNEL_NHWC = 0,        /* the convolution, channels last */
    DW_KERNEL_NCHW = 1,        /* the convolution, channels first */
    DW_KERNEL_GRAD_INPUT = 2,  /* dL/dx */
    DW_KERNEL_GRAD_KERNEL = 3, /* dL/dkernel and dL/dbias */
    DW_KERNEL_FAMILY_COUNT = 4
} dw_kernel_family;

/* One kernel. A size that is not fixed at compile time is 0. */
typedef struct dw_kernel_info {
    const char *name; /* as in dw_plan_info, such as "k3x3s1_t2x4_avx2" */
    dw_kernel_family family;
    /* "general" and "wide" for any size; else "plain" or what it is made for: "multiplier", "folded" (several pixels with few
     * channels in one vector), "folded_multiplier", "masked" and "masked_multiplier" (folded, at an edge),
     * "multiplier2" and so on (M sums per input, for this M alone),
     * "interleaved" (two blocks of channels by turns), "cross_pixel" (vectors that span two pixels) */
    const char *variant;
    int kernel_h, kernel_w, stride;
    int tile_h, tile_w; /* outputs that it computes at a time; tile_h 0: it goes down any number of rows */
    int lanes;          /* elements of a vector; 0 if this build has not compiled it */
    int registers;      /* of vectors, that the instruction set has */
} dw_kernel_info;

/* Lists the kernels of an instruction set and dtype, those with the same variant and size in order of preference:
 * stores kernel `index` = 0, 1, ... in *info and returns 1; 0 past the last one, or if there is no such instruction set
 * or dtype. Also lists the kernels of instruction sets of other processors, which this build has not compiled. */
int dw_kernel_at(dw_isa isa, dw_dtype dtype, int index, dw_kernel_info *info);

#ifdef __cplusplus
}
#endif
#endif
