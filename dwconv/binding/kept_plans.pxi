# Plans for weights that change: what a function that is called with its weights keeps from call to call.
#
# Planning takes tens of microseconds, packing weights is a copy, and comparing them with those of a call before is less
# than that. So a `KeptPlan`, which is one geometry, holds the plans of the last weights that it was called with, each
# beside a copy of these as they were given. A call compares; where nothing compares equal it packs.
#
# What must not be broken: a plan never changes, nor does a tuple of them, so threads with different weights cannot mix
# them. A kernel that was changed in place since the last call has other bytes, which is all that is asked.

cdef extern from "geometry.h" nogil:
    dw_status dw_plan_with_weights_for(const dw_plan *plan, const void *x, const void *y, const void *kernel,
                                       const void *bias, dw_stop_fn *stop, void *context, dw_plan **out)
    dw_status dw_plan_geometry(const dw_plan *plan, dw_plan **out)
    int dw_plan_suits(const dw_plan *plan, const void *x, const void *y)

cdef extern from "binding/numpy_api.h":
    int arrays_sizes(object x, object kernel, npy_intp *sizes, int most)
    int arrays_type(object x)

cdef extern from *:
    """
    #include <stdatomic.h>
    static atomic_llong bytes_of_kept_plans;
    #define kept_bytes_add(bytes) atomic_fetch_add_explicit(&bytes_of_kept_plans, bytes, memory_order_relaxed)
    #define kept_bytes_now() atomic_load_explicit(&bytes_of_kept_plans, memory_order_relaxed)
    """
    long long kept_bytes_add(long long bytes)
    long long kept_bytes_now()

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.long cimport PyLong_CheckExact
from cpython.tuple cimport PyTuple_CheckExact
from cpython.unicode cimport PyUnicode_CheckExact
from libc.string cimport memcmp, memcpy


cdef enum:
    MOST_SIZES = 7  # of x without its batch, and of the kernel
    MOST_WEIGHTS = 8  # of one geometry: the layers of a network that are alike, seldom more than five


@cython.final
@cython.freelist(8)
cdef class PackedWeights:
    """A plan, and the weights that it was packed from, as bytes."""

    cdef Plan plan
    cdef bytes kernel
    cdef bytes bias  # or None
    cdef long long size

    def __dealloc__(self):
        kept_bytes_add(-self.size)


cdef PackedWeights packed_weights(Plan plan, bytes kernel, bytes bias):
    cdef dw_plan_info info
    made = <PackedWeights>PackedWeights.__new__(PackedWeights)
    made.plan, made.kernel, made.bias = plan, kernel, bias
    dw_plan_describe(plan.plan, &info)
    made.size = info.plan_bytes + len(kernel) + (0 if bias is None else len(bias))
    kept_bytes_add(made.size)
    return made


cdef bytes bytes_of(object array):
    return PyBytes_FromStringAndSize(<char *>arrays_data(array), <Py_ssize_t>arrays_bytes(array))


cdef bint has_bytes(bytes kept, object array) except -1:
    """Whether an array, of as many bytes, holds these."""
    cdef size_t size = arrays_bytes(array)
    cdef const char *mine = PyBytes_AS_STRING(kept)
    cdef const void *theirs = arrays_data(array)
    cdef int differ
    if size <= BRIEF_BYTES:
        return memcmp(mine, theirs, size) == 0
    if memcmp(mine, theirs, 64) != 0:  # almost always where they differ at all
        return False
    pin = arrays_pin(array)
    with nogil:
        differ = memcmp(mine, theirs, size)
    return differ == 0


def kept_bytes():
    """What all plans in all `KeptPlan`s take, with the copies of their weights."""
    return kept_bytes_now()


