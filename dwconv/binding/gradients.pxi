"""The gradients' part of the binding; included by _core.pyx, whose helpers it uses."""



cdef extern from "dwconv.h" nogil:
    dw_status dw_grad_create(const dw_desc *desc, dw_isa isa, const void *kernel, dw_grad **grad)
    dw_status dw_grad_create_through(const dw_desc *desc, dw_isa isa, const void *kernel, const void *bias,
                                     int with_input, dw_stop_fn *stop, void *context, dw_grad **grad)
    dw_status dw_grad_with_weights(const dw_grad *grad, const void *kernel, const void *bias, dw_stop_fn *stop,
                                   void *context, dw_grad **out)
    int64_t dw_grad_bytes(const dw_grad *grad)
    void dw_grad_destroy(dw_grad *grad)
    int64_t dw_grad_workspace(const dw_grad *grad, int num_threads)
    int dw_grad_threads(const dw_grad *grad, int num_threads)
    void dw_grad_run_threads(const dw_grad *grad, const void *dy, const void *x, void *dx, void *dkernel, void *dbias,
                             void *workspace, int num_threads)
    int dw_grad_run_until(const dw_grad *grad, const void *dy, const void *x, void *dx, void *dkernel, void *dbias,
                          void *workspace, int num_threads, dw_stop_fn *stop, void *context)
    int64_t dw_grad_rounds(const dw_grad *grad, int parts)
    int64_t dw_grad_parts_workspace(const dw_grad *grad, int parts)
    void dw_grad_run_part(const dw_grad *grad, const void *dy, const void *x, void *dx, int with_weights,
                          void *workspace, int64_t round, int part, int parts)
    void dw_grad_end_round(const dw_grad *grad, void *dkernel, void *dbias, void *workspace, int64_t round, int parts)
    dw_status dw_activation_gradient(dw_dtype dtype, dw_activation activation, double alpha, dw_denormals denormals,
                                     dw_isa isa, int64_t count, const void *z, const void *dy, void *dz)


def activation_gradient(str activation, double alpha, z, dy, dz, str isa, bint ieee=True):
    """dz = dy * f'(z), f one of FUSED_ACTIVATIONS: float32 or float64 arrays of one shape, C-contiguous. dz may be z or
    dy, and shares no memory with either otherwise. alpha: as for `activate`. ieee: whether denormal numbers are not
    flushed. The same bits on every instruction set. TypeError and ValueError for anything else.
    """
    cdef dw_activation which = FUSED[activation]
    cdef dw_isa index = <dw_isa><int>ISA_NAMES.index(isa)
    cdef dw_denormals denormals = DW_DENORMALS_IEEE if ieee else DW_DENORMALS_FLUSH
    z = as_array("z", z)
    cdef dw_dtype dtype = core_dtype("z", z.dtype)
    numpy_dtype = <object>NUMPY_DTYPES[dtype]
    z = operand("z", z, numpy_dtype, None, False)
    dy = operand("dy", dy, numpy_dtype, z.shape, False)
    dz = operand("dz", dz, numpy_dtype, z.shape, True)
    pins = arrays_pin(z), arrays_pin(dy), arrays_pin(dz)
    cdef const char *z_at = <char *>arrays_data(z)
    cdef const char *dy_at = <char *>arrays_data(dy)
    cdef char *dz_at = <char *>arrays_data(dz)
    if dz_at != z_at:
        check_apart("dz", dz, "z", z)
    if dz_at != dy_at:
        check_apart("dz", dz, "dy", dy)
    cdef int64_t count = z.size, done = 0, some, size = 8 if dtype == DW_F64 else 4
    cdef dw_status status
    while True:
        some = min(count - done, <int64_t>ACTIVATED_AT_ONCE)
        with nogil:
            status = dw_activation_gradient(dtype, which, alpha, denormals, index, some, z_at + done * size,
                                            dy_at + done * size, dz_at + done * size)
        check(status)
        done += some
        if done == count:
            return
        PyErr_CheckSignals()


