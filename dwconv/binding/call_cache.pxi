# The fast path: how a call reaches its kernel without a line of Python.
#
# A layer publishes the plans whose kernel is all there is to do for images of one size, in any number. Its call looks through them, a few
# comparisons each, allocates the output and runs the kernel: 0.2 us before the work begins, where Python takes ten times
# as long. Any other call goes to a method that the derived class in Python defines: `_call` of a layer, `_apply` of a
# plan. That is the only way up from here, and it is an override: nothing here knows the modules above.
#
# What must not be broken: a layer replaces its `PublishedPlans` and never changes the plans in it, so a call that runs
# while another thread sets weights computes with the old ones to the end. Objects may call a method of their class
# instead of the vectorcallfunc (a subclass with a __call__ of its own), which must do the same.


@cython.auto_pickle(False)  # the layer's classes know how
cdef class PublishedPlans:
    """The plans that a layer's call looks through: none or a few, the most likely first."""

    cdef tuple plans

    def __cinit__(self, *_, **__):
        self.plans = ()

    def publish(self, plans):
        """Replaces the published plans by the kernels of those `PlanCall`s that are a kernel only. They are used for
        any batch; those of an empty batch, which cannot be, are left out.
        """
        found = tuple([
            (<PlanCall?>call).kernel for call in plans
            if (<PlanCall?>call).is_kernel_only and (<PlanCall>call).kernel.x_sizes[0] > 0
        ])
        with cython.critical_section(self):
            self.plans = found

    cdef tuple current(self):
        with cython.critical_section(self):
            return self.plans


# ---- layers ---------------------------------------------------------------------------------------------------------

cdef tuple OUT = ("out",)
cdef tuple TRAINING = ("training",)
cdef object MISSING = object()


@cython.auto_pickle(False)
cdef class PlannedLayer(Vectorcallable):
    """The base class of layers: a call looks for a plan of the present weights, and goes to `_call(x)`, which the
    layer defines, where there is none that takes x as it is.

    `_plans` is None or a PublishedPlans.
    """

    cdef PublishedPlans plans_

    def __cinit__(self, *_, **__):
        self.vectorcall = <vectorcallfunc>layer_vectorcall

    @property
    def _plans(self):
        with cython.critical_section(self):
            return self.plans_

    @_plans.setter
    def _plans(self, PublishedPlans value):
        with cython.critical_section(self):
            self.plans_ = value

    def __call__(self, inputs=MISSING, *, x=MISSING, training=None, num_threads=None):
        """The output for `inputs`, which may also be called x; see the class.

        training: as in Keras; it makes no difference to a convolution. num_threads: of this call, a positive int, or
        None for the layer's.
        """
        if (inputs is MISSING) == (x is MISSING):
            raise TypeError("expected one input, the first argument, inputs=... or x=...")
        array = x if inputs is MISSING else inputs
        return call_layer(self, array) if num_threads is None else self._call(array, num_threads)


cdef object call_layer(PlannedLayer layer, object x):
    cdef PublishedPlans published
    cdef Plan plan
    cdef npy_intp batch
    with cython.critical_section(layer):
        published = layer.plans_
    if published is not None:
        for item in published.current():
            plan = <Plan>item
            if arrays_is_plain_batch(x, plan.numpy_dtype, plan.ndim, plan.x_sizes):
                batch = arrays_batch(x)
                if batch == plan.x_sizes[0]:
                    y = new_output(plan, arrays_data(x))
                    run_kernel(plan, x, y, threads_of(plan))
                else:
                    y = new_output_of(plan, batch, arrays_data(x))
                    run_batch(plan, batch, x, y, threads_of(plan))
                return y
    return layer._call(x)


cdef object layer_vectorcall(object self, PyObject **args, size_t nargsf, PyObject *names):
    cdef Py_ssize_t count = PyVectorcall_NARGS(nargsf)
    if count == 1 and Py_TYPE(self).tp_call == LAYER_CALL and (names == NULL or <object>names == TRAINING):
        return call_layer(<PlannedLayer>self, <object>args[0])
    return call_with_tuple(self, args, count, names)