@cython.final
@cython.auto_pickle(False)
cdef class KeptPlan:
    """The plans of one geometry, for any batch and the last weights that it was called with.

    plan: one of that geometry, of a batch of at least 1; its weights do not matter. Any thread may call it.
    """

    cdef Plan plan  # without weights
    cdef tuple kept  # of PackedWeights, what was packed last first
    cdef npy_intp kernel_sizes[4]
    cdef npy_intp outputs

    def __cinit__(self, Plan plan not None):
        cdef dw_plan *geometry = NULL
        if plan.x_sizes[0] < 1:
            raise ValueError(f"plan: expected one of a batch of at least 1; received one for {plan.x_shape}")
        check(dw_plan_geometry(plan.plan, &geometry))
        self.plan = copy_of(plan, geometry)
        self.plan.own_threads = 0
        self.kept = ()
        for i, size in enumerate(plan.kernel_shape):
            self.kernel_sizes[i] = size
        self.outputs = bias_shape_of(plan.kernel_shape)[0]

    def with_weights(self, int64_t batch, kernel, bias, num_threads):
        """A plan for `batch` images, with the weights in every arrangement, that is not kept; num_threads: of its own."""
        made = self.plan.with_weights(kernel, bias)
        if batch != self.plan.x_sizes[0]:
            made = (<Plan>made).with_batch(batch)
        if num_threads is not None:
            (<Plan>made).own_threads = read_threads(num_threads)
        return made

    @property
    def count(self):
        """Of how many weights, or arrangements of them, there are plans."""
        return len(self.current())

    cdef tuple current(self):
        with cython.critical_section(self):
            return self.kept

    cdef PackedWeights packed(self, object kernel, object bias, const void *x, const void *y):
        """The plan of these weights, for these addresses, or any of them if x is NULL; NULL if there is none."""
        cdef PackedWeights one
        for item in self.current():
            one = <PackedWeights>item
            if (one.bias is None) != (bias is None) or not (x == NULL or dw_plan_suits(one.plan.plan, x, y)):
                continue
            if has_bytes(one.kernel, kernel) and (bias is None or has_bytes(one.bias, bias)):
                return one
        return None

    cdef PackedWeights pack(self, object kernel, object bias, const void *x, const void *y):
        """Packs the weights and keeps them. First they are copied: another thread may be writing to them."""
        cdef bytes own_kernel = bytes_of(kernel)
        cdef bytes own_bias = None if bias is None else bytes_of(bias)
        cdef const char *kernel_at = PyBytes_AS_STRING(own_kernel)
        cdef const char *bias_at = NULL if bias is None else PyBytes_AS_STRING(own_bias)
        cdef dw_plan *plan = NULL
        cdef dw_status status
        cdef signal_watch watch
        if <size_t>len(own_kernel) <= BRIEF_BYTES:
            status = dw_plan_with_weights_for(self.plan.plan, x, y, kernel_at, bias_at, NULL, NULL, &plan)
        else:
            with nogil:
                status = dw_plan_with_weights_for(self.plan.plan, x, y, kernel_at, bias_at, watch_signals(&watch),
                                                  &watch, &plan)
        check(status)
        cdef PackedWeights made = packed_weights(copy_of(self.plan, plan), own_kernel, own_bias)
        with cython.critical_section(self):
            self.kept = (made, *self.kept[:MOST_WEIGHTS - 1])
        return made

    def forget(self):
        """Forgets all plans but that of the last weights. Returns whether there were others."""
        with cython.critical_section(self):
            several = len(self.kept) > 1
            self.kept = self.kept[:1]
        return several

    def __call__(self, x, kernel, bias, out, num_threads, grown):
        """The convolution of x with these weights, in `out` or a new array.

        NotImplemented, and nothing done, unless all arrays are as the kernel takes them: of its dtype, C-contiguous,
        aligned, of the geometry's shapes, and `out` apart from the others. num_threads: a positive int, or None for the
        default. grown: called without arguments after other weights were packed and kept.
        """
        cdef Plan plan = self.plan
        cdef int threads
        cdef npy_intp batch
        cdef PackedWeights found
        if not (arrays_is_plain_batch(x, plan.numpy_dtype, plan.ndim, plan.x_sizes)
                and arrays_is_plain(kernel, plan.weight_dtype, plan.ndim, self.kernel_sizes)
                and (bias is None or arrays_is_plain(bias, plan.weight_dtype, 1, &self.outputs))):
            return NotImplemented
        batch = arrays_batch(x)
        if out is not None and not is_plain_out(plan, batch, x, kernel, bias, out):
            return NotImplemented
        threads = load_default_threads() if num_threads is None else read_threads(num_threads)
        cdef const void *x_at = arrays_data(x)
        same = batch == plan.x_sizes[0]
        if out is None:
            out = new_output(plan, x_at) if same else new_output_of(plan, batch, x_at)
        found = self.packed(kernel, bias, x_at, arrays_data(out))
        if found is None:
            found = self.pack(kernel, bias, x_at, arrays_data(out))
            grown()
        if same:
            run_kernel(found.plan, x, out, threads)
        else:
            run_batch(found.plan, batch, x, out, threads)
        return out


cdef bint is_plain_out(Plan plan, npy_intp batch, object x, object kernel, object bias, object out) except -1:
    return (
        arrays_is_plain_batch(out, plan.numpy_dtype, plan.ndim, plan.y_sizes) and arrays_batch(out) == batch
        and arrays_is_writeable(out)
        and apart(arrays_data(out), arrays_bytes(out), arrays_data(x), arrays_bytes(x))
        and apart(arrays_data(out), arrays_bytes(out), arrays_data(kernel), arrays_bytes(kernel))
        and (bias is None or apart(arrays_data(out), arrays_bytes(out), arrays_data(bias), arrays_bytes(bias)))
    )


cdef bint is_plain_setting(object value):
    """Whether a value is equal to no value of another type that means something else, as True and 1 are."""
    if PyTuple_CheckExact(value):
        for item in <tuple>value:
            if not is_plain_setting(item):
                return False
        return True
    return value is None or PyLong_CheckExact(value) or PyUnicode_CheckExact(value)


def spelling(x, kernel, bias, tuple settings not None):
    """A key for the calls of the same dtype and geometry in the same words: the sizes of x but for its batch, those of
    the kernel, and the settings. None if x, kernel and bias (or None) are not arrays of the same dtype, or a setting is
    more than a number, a word or None.
    """
    cdef npy_intp sizes[MOST_SIZES]
    cdef int type_number, count = 0
    if arrays_is_exact(x) and arrays_is_exact(kernel):
        count = arrays_sizes(x, kernel, sizes, MOST_SIZES)
    if count == 0:
        return None
    type_number = arrays_type(x)
    if arrays_type(kernel) != type_number:
        return None
    if bias is not None and not (arrays_is_exact(bias) and arrays_type(bias) == type_number):
        return None
    if not is_plain_setting(settings):
        return None
    return PyBytes_FromStringAndSize(<char *>sizes, count * sizeof(sizes[0])), type_number, settings
