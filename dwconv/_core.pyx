# cython: language_level=3
"""The binding to csrc/: memoryview -> pointer, GIL released, status -> exception. No policy lives here."""

from libc.stdint cimport int32_t, int64_t


cdef extern from "dwconv.h" nogil:
    ctypedef enum dw_status:
        DW_OK
        DW_ERR_OVERFLOW
        DW_ERR_NOMEM
    ctypedef enum dw_dtype:
        DW_F32
        DW_F64
        DW_I32
    ctypedef enum dw_activation:
        DW_LINEAR
        DW_RELU
        DW_RELU6
    ctypedef enum dw_isa:
        DW_ISA_COUNT
    ctypedef struct dw_desc:
        int64_t batch, height, width, channels, multiplier
        int64_t kernel_h, kernel_w, stride_h, stride_w, dilation_h, dilation_w
        int64_t pad_top, pad_bottom, pad_left, pad_right
        dw_dtype dtype
        dw_activation activation
    ctypedef struct dw_plan:
        pass
    dw_status dw_output_size(const dw_desc *desc, int64_t *oh, int64_t *ow)
    dw_status dw_plan_create(const dw_desc *desc, dw_isa isa, const void *kernel, const void *bias,
                             dw_plan **plan)
    void dw_plan_destroy(dw_plan *plan)
    void dw_plan_run(const dw_plan *plan, const void *x, void *y)
    ctypedef struct dw_plan_info:
        const char *kernel
        int lanes, tile_h, tile_w
        int64_t merged_pixels, blocks, weight_bytes, x_bytes, y_bytes
        double multiply_adds
    void dw_plan_describe(const dw_plan *plan, dw_plan_info *info)
    const char *dw_status_text(dw_status status)
    const char *dw_isa_name(dw_isa isa)
    int dw_isa_compiled(dw_isa isa)
    int dw_isa_available(dw_isa isa)
    dw_isa dw_isa_best()
    int dw_cpu_feature(int index, const char **name)
    const char *dw_compiler()


cdef int check(dw_status status) except -1:
    """Raises what a status means: MemoryError for a size that cannot be had, else ValueError."""
    if status == DW_OK:
        return 0
    text = dw_status_text(status).decode()
    if status in (DW_ERR_OVERFLOW, DW_ERR_NOMEM):
        raise MemoryError(text)
    raise ValueError(text)


cdef dict FUSED = {"linear": DW_LINEAR, "relu": DW_RELU, "relu6": DW_RELU6}

#: Names of the activations that a plan applies itself.
FUSED_ACTIVATIONS = tuple(FUSED)

#: Names of the instruction sets that this build knows of, narrowest first.
ISA_NAMES = tuple(dw_isa_name(<dw_isa>i).decode() for i in range(DW_ISA_COUNT))


def compiled_isas():
    """Names of the instruction sets that are part of this build."""
    return tuple(ISA_NAMES[i] for i in range(DW_ISA_COUNT) if dw_isa_compiled(<dw_isa>i))


def available_isas():
    """Names of the instruction sets that are part of this build and usable on this CPU and OS."""
    return tuple(ISA_NAMES[i] for i in range(DW_ISA_COUNT) if dw_isa_available(<dw_isa>i))


def best_isa():
    """Name of the widest available instruction set."""
    return ISA_NAMES[<int>dw_isa_best()]


def cpu_features():
    """{name: usable} of the CPU features that matter here."""
    cdef const char *name = NULL
    features = {}
    index = 0
    while True:
        usable = dw_cpu_feature(index, &name)
        if name == NULL:
            return features
        features[name.decode()] = bool(usable)
        index += 1


def compiler():
    """The compiler of this build, with its version."""
    return dw_compiler().decode()


# The element types that a plan takes, by NumPy's character for them.
cdef dict DTYPES = {"f": DW_F32, "d": DW_F64, "i": DW_I32}


# Addresses of arrays that the caller keeps alive, read through memoryviews of the plan's dtype: a TypeError or
# ValueError for another dtype, rank, layout or writability. An empty array has no element to take the address of.

cdef const void *read_at(array, dw_dtype dtype) except? NULL:
    cdef const float[:, :, :, ::1] f32
    cdef const double[:, :, :, ::1] f64
    cdef const int32_t[:, :, :, ::1] i32
    if dtype == DW_F32:
        f32 = array
        return <const void *>&f32[0, 0, 0, 0] if f32.size else NULL
    if dtype == DW_F64:
        f64 = array
        return <const void *>&f64[0, 0, 0, 0] if f64.size else NULL
    i32 = array
    return <const void *>&i32[0, 0, 0, 0] if i32.size else NULL


