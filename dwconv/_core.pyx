# cython: language_level=3
"""The binding to csrc/: a `Plan` is a kernel, a `Gradient` its gradients; arrays in, statuses out as exceptions.

What is not a translation has a file of its own in binding/: the memory of outputs (memory.pxi), the way of a call to
its kernel without Python (call_cache.pxi), what is checked and held of arrays (operands.pxi).
"""

from cpython.object cimport PyObject
from libc.stdint cimport INT64_MAX, int32_t, int64_t, uintptr_t  # the types of dwconv.h are in _core.pxd
from libc.stdlib cimport free, malloc

include "binding/signals.pxi"
include "binding/memory.pxi"
include "binding/vectorcall.pxi"


cdef extern from "dwconv.h" nogil:
    dw_status dw_output_size(const dw_desc *desc, int64_t *oh, int64_t *ow)
    dw_status dw_plan_create(const dw_desc *desc, dw_isa isa, const void *kernel, const void *bias,
                             dw_plan **plan)
    dw_status dw_plan_create_until(const dw_desc *desc, dw_isa isa, const void *kernel, const void *bias,
                                   dw_stop_fn *stop, void *context, dw_plan **plan)
    dw_status dw_plan_with_weights_until(const dw_plan *plan, const void *kernel, const void *bias, dw_stop_fn *stop,
                                         void *context, dw_plan **out)
    dw_status dw_plan_create_named(const dw_desc *desc, dw_isa isa, const char *name, const void *kernel,
                                   const void *bias, dw_stop_fn *stop, void *context, dw_plan **plan)
    ctypedef struct dw_measuring:
        double nanoseconds
        int num_threads
        int64_t scratch_bytes
        int x_place
        dw_stop_fn *stop
        void *context
    dw_status dw_plan_create_measured(const dw_desc *desc, dw_isa isa, const void *kernel, const void *bias,
                                      const dw_measuring *how, dw_plan **plan)
    enum:
        DW_STRATEGY_NAME
    ctypedef struct dw_strategy_info:
        char name[DW_STRATEGY_NAME]
        double nanoseconds, measured
    dw_status dw_plan_strategies(const dw_plan *plan, dw_strategy_info *to, int capacity, int *count)
    void dw_plan_destroy(dw_plan *plan)
    void dw_plan_run(const dw_plan *plan, const void *x, void *y)
    void dw_plan_run_threads(const dw_plan *plan, const void *x, void *y, int num_threads)
    dw_status dw_plan_with_weights(const dw_plan *plan, const void *kernel, const void *bias, dw_plan **out)
    dw_status dw_plan_with_batch(const dw_plan *plan, int64_t batch, dw_plan **out)
    void dw_plan_share(dw_plan *plan, const dw_plan *other)
    int dw_plan_run_batch(const dw_plan *plan, int64_t batch, const void *x, void *y, int num_threads,
                          dw_stop_fn *stop, void *context)
    int dw_plan_threads_batch(const dw_plan *plan, int64_t batch, int num_threads)
    int dw_plan_place_batch(const dw_plan *plan, int64_t batch, const void *x)
    int dw_plan_threads(const dw_plan *plan, int num_threads)
    void dw_plan_run_part(const dw_plan *plan, const void *x, void *y, int part, int parts)
    void dw_threads_stop()
    int dw_plan_place(const dw_plan *plan, const void *x)
    dw_status dw_activate(dw_dtype dtype, dw_activation activation, double alpha, dw_denormals denormals, dw_isa isa,
                          int64_t count, void *y)
    ctypedef struct dw_plan_info:
        const char *kernel
        char strategy[DW_STRATEGY_NAME]
        int lanes, tile_h, tile_w
        int64_t merged_pixels, blocks, plan_bytes, shared_bytes, weight_bytes, x_bytes, y_bytes
        double multiply_adds
    void dw_plan_describe(const dw_plan *plan, dw_plan_info *info)
    const char *dw_status_text(dw_status status)
    const char *dw_isa_name(dw_isa isa)
    int dw_isa_compiled(dw_isa isa)
    int dw_isa_available(dw_isa isa)
    dw_isa dw_isa_best()
    int dw_cpu_feature(int index, const char **name)
    ctypedef struct dw_cpu_info:
        char maker[16]
        int family, model
        int64_t line_bytes, l1_bytes, l2_bytes, l3_bytes
        int vector_bits
        const char *design
    void dw_cpu_describe(dw_cpu_info *info)
    const char *dw_compiler()