# ---- plans of layers ------------------------------------------------------------------------------------------------

@cython.auto_pickle(False)
cdef class PlanCall(Vectorcallable):
    """The base class of dwconv.ops.BoundPlan: a kernel, and whether it is all there is to do.

    If it is, a call with arrays that the kernel takes as they are runs it. Every other call goes to
    `_apply(x, out, num_threads)`, which the derived class defines.
    """

    cdef readonly Plan kernel
    cdef readonly bint is_kernel_only

    def __cinit__(self, *_, **__):
        self.vectorcall = <vectorcallfunc>plan_vectorcall

    def __init__(self, Plan kernel not None, bint is_kernel_only):
        self.kernel = kernel
        self.is_kernel_only = is_kernel_only

    def __call__(self, x, out=None, *, num_threads=None):
        """The output for x, of `x_shape`; in `out`, which is returned, or a new array with recycled memory.

        num_threads: of this call, a positive int, or None for the plan's.
        """
        return call_plan(self, x, out, num_threads)


cdef object call_plan(PlanCall call, object x, object out, object num_threads):
    """The kernel if it is all there is to do for these arrays, else _apply."""
    cdef Plan plan = call.kernel
    if plan is None:
        raise TypeError("expected a plan made by a layer; received one without a kernel")
    cdef int threads = threads_of(plan) if num_threads is None else read_threads(num_threads)
    if call.is_kernel_only and arrays_is_plain(x, plan.numpy_dtype, plan.ndim, plan.x_sizes):
        if out is None:
            out = new_output(plan, arrays_data(x))
            run_kernel(plan, x, out, threads)
            return out
        if (
            arrays_is_plain(out, plan.numpy_dtype, plan.ndim, plan.y_sizes)
            and arrays_is_writeable(out)
            and apart(arrays_data(x), plan.x_bytes, arrays_data(out), plan.y_bytes)
        ):
            run_kernel(plan, x, out, threads)
            return out
    return call._apply(x, out, threads)


cdef object plan_vectorcall(object self, PyObject **args, size_t nargsf, PyObject *names):
    """What type.__call__ does for a PlanCall, without a tuple and a dict."""
    cdef Py_ssize_t count = PyVectorcall_NARGS(nargsf)
    if Py_TYPE(self).tp_call != PLAN_CALL:
        return call_with_tuple(self, args, count, names)
    if names == NULL:
        if count == 1:
            return call_plan(<PlanCall>self, <object>args[0], None, None)
        if count == 2:
            return call_plan(<PlanCall>self, <object>args[0], <object>args[1], None)
    elif count == 1 and <object>names == OUT:
        return call_plan(<PlanCall>self, <object>args[0], <object>args[1], None)
    return call_with_tuple(self, args, count, names)


enable_vectorcall(PlanCall)
enable_vectorcall(PlannedLayer)

# What calls an instance of a class that has, or inherits, the __call__ here. A class gets another one with a __call__ of
# its own, also when somebody assigns that later, which CPython before 3.12 does not tell the vectorcall.
cdef void *PLAN_CALL = (<PyTypeObject *>PlanCall).tp_call
cdef void *LAYER_CALL = (<PyTypeObject *>PlannedLayer).tp_call


def enable_fast_calls(kind):
    """A decorator of a class derived from PlanCall or PlannedLayer that leaves __call__ alone: its calls go the short
    way. CPython inherits that from 3.12 on.
    """
    if not issubclass(kind, (PlanCall, PlannedLayer)) or (<PyTypeObject *>kind).tp_call not in (PLAN_CALL, LAYER_CALL):
        raise TypeError(f"expected a class that inherits __call__ of PlanCall or PlannedLayer; received {kind!r}")
    enable_vectorcall(kind)
    return kind