cdef void *write_at(array, dw_dtype dtype) except? NULL:
    cdef float[:, :, :, ::1] f32
    cdef double[:, :, :, ::1] f64
    cdef int32_t[:, :, :, ::1] i32
    if dtype == DW_F32:
        f32 = array
        return <void *>&f32[0, 0, 0, 0] if f32.size else NULL
    if dtype == DW_F64:
        f64 = array
        return <void *>&f64[0, 0, 0, 0] if f64.size else NULL
    i32 = array
    return <void *>&i32[0, 0, 0, 0] if i32.size else NULL


cdef class Plan:
    """An immutable plan for one shape: kernel chosen, weights packed. Any thread may call it at any time.

    kernel: (kh, kw, C, M) float32, float64 or int32, C-contiguous; bias: (C*M,) of the same dtype, or None.
    x_shape: (N, H, W, C); padding: ((top, bottom), (left, right)); activation: one of FUSED_ACTIVATIONS;
    isa: one of available_isas(). Raises ValueError for sizes that make no convolution, MemoryError for
    sizes that cannot be allocated.
    """

    cdef dw_plan *plan
    cdef dw_dtype dtype
    cdef readonly tuple x_shape
    cdef readonly tuple y_shape
    cdef readonly str isa

    def __cinit__(self, kernel, bias, x_shape, strides, dilation_rate, padding, str activation, str isa):
        cdef dw_desc desc
        cdef int64_t oh = 0, ow = 0
        cdef const void *kernel_at
        cdef const void *bias_at = NULL
        cdef int isa_index = ISA_NAMES.index(isa)
        cdef dw_status status

        desc.batch, desc.height, desc.width, desc.channels = x_shape
        desc.kernel_h, desc.kernel_w, channels, desc.multiplier = kernel.shape
        if channels != desc.channels:
            raise ValueError(f"expected a kernel for {desc.channels} channels; received {channels}")
        outputs = desc.channels * desc.multiplier
        if bias is not None and bias.shape != (outputs,):
            raise ValueError(f"expected a bias of shape ({outputs},); received {bias.shape}")
        desc.stride_h, desc.stride_w = strides
        desc.dilation_h, desc.dilation_w = dilation_rate
        (desc.pad_top, desc.pad_bottom), (desc.pad_left, desc.pad_right) = padding
        desc.activation = FUSED[activation]
        desc.dtype = self.dtype = DTYPES[kernel.dtype.char]
        check(dw_output_size(&desc, &oh, &ow))  # also refuses an empty kernel
        kernel_at = read_at(kernel, self.dtype)
        if bias is not None:
            bias_at = read_at(bias.reshape(1, 1, 1, outputs), self.dtype)
        with nogil:
            status = dw_plan_create(&desc, <dw_isa>isa_index, kernel_at, bias_at, &self.plan)
        check(status)
        self.isa = isa
        self.x_shape = (desc.batch, desc.height, desc.width, desc.channels)
        self.y_shape = (desc.batch, oh, ow, outputs)

    def __dealloc__(self):
        dw_plan_destroy(self.plan)

    def info(self):
        """What the plan has decided: the fields of dw_plan_info in csrc/dwconv.h, `isa` apart, as a dict."""
        cdef dw_plan_info info
        dw_plan_describe(self.plan, &info)
        return {
            "kernel": info.kernel.decode(),
            "lanes": info.lanes,
            "tile_h": info.tile_h,
            "tile_w": info.tile_w,
            "merged_pixels": info.merged_pixels,
            "blocks": info.blocks,
            "weight_bytes": info.weight_bytes,
            "multiply_adds": int(info.multiply_adds),
            "x_bytes": info.x_bytes,
            "y_bytes": info.y_bytes,
        }

    @property
    def kernel_name(self):
        """The kernel that does most of the work, such as 'k3x3s1_t2x4_avx2'."""
        return self.info()["kernel"]

    def __call__(self, x, out):
        """Computes x (N, H, W, C) -> out (N, OH, OW, C*M). Both C-contiguous, of the plan's dtype, disjoint."""
        if x.shape != self.x_shape or out.shape != self.y_shape:
            raise ValueError(
                f"expected x of shape {self.x_shape} and out of shape {self.y_shape}; "
                f"received {x.shape} and {out.shape}"
            )
        cdef const void *x_at = read_at(x, self.dtype)
        cdef void *y_at = write_at(out, self.dtype)
        with nogil:
            dw_plan_run(self.plan, x_at, y_at)
        return out


include "_gradients.pxi"