cdef int check(dw_status status) except -1:
    """Raises what a status means: MemoryError for a size that cannot be had, what a handler of a signal has raised, else
    ValueError.
    """
    if status == DW_OK:
        return 0
    if status == DW_ERR_STOPPED:
        raise_pending()
    text = dw_status_text(status).decode()
    if status in (DW_ERR_OVERFLOW, DW_ERR_NOMEM):
        raise MemoryError(text)
    if status == DW_ERR_STRATEGY:
        raise LookupError(text)
    raise ValueError(text)


cdef dict FUSED = {
    "linear": DW_LINEAR,
    "relu": DW_RELU,
    "relu6": DW_RELU6,
    "leaky_relu": DW_LEAKY_RELU,
    "hard_sigmoid": DW_HARD_SIGMOID,
    "hard_silu": DW_HARD_SILU,
    "sigmoid": DW_SIGMOID,
    "tanh": DW_TANH,
    "silu": DW_SILU,
    "gelu": DW_GELU,
    "gelu_tanh": DW_GELU_TANH,
    "elu": DW_ELU,
}

#: Names of the activations that a plan applies itself; csrc/dwconv.h has their formulas.
FUSED_ACTIVATIONS = tuple(FUSED)

#: Names of the instruction sets by their number in dw_isa, which is no order of preference.
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


def cpu():
    """What this CPU tells of itself, as a dict: the fields of dw_cpu_info in csrc/dwconv.h."""
    cdef dw_cpu_info info
    dw_cpu_describe(&info)
    return {
        "maker": info.maker.decode(),
        "family": info.family,
        "model": info.model,
        "line_bytes": info.line_bytes,
        "l1_bytes": info.l1_bytes,
        "l2_bytes": info.l2_bytes,
        "l3_bytes": info.l3_bytes,
        "vector_bits": info.vector_bits,
        "design": info.design.decode(),
    }


def compiler():
    """The compiler of this build, with its version."""
    return dw_compiler().decode()


include "binding/kernels.pxi"
include "binding/operands.pxi"
include "binding/half.pxi"


cdef enum:
    ACTIVATED_AT_ONCE = 4194304  # elements; Ctrl-C waits for no more


def activate(str activation, double alpha, array, str isa):
    """Applies one of FUSED_ACTIVATIONS to a float32 or float64 array of any shape, C-contiguous, in place.

    alpha: of leaky_relu (its negative_slope) and elu. The same bits as in a plan, denormal numbers as in one
    that flushes none. ValueError if it is not finite.
    """
    cdef dw_activation which = FUSED[activation]
    cdef dw_isa index = <dw_isa><int>ISA_NAMES.index(isa)
    array = as_array("array", array)
    cdef dw_dtype dtype = core_dtype("array", array.dtype)
    array = operand("array", array, <object>NUMPY_DTYPES[dtype], None, True)
    pin = arrays_pin(array)
    cdef void *at = arrays_data(array)
    cdef int64_t count = array.size, done = 0, some
    cdef dw_status status
    while True:
        some = min(count - done, <int64_t>ACTIVATED_AT_ONCE)
        with nogil:
            status = dw_activate(dtype, which, alpha, DW_DENORMALS_IEEE, index, some,
                                 <char *>at + done * (8 if dtype == DW_F64 else 4))
        check(status)
        done += some
        if done == count:
            return
        PyErr_CheckSignals()


cdef int fill_desc(dw_desc *desc, spec, x_shape, dw_dtype dtype, bint ieee) except -1:
    """A descriptor without activation: the geometry in a ConvSpec, for inputs of `x_shape` in its layout. The core
    checks the values; here only what is no int64 is an error.
    """
    (desc.batch, desc.height, desc.width, desc.channels, desc.multiplier, desc.kernel_h, desc.kernel_w,
     desc.stride_h, desc.stride_w, desc.dilation_h, desc.dilation_w,
     desc.pad_top, desc.pad_bottom, desc.pad_left, desc.pad_right, channels_first) = spec.descriptor(x_shape)
    desc.dtype = dtype
    desc.activation = DW_LINEAR
    desc.activation_alpha = 0
    desc.layout = DW_NCHW if channels_first else DW_NHWC
    desc.denormals = DW_DENORMALS_IEEE if ieee else DW_DENORMALS_FLUSH


