"""Quantized convolutions' part of the binding; included by _core.pyx, whose helpers it uses."""

cdef extern from "dwconv.h" nogil:
    ctypedef enum dw_byte_type:
        DW_INT8
        DW_UINT8
    ctypedef struct dw_quantization:
        dw_byte_type x_type, y_type
        int32_t x_zero_point, y_zero_point, y_min, y_max
    ctypedef struct dw_quantized:
        pass
    void dw_quantized_destroy(dw_quantized *plan)
    int dw_quantized_run(const dw_quantized *plan, int64_t batch, const void *x, void *y, int num_threads,
                         dw_stop_fn *stop, void *context)
    int dw_quantized_threads(const dw_quantized *plan, int64_t batch, int num_threads)
    const char *dw_quantized_kernels(const dw_quantized *plan)

cdef extern from "quantized.h" nogil:
    const char *dw_quantized_kernels_at(dw_isa isa, int index, int *usable)
    dw_status dw_quantized_create_with(const dw_desc *desc, dw_isa isa, int index, const dw_quantization *quantization,
                                       const signed char *kernel, const int32_t *bias, const float *multipliers,
                                       dw_quantized **out)

cdef object INT8 = _numpy.dtype(_numpy.int8)
cdef object UINT8 = _numpy.dtype(_numpy.uint8)


def quantized_kernels(str isa):
    """{name: usable} of the kernels that an instruction set has for bytes, the preferred ones first."""
    cdef int usable = 0, index = 0
    cdef const char *name
    found = {}
    while True:
        name = dw_quantized_kernels_at(<dw_isa><int>ISA_NAMES.index(isa), index, &usable)
        if name == NULL:
            return found
        found[name.decode()] = bool(usable)
        index += 1


@cython.auto_pickle(False)
cdef class Quantized:
    """An immutable plan of a quantized convolution, for any batch. Any thread may call it at any time.

    spec, x_shape: as for Plan, of rank 2 and channels last; the first of x_shape does not count. kernel: (kh, kw, C, M)
    int8; bias: (C*M,) int32 or None; multipliers: (C*M,) float32; all C-contiguous. x_dtype, y_dtype: NumPy's int8 or
    uint8; zero_points: of x and y, bounds: the least and the largest y, ints. kernels: one of quantized_kernels(isa),
    which else depend on the channels. Raises ValueError for what makes no convolution.
    """

    cdef dw_quantized *plan
    cdef object x_dtype, y_dtype
    cdef readonly tuple x_shape
    cdef readonly tuple y_shape
    cdef npy_intp x_sizes[4]
    cdef npy_intp y_sizes[4]
    cdef double work  # multiply-adds of an image

    def __cinit__(self, spec, x_shape, kernel, bias, multipliers, x_dtype, y_dtype, tuple zero_points, tuple bounds,
                  str isa, str kernels=None):
        cdef dw_desc desc
        cdef dw_quantization quantization
        cdef int64_t oh = 0, ow = 0
        cdef const void *bias_at = NULL
        cdef int isa_index = ISA_NAMES.index(isa), index = -1
        cdef dw_status status

        fill_desc(&desc, spec, x_shape, DW_I32, True)
        check(dw_output_size(&desc, &oh, &ow))  # also refuses an empty kernel
        if kernels is not None:
            index = list(quantized_kernels(isa)).index(kernels)
        kernel = operand("kernel", kernel, INT8, kernel_shape_of(&desc, 2), False)
        outputs = (desc.channels * desc.multiplier,)
        multipliers = operand("multipliers", multipliers, NUMPY_DTYPES[<int>DW_F32], outputs, False)
        if bias is not None:
            bias = operand("bias", bias, NUMPY_DTYPES[<int>DW_I32], outputs, False)
            bias_at = arrays_data(bias)
        self.x_dtype, self.y_dtype = _numpy.dtype(x_dtype), _numpy.dtype(y_dtype)
        quantization.x_type = DW_INT8 if self.x_dtype == INT8 else DW_UINT8
        quantization.y_type = DW_INT8 if self.y_dtype == INT8 else DW_UINT8
        quantization.x_zero_point, quantization.y_zero_point = zero_points
        quantization.y_min, quantization.y_max = bounds
        check_plan_bytes(arrays_bytes(kernel))
        pins = (arrays_pin(kernel), arrays_pin(multipliers), None if bias is None else arrays_pin(bias))
        cdef const void *kernel_at = arrays_data(kernel)
        cdef const void *multipliers_at = arrays_data(multipliers)
        with nogil:
            status = dw_quantized_create_with(&desc, <dw_isa>isa_index, index, &quantization,
                                              <const signed char *>kernel_at, <const int32_t *>bias_at,
                                              <const float *>multipliers_at, &self.plan)
        check(status)
        self.x_shape = input_shape_of(&desc, 2)
        self.y_shape = output_shape_of(&desc, 2, oh, ow)
        for i in range(4):
            self.x_sizes[i], self.y_sizes[i] = self.x_shape[i], self.y_shape[i]
        self.work = <double>oh * <double>ow * <double>outputs[0] * <double>desc.kernel_h * <double>desc.kernel_w

    def __dealloc__(self):
        dw_quantized_destroy(self.plan)

    @property
    def kernels(self):
        """The name of the kernels, one of quantized_kernels."""
        return dw_quantized_kernels(self.plan).decode()

    def threads(self, int64_t batch, num_threads):
        """How many of `num_threads` threads a call uses."""
        return dw_quantized_threads(self.plan, batch, read_threads(num_threads))

    def __call__(self, x, out=None, *, num_threads=None):
        """x (N, H, W, C) of any N -> y (N, OH, OW, C*M), `out` if given; C-contiguous, of the plan's dtypes, apart.

        num_threads: a positive int, the most that are used, or None for the default.
        """
        cdef int threads = load_default_threads() if num_threads is None else read_threads(num_threads)
        cdef int stopped = 0, i
        cdef signal_watch watch
        cdef npy_intp y_sizes[4]
        if not arrays_is_plain_batch(x, self.x_dtype, 4, self.x_sizes):
            x = as_array("x", x)
            x = operand("x", x, self.x_dtype, x.shape[:1] + self.x_shape[1:], False)
        cdef int64_t images = arrays_batch(x)
        y_sizes[0] = images
        for i in range(1, 4):
            y_sizes[i] = self.y_sizes[i]
        y = out
        if out is None:
            y = empty((images, *self.y_shape[1:]), self.y_dtype)
        elif not (arrays_is_plain(out, self.y_dtype, 4, y_sizes) and arrays_is_writeable(out)):
            y = operand("out", out, self.y_dtype, (images, *self.y_shape[1:]), True)
        check_apart("out", y, "x", x)
        cdef const void *x_at = arrays_data(x)
        cdef void *y_at = arrays_data(y)
        if self.work * <double>images <= BRIEF and (
            threads == 1 or dw_quantized_threads(self.plan, images, threads) == 1
        ):
            dw_quantized_run(self.plan, images, x_at, y_at, 1, NULL, NULL)
            return y if out is None else out
        pins = (arrays_pin(x), arrays_pin(y))
        with nogil:
            stopped = dw_quantized_run(self.plan, images, x_at, y_at, threads, watch_signals(&watch), &watch)
        if stopped:
            raise_pending()
        return y if out is None else out
