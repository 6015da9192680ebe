# What other Cython modules can cimport: the C API of csrc/dwconv.h, called without Python and without the GIL, and the
# plans of Python objects. Compile with dwconv.get_include() among the include directories; nothing is linked, the
# functions are found in the extension module at run time.
#
#   from dwconv._core cimport dw_plan, plan_of, plan_run
#
#   cdef object plan = layer.plan(x.shape)   # keeps the weights; must live as long as what plan_of gives
#   cdef const dw_plan *at = plan_of(plan)
#   with nogil:
#       plan_run(at, &x[0, 0, 0, 0], &y[0, 0, 0, 0])

from libc.stdint cimport int64_t

cdef extern from "dwconv.h" nogil:
    ctypedef enum dw_status:
        DW_OK
        DW_ERR_NULL
        DW_ERR_DTYPE
        DW_ERR_ACTIVATION
        DW_ERR_ISA
        DW_ERR_SHAPE
        DW_ERR_KERNEL
        DW_ERR_STRIDE
        DW_ERR_DILATION
        DW_ERR_PADDING
        DW_ERR_OUTPUT
        DW_ERR_OVERFLOW
        DW_ERR_NOMEM
        DW_ERR_LAYOUT
        DW_ERR_DENORMALS
        DW_ERR_STRATEGY
        DW_ERR_STOPPED
        DW_ERR_BUILD
        DW_ERR_QUANTIZATION
    ctypedef enum dw_dtype:
        DW_F32
        DW_F64
        DW_I32
        DW_F16
        DW_BF16
    ctypedef enum dw_activation:
        DW_LINEAR
        DW_RELU
        DW_RELU6
        DW_LEAKY_RELU
        DW_HARD_SIGMOID
        DW_HARD_SILU
        DW_SIGMOID
        DW_TANH
        DW_SILU
        DW_GELU
        DW_GELU_TANH
        DW_ELU
    ctypedef enum dw_layout:
        DW_NHWC
        DW_NCHW
    ctypedef enum dw_denormals:
        DW_DENORMALS_FLUSH
        DW_DENORMALS_IEEE
    ctypedef enum dw_isa:
        DW_ISA_AUTO
        DW_ISA_PORTABLE
        DW_ISA_NEON
        DW_ISA_AVX2
        DW_ISA_AVX512
        DW_ISA_COUNT
    ctypedef struct dw_desc:
        int64_t batch, height, width, channels, multiplier
        int64_t kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w
        int64_t pad_top, pad_bottom, pad_left, pad_right
        dw_dtype dtype
        dw_activation activation
        double activation_alpha
        dw_layout layout
        dw_denormals denormals
    ctypedef struct dw_plan:
        pass
    ctypedef struct dw_grad:
        pass

# dw_output_size and so on: the same functions, without the prefix.
cdef dw_status output_size(const dw_desc *desc, int64_t *oh, int64_t *ow) noexcept nogil
cdef dw_status plan_create(const dw_desc *desc, dw_isa isa, const void *kernel, const void *bias,
                           dw_plan **plan) noexcept nogil
cdef dw_status plan_with_weights(const dw_plan *plan, const void *kernel, const void *bias,
                                 dw_plan **out) noexcept nogil
cdef dw_status plan_with_batch(const dw_plan *plan, int64_t batch, dw_plan **out) noexcept nogil
cdef void plan_run(const dw_plan *plan, const void *x, void *y) noexcept nogil
cdef void plan_run_part(const dw_plan *plan, const void *x, void *y, int part, int parts) noexcept nogil
cdef void plan_run_threads(const dw_plan *plan, const void *x, void *y, int num_threads) noexcept nogil
cdef int plan_threads(const dw_plan *plan, int num_threads) noexcept nogil
cdef void plan_destroy(dw_plan *plan) noexcept nogil
cdef dw_status grad_create(const dw_desc *desc, dw_isa isa, const void *kernel, dw_grad **grad) noexcept nogil
cdef int64_t grad_workspace(const dw_grad *grad, int num_threads) noexcept nogil
cdef int grad_threads(const dw_grad *grad, int num_threads) noexcept nogil
cdef void grad_run_threads(const dw_grad *grad, const void *dy, const void *x, void *dx, void *dkernel, void *dbias,
                           void *workspace, int num_threads) noexcept nogil
cdef dw_status grad_with_weights(const dw_grad *grad, const void *kernel, const void *bias, dw_grad **out) noexcept nogil
cdef int64_t grad_rounds(const dw_grad *grad, int parts) noexcept nogil
cdef int64_t grad_parts_workspace(const dw_grad *grad, int parts) noexcept nogil
cdef void grad_run_part(const dw_grad *grad, const void *dy, const void *x, void *dx, int with_weights,
                        void *workspace, int64_t round, int part, int parts) noexcept nogil
cdef void grad_end_round(const dw_grad *grad, void *dkernel, void *dbias, void *workspace, int64_t round,
                         int parts) noexcept nogil
cdef void grad_destroy(dw_grad *grad) noexcept nogil
cdef const char *status_text(dw_status status) noexcept nogil

# Of what layer.plan(shape) returns, for as long as that lives. TypeError for another object, and for a plan that does
# more than the kernel (an activation of the user's, float16 with one that is no clamp): plan.describe() tells.
cdef const dw_plan *plan_of(object plan) except NULL

# Of a _core.Gradient, likewise.
cdef const dw_grad *grad_of(object gradient) except NULL