cdef enum:
    DW_MOST_LANES = 16  # of a vector; fewer make the table larger
    COLUMN_BYTES = 24  # of dw_colvec, which is no smaller anywhere

cdef int64_t plan_memory_limit = INT64_MAX


def set_plan_memory_limit(int64_t limit):
    """How many bytes a plan may take by itself."""
    global plan_memory_limit
    plan_memory_limit = limit


cdef int check_plan_bytes(int64_t bytes) except -1:
    if bytes > plan_memory_limit:
        raise MemoryError(
            f"a plan that takes {bytes} bytes or more: expected at most {plan_memory_limit}, "
            "see dwconv.config.set_plan_memory_limit"
        )
    return 0


# Arrays of rank 1 have no height, which is 1.

cdef tuple kernel_shape_of(const dw_desc *desc, int rank):
    """(kh, kw, C, M), or (k, C, M)."""
    if rank == 1:
        return desc.kernel_w, desc.channels, desc.multiplier
    return desc.kernel_h, desc.kernel_w, desc.channels, desc.multiplier


cdef tuple array_shape_of(const dw_desc *desc, int rank, height, width, channels):
    """(N, H, W, C), or (N, C, H, W) if the layout is channels first; (N, L, C), (N, C, L)."""
    cdef tuple pixels = (width,) if rank == 1 else (height, width)
    if desc.layout == DW_NCHW:
        return (desc.batch, channels, *pixels)
    return (desc.batch, *pixels, channels)


cdef tuple input_shape_of(const dw_desc *desc, int rank):
    return array_shape_of(desc, rank, desc.height, desc.width, desc.channels)


cdef tuple output_shape_of(const dw_desc *desc, int rank, int64_t oh, int64_t ow):
    return array_shape_of(desc, rank, oh, ow, desc.channels * desc.multiplier)


cdef tuple bias_shape_of(tuple kernel_shape):
    """(C*M,)"""
    rank = len(kernel_shape) - 2
    return (kernel_shape[rank] * kernel_shape[rank + 1],)


cdef enum:
    MOST_STRATEGIES = 1024  # of a problem, as in csrc/strategy.h

cdef object COPY = object()  # in place of a spec: a plan that copy_of fills