cdef class Gradient:
    """The gradients of one convolution with respect to x, kernel and bias. Immutable; for any thread at any time.

    dtype: NumPy's float32 or float64; kernel: (kh, kw, C, M) of these, C-contiguous, or None if the gradient with
    respect to x is not wanted; the other arguments and errors are those of Plan. With an activation they are those of
    what it makes of the convolution, which needs the kernel, and the bias or None, to compute that again.
    """

    cdef dw_grad *grad
    cdef dw_dtype dtype
    cdef object numpy_dtype
    cdef npy_intp x_sizes[4]
    cdef npy_intp y_sizes[4]
    cdef npy_intp kernel_sizes[4]
    cdef npy_intp outputs_size
    cdef int ndim, x_class, kernel_class, bias_class
    cdef bint through
    cdef readonly tuple x_shape
    cdef readonly tuple y_shape
    cdef readonly tuple kernel_shape
    cdef readonly int64_t outputs
    cdef readonly bint has_input

    def __cinit__(self, spec, x_shape, dtype, kernel, str isa, bint ieee=False, str activation="linear",
                  double alpha=0, bias=None):
        cdef dw_desc desc
        cdef int64_t oh = 0, ow = 0
        cdef const void *kernel_at = NULL
        cdef const void *bias_at = NULL
        cdef int isa_index, has_input
        cdef dw_status status
        cdef signal_watch watch

        if spec is COPY:
            return
        isa_index = ISA_NAMES.index(isa)
        fill_desc(&desc, spec, x_shape, core_dtype("dtype", dtype), ieee)
        self.dtype = desc.dtype
        self.numpy_dtype = NUMPY_DTYPES[self.dtype]
        check(dw_output_size(&desc, &oh, &ow))  # also refuses an empty kernel
        self.kernel_shape = kernel_shape_of(&desc, spec.rank)
        self.outputs = desc.channels * desc.multiplier
        self.has_input = has_input = kernel is not None
        desc.activation, desc.activation_alpha = FUSED[activation], alpha
        self.through = desc.activation != DW_LINEAR
        if self.has_input:
            kernel = operand("kernel", kernel, self.numpy_dtype, self.kernel_shape, False)
            pin = arrays_pin(kernel)
            kernel_at = arrays_data(kernel)
        if bias is not None and self.through:
            bias = operand("bias", bias, self.numpy_dtype, (self.outputs,), False)
            bias_pin = arrays_pin(bias)
            bias_at = arrays_data(bias)
        with nogil:
            status = dw_grad_create_through(&desc, <dw_isa>isa_index, kernel_at, bias_at, has_input,
                                            watch_signals(&watch), &watch, &self.grad)
        check(status)
        self.x_shape = input_shape_of(&desc, spec.rank)
        self.y_shape = output_shape_of(&desc, spec.rank, oh, ow)
        self.ndim = spec.rank + 2
        for i in range(self.ndim):
            self.x_sizes[i], self.y_sizes[i] = self.x_shape[i], self.y_shape[i]
            self.kernel_sizes[i] = self.kernel_shape[i]
        self.outputs_size = self.outputs
        # A class is -1 where there is no such memory; then calls say so.
        self.x_class = class_of(self.x_sizes, self.ndim, self.numpy_dtype)
        self.kernel_class = class_of(self.kernel_sizes, self.ndim, self.numpy_dtype)
        self.bias_class = class_of(&self.outputs_size, 1, self.numpy_dtype)

    def with_weights(self, kernel, bias=None):
        """The same with other weights, a copy of which is all that it costs: as at construction, and None where there
        were none. bias: for an activation only.
        """
        cdef dw_grad *grad = NULL
        cdef dw_status status
        cdef signal_watch watch
        cdef const void *kernel_at = NULL
        cdef const void *bias_at = NULL
        if self.has_input:
            kernel = operand("kernel", kernel, self.numpy_dtype, self.kernel_shape, False)
            pin = arrays_pin(kernel)
            kernel_at = arrays_data(kernel)
        if bias is not None and self.through:
            bias = operand("bias", bias, self.numpy_dtype, (self.outputs,), False)
            bias_pin = arrays_pin(bias)
            bias_at = arrays_data(bias)
        with nogil:
            status = dw_grad_with_weights(self.grad, kernel_at, bias_at, watch_signals(&watch), &watch, &grad)
        check(status)
        cdef Gradient made = Gradient.__new__(Gradient, COPY, None, None, None, None)
        made.grad = grad
        made.dtype, made.numpy_dtype = self.dtype, self.numpy_dtype
        made.x_shape, made.y_shape, made.kernel_shape = self.x_shape, self.y_shape, self.kernel_shape
        made.outputs, made.has_input, made.through = self.outputs, self.has_input, self.through
        made.x_sizes, made.y_sizes, made.kernel_sizes = self.x_sizes, self.y_sizes, self.kernel_sizes
        made.outputs_size, made.ndim = self.outputs_size, self.ndim
        made.x_class, made.kernel_class, made.bias_class = self.x_class, self.kernel_class, self.bias_class
        return made

    @property
    def own_bytes(self):
        """What it takes: weights in each arrangement, and tables."""
        return dw_grad_bytes(self.grad)

    def pull(self, dy, x, bint with_input, bint with_weights, num_threads):
        """(dx, dkernel, dbias), new arrays with recycled memory, None for those that are not wanted.

        NotImplemented, and nothing done, unless dy and x are as the kernels take them: of the dtype and the shapes,
        C-contiguous, aligned. num_threads: a positive int, or None for the default.
        """
        cdef int threads, workspace_class
        cdef void *workspace
        cdef void *dx_at = NULL
        cdef void *dkernel_at = NULL
        cdef void *dbias_at = NULL
        cdef int stopped = 0
        cdef signal_watch watch
        if not (arrays_is_plain(dy, self.numpy_dtype, self.ndim, self.y_sizes)
                and arrays_is_plain(x, self.numpy_dtype, self.ndim, self.x_sizes)):
            return NotImplemented
        threads = load_default_threads() if num_threads is None else read_threads(num_threads)
        workspace_class = block_cache_class(<size_t>dw_grad_workspace(self.grad, threads))
        if self.x_class < 0 or self.kernel_class < 0 or self.bias_class < 0 or workspace_class < 0:
            raise MemoryError("out of memory")
        dx = dkernel = dbias = None
        if with_input and self.has_input:
            dx = new_array(self.x_class, -1, self.numpy_dtype, self.ndim, self.x_sizes)
            dx_at = arrays_data(dx)
        if with_weights:
            dkernel = new_array(self.kernel_class, -1, self.numpy_dtype, self.ndim, self.kernel_sizes)
            dbias = new_array(self.bias_class, -1, self.numpy_dtype, 1, &self.outputs_size)
            dkernel_at, dbias_at = arrays_data(dkernel), arrays_data(dbias)
        pins = arrays_pin(dy), arrays_pin(x)
        cdef const void *dy_at = arrays_data(dy)
        cdef const void *x_at = arrays_data(x)
        workspace = block_cache_take(workspace_class)
        if workspace == NULL:
            raise MemoryError("out of memory")
        with nogil:
            stopped = dw_grad_run_until(self.grad, dy_at, x_at, dx_at, dkernel_at, dbias_at, workspace, threads,
                                        watch_signals(&watch), &watch)
        block_cache_put(workspace, workspace_class)
        if stopped:
            raise_pending()
        return dx, dkernel, dbias

    def __dealloc__(self):
        dw_grad_destroy(self.grad)

    def threads(self, num_threads):
        """How many of `num_threads` threads a call uses: each gets some microseconds of work at least."""
        return dw_grad_threads(self.grad, read_threads(num_threads))

    def __call__(self, dy, x=None, dx=None, dkernel=None, dbias=None, *, num_threads=None):
        """dy of y_shape, x of x_shape -> dx of x_shape, dkernel (kh, kw, C, M), dbias (C*M,).

        None for what is not wanted; x is needed for the last two. All C-contiguous, of the same dtype, disjoint.
        num_threads: a positive int, the most that are used, or None for the default.
        """
        cdef int threads = load_default_threads() if num_threads is None else read_threads(num_threads)
        if x is None and (dkernel is not None or dbias is not None):
            raise ValueError("x: expected an array, for the gradients of kernel and bias; received None")
        if x is None and self.through:
            raise ValueError("x: expected an array, for the activation; received None")
        if dx is not None and not self.has_input:
            raise ValueError("dx: expected None, there being no kernel since construction; received an array")
        read = {"dy": operand("dy", dy, self.numpy_dtype, self.y_shape, False)}
        if x is not None:
            read["x"] = operand("x", x, self.numpy_dtype, self.x_shape, False)
        written = {}
        for name, array, shape in (
            ("dx", dx, self.x_shape), ("dkernel", dkernel, self.kernel_shape), ("dbias", dbias, (self.outputs,))
        ):
            if array is None:
                continue
            array = operand(name, array, self.numpy_dtype, shape, True)
            for other_name, other in (*read.items(), *written.items()):
                check_apart(name, array, other_name, other)
            written[name] = array
        pins = [arrays_pin(array) for array in (*read.values(), *written.values())]
        cdef const void *dy_at = address(read.get("dy"))
        cdef const void *x_at = address(read.get("x"))
        cdef void *dx_at = address(written.get("dx"))
        cdef void *dkernel_at = address(written.get("dkernel"))
        cdef void *dbias_at = address(written.get("dbias"))
        cdef void *workspace = malloc(<size_t>dw_grad_workspace(self.grad, threads))
        if workspace == NULL:
            raise MemoryError("out of memory")
        cdef int stopped = 0
        cdef signal_watch watch
        with nogil:
            stopped = dw_grad_run_until(self.grad, dy_at, x_at, dx_at, dkernel_at, dbias_at, workspace, threads,
                                        watch_signals(&watch), &watch)
            free(workspace)
        if stopped:
            raise_pending()


cdef int class_of(const npy_intp *sizes, int ndim, object dtype) except -2:
    """Of the block for an array of these sizes; -1 if there is none."""
    bytes = dtype.itemsize
    for i in range(ndim):
        bytes *= sizes[i]
    return block_cache_class(bytes) if bytes <= INT64_MAX // 2 else -1


cdef inline void *address(object array):
    """Of an operand's memory; NULL for None."""
    return NULL if array is None else arrays_data(array)
