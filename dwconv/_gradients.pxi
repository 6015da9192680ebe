"""The gradients' part of the binding; included by _core.pyx, whose helpers it uses."""

from libc.stdlib cimport free, malloc


cdef extern from "dwconv.h" nogil:
    ctypedef struct dw_grad_input:
        pass
    dw_status dw_grad_input_create(const dw_desc *desc, dw_isa isa, const void *kernel, dw_grad_input **grad)
    void dw_grad_input_destroy(dw_grad_input *grad)
    int64_t dw_grad_input_workspace(const dw_grad_input *grad)
    void dw_grad_input_run(const dw_grad_input *grad, const void *dy, void *dx, void *workspace)
    ctypedef struct dw_grad_weights:
        pass
    dw_status dw_grad_weights_create(const dw_desc *desc, dw_isa isa, dw_grad_weights **grad)
    void dw_grad_weights_destroy(dw_grad_weights *grad)
    int64_t dw_grad_weights_workspace(const dw_grad_weights *grad)
    void dw_grad_weights_run(const dw_grad_weights *grad, const void *dy, const void *x, void *dkernel,
                             void *dbias, void *workspace)


cdef int describe(dw_desc *desc, x_shape, kernel_shape, strides, dilation_rate, padding, dtype) except -1:
    """Fills *desc in; the core checks it."""
    desc.batch, desc.height, desc.width, desc.channels = x_shape
    desc.kernel_h, desc.kernel_w, channels, desc.multiplier = kernel_shape
    if channels != desc.channels:
        raise ValueError(f"expected a kernel for {desc.channels} channels; received {channels}")
    desc.stride_h, desc.stride_w = strides
    desc.dilation_h, desc.dilation_w = dilation_rate
    (desc.pad_top, desc.pad_bottom), (desc.pad_left, desc.pad_right) = padding
    desc.activation = DW_LINEAR
    desc.dtype = DTYPES[dtype.char]
    return 0


cdef void *workspace_of(int64_t size) except? NULL:
    """Memory of `size` bytes; NULL for 0."""
    if size == 0:
        return NULL
    cdef void *memory = malloc(<size_t>size)
    if memory == NULL:
        raise MemoryError("out of memory")
    return memory


cdef class InputGradient:
    """The gradient of one convolution with respect to x, kernel packed. Immutable; for any thread at any time.

    kernel: (kh, kw, C, M) float32 or float64, C-contiguous; the other arguments and errors are those of Plan.
    """

    cdef dw_grad_input *grad
    cdef dw_dtype dtype
    cdef readonly tuple x_shape
    cdef readonly tuple y_shape

    def __cinit__(self, kernel, x_shape, strides, dilation_rate, padding, str isa):
        cdef dw_desc desc
        cdef int64_t oh = 0, ow = 0
        cdef int isa_index = ISA_NAMES.index(isa)
        cdef const void *kernel_at
        cdef dw_status status
        describe(&desc, x_shape, kernel.shape, strides, dilation_rate, padding, kernel.dtype)
        self.dtype = desc.dtype
        check(dw_output_size(&desc, &oh, &ow))  # also refuses an empty kernel
        kernel_at = read_at(kernel, self.dtype)
        with nogil:
            status = dw_grad_input_create(&desc, <dw_isa>isa_index, kernel_at, &self.grad)
        check(status)
        self.x_shape = (desc.batch, desc.height, desc.width, desc.channels)
        self.y_shape = (desc.batch, oh, ow, desc.channels * desc.multiplier)

    def __dealloc__(self):
        dw_grad_input_destroy(self.grad)

    def __call__(self, dy, out):
        """dy (N, OH, OW, C*M) -> out (N, H, W, C). Both C-contiguous, of the kernel's dtype, disjoint."""
        if dy.shape != self.y_shape or out.shape != self.x_shape:
            raise ValueError(
                f"expected dy of shape {self.y_shape} and out of shape {self.x_shape}; "
                f"received {dy.shape} and {out.shape}"
            )
        cdef const void *dy_at = read_at(dy, self.dtype)
        cdef void *dx_at = write_at(out, self.dtype)
        cdef void *workspace = workspace_of(dw_grad_input_workspace(self.grad))
        with nogil:
            dw_grad_input_run(self.grad, dy_at, dx_at, workspace)
            free(workspace)
        return out


cdef class WeightsGradient:
    """The gradient of one convolution with respect to kernel and bias. Immutable; for any thread at any time.

    kernel_shape: (kh, kw, C, M); dtype: NumPy's float32 or float64; the other arguments and errors are those of
    Plan.
    """

    cdef dw_grad_weights *grad
    cdef dw_dtype dtype
    cdef readonly tuple x_shape
    cdef readonly tuple y_shape
    cdef readonly tuple kernel_shape

    def __cinit__(self, kernel_shape, dtype, x_shape, strides, dilation_rate, padding, str isa):
        cdef dw_desc desc
        cdef int64_t oh = 0, ow = 0
        cdef int isa_index = ISA_NAMES.index(isa)
        cdef dw_status status
        describe(&desc, x_shape, kernel_shape, strides, dilation_rate, padding, dtype)
        self.dtype = desc.dtype
        check(dw_output_size(&desc, &oh, &ow))
        with nogil:
            status = dw_grad_weights_create(&desc, <dw_isa>isa_index, &self.grad)
        check(status)
        self.kernel_shape = (desc.kernel_h, desc.kernel_w, desc.channels, desc.multiplier)
        self.x_shape = (desc.batch, desc.height, desc.width, desc.channels)
        self.y_shape = (desc.batch, oh, ow, desc.channels * desc.multiplier)

    def __dealloc__(self):
        dw_grad_weights_destroy(self.grad)

    def __call__(self, dy, x, dkernel, dbias):
        """dy (N, OH, OW, C*M), x (N, H, W, C) -> dkernel (kh, kw, C, M), dbias (C*M,); all C-contiguous, of the
        same dtype, disjoint."""
        outputs = self.y_shape[3]
        if (dy.shape, x.shape) != (self.y_shape, self.x_shape):
            raise ValueError(
                f"expected dy of shape {self.y_shape} and x of shape {self.x_shape}; "
                f"received {dy.shape} and {x.shape}"
            )
        if (dkernel.shape, dbias.shape) != (self.kernel_shape, (outputs,)):
            raise ValueError(
                f"expected dkernel of shape {self.kernel_shape} and dbias of shape ({outputs},); "
                f"received {dkernel.shape} and {dbias.shape}"
            )
        cdef const void *dy_at = read_at(dy, self.dtype)
        cdef const void *x_at = read_at(x, self.dtype)
        cdef void *dkernel_at = write_at(dkernel, self.dtype)
        cdef void *dbias_at = write_at(dbias.reshape(1, 1, 1, outputs), self.dtype)
        cdef void *workspace = workspace_of(dw_grad_weights_workspace(self.grad))
        with nogil:
            dw_grad_weights_run(self.grad, dy_at, x_at, dkernel_at, dbias_at, workspace)
            free(workspace)
        return dkernel, dbias