@cython.auto_pickle(False)
cdef class Plan:
    """An immutable plan for one shape: kernel chosen, weights packed. Any thread may call it at any time.

    spec: the geometry, a dwconv.ops.ConvSpec; x_shape: (N, H, W, C), or (N, C, H, W) if the spec is channels_first; of
    rank 1 all arrays lack the height. kernel: (kh, kw, C, M) float32, float64 or int32, C-contiguous; bias: (C*M,) of the same dtype, or None. dtype: of x and y; None: the kernel's; beside float32 float16 or bfloat16, for
    channels last with activations up to relu6.
    activation: one of FUSED_ACTIVATIONS; alpha: of leaky_relu (its negative_slope) and elu; isa: one of
    available_isas(). Raises ValueError for sizes that make no convolution, MemoryError for sizes that cannot be
    allocated.

    A plan is the kernel alone: it takes arrays of its own dtype and shapes. dwconv.ops.BoundPlan does the rest.

    num_threads: of its calls, the caller's included; None: what set_default_threads has said by then. Fewer where the
    work is worth no more. ieee: whether denormal numbers are IEEE's, not flushed to zero.

    How it computes is the estimate's choice. Or it is the strategy of a name, of those in `strategies()`: LookupError if
    there is none. Or the fastest of some that are tried within `budget` seconds, on `scratch` bytes of memory at most.
    """

    cdef object __weakref__
    cdef dw_plan *plan
    cdef dw_dtype dtype
    cdef readonly tuple x_shape
    cdef readonly tuple y_shape
    cdef readonly str isa
    cdef readonly object numpy_dtype  # of x and y
    cdef object weight_dtype
    cdef npy_intp x_sizes[4]
    cdef npy_intp y_sizes[4]
    cdef int ndim
    cdef size_t x_bytes, y_bytes
    cdef int y_class, offset_class
    cdef readonly bint ieee
    cdef bint brief
    cdef double multiply_adds
    cdef int own_threads, worth_threads  # 0: the default; what the work is worth
    cdef readonly tuple kernel_shape

    def __cinit__(self, spec, x_shape, kernel, bias, str activation, str isa, double alpha=0, num_threads=None,
                  bint ieee=False, dtype=None, str strategy=None, double budget=0, int64_t scratch=0):
        cdef dw_desc desc
        cdef int64_t oh = 0, ow = 0
        cdef const void *kernel_at
        cdef const void *bias_at = NULL
        cdef int isa_index
        cdef dw_status status
        cdef signal_watch watch
        cdef dw_measuring how
        cdef const char *name

        if spec is COPY:
            return
        isa_index = ISA_NAMES.index(isa)
        kernel = as_array("kernel", kernel)
        fill_desc(&desc, spec, x_shape, core_dtype("kernel", kernel.dtype), ieee)
        self.weight_dtype = NUMPY_DTYPES[desc.dtype]
        desc.dtype = stored_dtype(dtype, desc.dtype)
        desc.activation = FUSED[activation]
        desc.activation_alpha = alpha
        self.ieee = ieee
        self.dtype = desc.dtype
        self.numpy_dtype = dtype if self.dtype == DW_BF16 else HALF if self.dtype == DW_F16 else self.weight_dtype
        self.ndim = spec.rank + 2
        self.kernel_shape = kernel_shape_of(&desc, spec.rank)
        kernel = operand("kernel", kernel, self.weight_dtype, self.kernel_shape, False)
        check(dw_output_size(&desc, &oh, &ow))  # also refuses an empty kernel
        if bias is not None:
            bias = operand("bias", bias, self.weight_dtype, (desc.channels * desc.multiplier,), False)
        # At least this much, before anything is allocated: the weights, and in channels first a table of the columns.
        check_plan_bytes(arrays_bytes(kernel) + (
            ow // DW_MOST_LANES * COLUMN_BYTES if desc.layout == DW_NCHW and desc.batch > 0 else 0))
        pins = (arrays_pin(kernel), None if bias is None else arrays_pin(bias))
        kernel_at = arrays_data(kernel)
        if bias is not None:
            bias_at = arrays_data(bias)
        self.own_threads = 0 if num_threads is None else read_threads(num_threads)
        if strategy is not None:
            text = strategy.encode("utf-8", "replace")
            name = text
            with nogil:
                status = dw_plan_create_named(&desc, <dw_isa>isa_index, name, kernel_at, bias_at,
                                              watch_signals(&watch), &watch, &self.plan)
        elif budget > 0:
            how.nanoseconds, how.num_threads = budget * 1e9, threads_of(self)
            how.scratch_bytes, how.x_place = scratch, -1
            how.stop, how.context = watch_signals(&watch), &watch
            with nogil:
                status = dw_plan_create_measured(&desc, <dw_isa>isa_index, kernel_at, bias_at, &how, &self.plan)
        else:
            with nogil:
                status = dw_plan_create_until(&desc, <dw_isa>isa_index, kernel_at, bias_at, watch_signals(&watch),
                                              &watch, &self.plan)
        check(status)
        self.isa = isa
        take_sizes(self, input_shape_of(&desc, spec.rank), output_shape_of(&desc, spec.rank, oh, ow))

    def with_weights(self, kernel, bias):
        """A plan with other weights, a copy of which is all that it costs: `kernel` and `bias` as at construction, of
        the same shapes and dtype.
        """
        cdef dw_plan *plan = NULL
        cdef dw_status status
        cdef signal_watch watch
        cdef const void *kernel_at
        cdef const void *bias_at = NULL
        kernel = operand("kernel", kernel, self.weight_dtype, self.kernel_shape, False)
        kernel_at = arrays_data(kernel)
        if bias is not None:
            bias = operand("bias", bias, self.weight_dtype, bias_shape_of(self.kernel_shape), False)
            bias_at = arrays_data(bias)
        if arrays_bytes(kernel) <= BRIEF_BYTES:
            status = dw_plan_with_weights(self.plan, kernel_at, bias_at, &plan)
        else:
            pins = (arrays_pin(kernel), None if bias is None else arrays_pin(bias))
            with nogil:
                status = dw_plan_with_weights_until(self.plan, kernel_at, bias_at, watch_signals(&watch), &watch, &plan)
        check(status)
        return copy_of(self, plan)

    def with_batch(self, int64_t batch):
        """The same plan for another batch, with the same weights in the same memory. ValueError for a negative batch,
        and if this plan is one of an empty batch; MemoryError.
        """
        cdef dw_plan *plan = NULL
        check(dw_plan_with_batch(self.plan, batch, &plan))
        cdef Plan made = copy_of(self, plan)
        take_sizes(made, (batch, *self.x_shape[1:]), (batch, *self.y_shape[1:]))
        return made

    def share(self, Plan other not None):
        """Uses the packed weights of `other` where they have the same bytes, before anybody uses this plan."""
        dw_plan_share(self.plan, other.plan)

    @property
    def own_bytes(self):
        """Of what the plan takes, what it counts for: what several plans have in common is divided among them."""
        cdef dw_plan_info info
        dw_plan_describe(self.plan, &info)
        return info.plan_bytes - info.shared_bytes

    def __dealloc__(self):
        dw_plan_destroy(self.plan)

    def __call__(self, x, out=None, *, num_threads=None):
        """run(x, out, num_threads)"""
        return self.run(x, out, num_threads)

    def __reduce__(self):
        raise TypeError("a plan of the kernel alone: expected a plan of a layer, or the layer, to pickle or copy")

    @property
    def num_threads(self):
        """How many threads a call uses: those asked for, or fewer where the work is worth no more or no more can be
        started.
        """
        return min(threads_of(self), self.worth_threads, dw_pool_most())

    def run(self, x, out=None, num_threads=None):
        """The kernel alone: x (N, H, W, C) -> out (N, OH, OW, C*M), or a new array for None.

        Both C-contiguous, aligned, of the plan's dtype, and disjoint: arrays or anything with the buffer protocol.
        TypeError for another type or dtype, ValueError for the rest.
        """
        cdef int threads = threads_of(self) if num_threads is None else read_threads(num_threads)
        source = operand("x", x, self.numpy_dtype, self.x_shape, False)
        if out is None:
            out = target = new_output(self, arrays_data(source))
        else:
            target = operand("out", out, self.numpy_dtype, self.y_shape, True)
            check_apart("out", target, "x", source)
        run_kernel(self, source, target, threads)
        return out

    def run_part(self, x, out, part, parts):
        """Part `part` of `parts` of run(x, out): for threads of one's own. No two parts write the same byte.

        Arrays as for run; ValueError for others, and for a part that is none. A part that takes long is run in pieces,
        between which Ctrl-C ends the call; `out` then holds some of them.
        """
        cdef int count = read_int("parts", parts, 1), number = read_int("part", part, 0)
        if number >= count:
            raise ValueError(f"part: expected one of {count} from 0 on; received {number}")
        source = operand("x", x, self.numpy_dtype, self.x_shape, False)
        target = operand("out", out, self.numpy_dtype, self.y_shape, True)
        check_apart("out", target, "x", source)
        x_pin, y_pin = arrays_pin(source), arrays_pin(target)
        cdef const void *x_at = arrays_data(source)
        cdef void *y_at = arrays_data(target)
        # The number of pieces depends on the plan and `parts` alone: parts that threads run at the same time are cut
        # alike, or else two of them might write the same byte.
        cdef int piece, pieces = <int>max(1, min(self.multiply_adds / PIECE, 2**30) / count)
        for piece in range(pieces):
            with nogil:
                dw_plan_run_part(self.plan, x_at, y_at, number * pieces + piece, count * pieces)
            PyErr_CheckSignals()

    def info(self):
        """What the plan has decided: the fields of dw_plan_info in csrc/dwconv.h, `isa` apart, as a dict."""
        cdef dw_plan_info info
        dw_plan_describe(self.plan, &info)
        return {
            "kernel": info.kernel.decode(),
            "strategy": info.strategy.decode(),
            "lanes": info.lanes,
            "tile_h": info.tile_h,
            "tile_w": info.tile_w,
            "merged_pixels": info.merged_pixels,
            "blocks": info.blocks,
            "plan_bytes": info.plan_bytes,
            "shared_bytes": info.shared_bytes,
            "weight_bytes": info.weight_bytes,
            "multiply_adds": int(info.multiply_adds),
            "x_bytes": info.x_bytes,
            "y_bytes": info.y_bytes,
        }

    @property
    def strategy(self):
        """The name of the way in which it computes, one of `strategies()`."""
        return self.info()["strategy"]

    def strategies(self, int most=MOST_STRATEGIES):
        """The first `most` ways to compute the plan's problem, as tuples (name, estimated seconds, measured seconds or
        None): its own, then those that were measured, the fastest first, then the others by their estimates.
        """
        cdef int count = 0, i
        cdef int capacity = max(0, min(most, MOST_STRATEGIES))
        cdef dw_strategy_info *found = <dw_strategy_info *>malloc(MOST_STRATEGIES * sizeof(dw_strategy_info))
        if found == NULL:
            raise MemoryError("a list of strategies")
        try:
            check(dw_plan_strategies(self.plan, found, capacity, &count))
            return [(found[i].name.decode(), found[i].nanoseconds / 1e9,
                     found[i].measured / 1e9 if found[i].measured > 0 else None)
                    for i in range(min(count, capacity))]
        finally:
            free(found)

    @property
    def kernel_name(self):
        """The kernel that does most of the work, such as 'k3x3s1_t2x4_avx2'."""
        return self.info()["kernel"]


# No methods: a table of them would move what a call reads to another place in the object.

cdef int take_sizes(Plan plan, tuple x_shape, tuple y_shape) except -1:
    """What follows from the shapes and the plan."""
    cdef dw_plan_info info
    cdef int i
    plan.x_shape, plan.y_shape = x_shape, y_shape
    for i in range(plan.ndim):
        plan.x_sizes[i] = x_shape[i]
        plan.y_sizes[i] = y_shape[i]
    dw_plan_describe(plan.plan, &info)
    check_plan_bytes(info.plan_bytes)
    plan.x_bytes, plan.y_bytes = info.x_bytes, info.y_bytes
    plan.y_class, plan.offset_class = block_cache_class(plan.y_bytes), block_cache_class(plan.y_bytes + PAGE)
    if plan.y_class < 0 or plan.offset_class < 0:
        raise MemoryError(f"an output of {plan.y_bytes} bytes cannot be allocated")
    plan.brief = info.multiply_adds <= BRIEF
    plan.multiply_adds = info.multiply_adds
    plan.worth_threads = dw_plan_threads(plan.plan, DW_MOST_THREADS)
    return 0


cdef Plan copy_of(Plan of, dw_plan *plan):
    """A plan like this one for `plan`, which it takes over, of the same sizes and with the same weights' sizes."""
    cdef Plan made = Plan.__new__(Plan, COPY, None, None, None, None, None)
    made.plan = plan
    made.dtype = of.dtype
    made.numpy_dtype, made.weight_dtype = of.numpy_dtype, of.weight_dtype
    made.x_shape, made.y_shape, made.kernel_shape = of.x_shape, of.y_shape, of.kernel_shape
    made.isa = of.isa
    made.x_sizes, made.y_sizes, made.ndim = of.x_sizes, of.y_sizes, of.ndim
    made.x_bytes, made.y_bytes = of.x_bytes, of.y_bytes
    made.y_class, made.offset_class = of.y_class, of.offset_class
    made.ieee, made.brief = of.ieee, of.brief
    made.multiply_adds = of.multiply_adds
    made.own_threads, made.worth_threads = of.own_threads, of.worth_threads
    return made


# Multiply-adds of a call that does not release the GIL: one or two microseconds on a vector unit, which no other
# thread misses, where releasing and taking it again costs some 20 ns and, with threads that wait for it, far more.
cdef double BRIEF = 20000

# Multiply-adds of a piece of run_part: less than a millisecond on a vector unit, 15 where each calls fma().
cdef double PIECE = 10000000


# Bytes of weights that are packed without releasing the GIL.
cdef size_t BRIEF_BYTES = 1 << 16


cdef enum:
    PAGE = 4096


cdef object new_output_of(Plan plan, npy_intp batch, const void *x):
    """new_output for a batch, with a plan whose own batch is another one, at least 1."""
    cdef npy_intp sizes[4]
    cdef size_t image = plan.y_bytes // <size_t>plan.x_sizes[0]
    if batch > 0 and image > <size_t>(INT64_MAX - PAGE) // <size_t>batch:
        raise MemoryError(f"an output of {image * <object>batch} bytes cannot be allocated")
    cdef int page_offset = dw_plan_place_batch(plan.plan, batch, x)
    cdef int size_class = block_cache_class(image * <size_t>batch + (PAGE if page_offset >= 0 else 0))
    if size_class < 0:
        raise MemoryError(f"an output of {image * <size_t>batch} bytes cannot be allocated")
    sizes[0], sizes[1], sizes[2], sizes[3] = batch, plan.y_sizes[1], plan.y_sizes[2], plan.y_sizes[3]
    return new_array(size_class, page_offset, plan.numpy_dtype, plan.ndim, sizes)


cdef inline object new_output(Plan plan, const void *x):
    """A new array for the output for x, where the core would have it."""
    cdef int page_offset = dw_plan_place(plan.plan, x)
    cdef int size_class = plan.offset_class if page_offset >= 0 else plan.y_class
    return new_array(size_class, page_offset, plan.numpy_dtype, plan.ndim, plan.y_sizes)


cdef extern from "thread_pool.h" nogil:
    enum:
        DW_MOST_THREADS
    int dw_pool_most()


cdef extern from *:
    """
    #include <stdatomic.h>
    static atomic_int default_threads = 1;
    #define load_default_threads() atomic_load_explicit(&default_threads, memory_order_relaxed)
    #define store_default_threads(count) atomic_store_explicit(&default_threads, count, memory_order_relaxed)
    """
    int load_default_threads()
    void store_default_threads(int count)


cdef int read_threads(num_threads) except 0:
    """A number of threads, as an int that fits; more than there can be are as many as can be. 'auto' is the number of
    CPUs that the process may use. ValueError unless it is that or a positive integer, NumPy's and whole floats included.
    """
    if isinstance(num_threads, str) and num_threads == "auto":
        from .binding.cpus import available
        return min(available(), DW_MOST_THREADS)
    try:
        number = 0 if getattr(num_threads, "ndim", 0) else int(num_threads)
    except (TypeError, ValueError, OverflowError):
        number = 0
    if not 1 <= number < 2**63 or number != num_threads or isinstance(num_threads, (bool, str, BOOL)):
        raise ValueError(
            f"num_threads: expected a positive integer below 2**63 or 'auto'; received {num_threads!r}"
        )
    return min(number, DW_MOST_THREADS)


cdef int read_int(str name, value, int least) except -1:
    """An int from `least`, at least 0, to 2**31 - 1; NumPy's and whole floats are integers, bools are not. Else
    ValueError.
    """
    if type(value) is not int:
        from .arguments import as_integer
        number = as_integer(value, least)
    else:
        number = value
    if number is None or not least <= number < 2**31:
        raise ValueError(f"{name}: expected an integer from {least} to 2**31 - 1; received {value!r}")
    return number


def set_default_threads(num_threads):
    """The number of threads of plans that have none of their own, from now on. ValueError unless a positive int."""
    store_default_threads(read_threads(num_threads))


def stop_threads():
    """Ends the threads that wait for work; the next call that needs some starts them again."""
    with nogil:
        dw_threads_stop()


cdef inline int threads_of(Plan plan):
    return plan.own_threads if plan.own_threads else load_default_threads()


cdef extern from "binding/gil_spin.h" nogil:
    void gil_spin_released()
    void gil_spin_wait()
    void gil_spin_taken()


cdef inline int run_kernel(Plan plan, object x, object y, int threads) except -1:
    """The kernel on two operands of the plan's sizes that share no memory."""
    if plan.brief and (threads == 1 or plan.worth_threads == 1):
        dw_plan_run(plan.plan, arrays_data(x), arrays_data(y))
        return 0
    return run_without_gil(plan, plan.x_sizes[0], x, y, threads)


cdef int run_batch(Plan plan, npy_intp batch, object x, object y, int threads) except -1:
    """The kernel on operands of a batch, with a plan whose own batch is another one, at least 1."""
    cdef double work = plan.multiply_adds / <double>plan.x_sizes[0] * <double>batch
    if work <= BRIEF and (threads == 1 or dw_plan_threads_batch(plan.plan, batch, threads) == 1):
        dw_plan_run_batch(plan.plan, batch, arrays_data(x), arrays_data(y), 1, NULL, NULL)
        return 0
    return run_without_gil(plan, batch, x, y, threads)


cdef int run_without_gil(Plan plan, int64_t batch, object x, object y, int threads) except -1:
    cdef const void *x_at = arrays_data(x)
    cdef void *y_at = arrays_data(y)
    cdef int stopped = 0
    cdef signal_watch watch
    x_pin, y_pin = arrays_pin(x), arrays_pin(y)
    gil_spin_released()
    with nogil:
        stopped = dw_plan_run_batch(plan.plan, batch, x_at, y_at, threads, watch_signals(&watch), &watch)
        gil_spin_wait()
    gil_spin_taken()
    return -1 if stopped else 0


include "binding/call_cache.pxi"
include "binding/kept_plans.pxi"
include "binding/gradients.pxi"
include "binding/quantized.pxi"
include "binding/api.pxi"
