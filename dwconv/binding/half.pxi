# Casts between float32 and float16 that take no longer for some values than for others: half.h.

cdef extern from "binding/half.h" nogil:
    void halfs_of_floats(const void *source, void *target, size_t count)
    void floats_of_halfs(const void *source, void *target, size_t count)

cdef extern from "binding/numpy_api.h":
    int NPY_FLOAT16

cdef object HALF = arrays_dtype(NPY_FLOAT16)
cdef object SINGLE = arrays_dtype(NPY_FLOAT32)


cdef dw_dtype stored_dtype(object dtype, dw_dtype weights) except *:
    """The core's name for the dtype of x and y, None for that of the weights. TypeError for one that it does not store
    beside such weights.
    """
    cdef dw_dtype found
    if dtype is None:
        return weights
    if dtype == HALF:
        found, wanted = DW_F16, DW_F32
    elif dtype.kind == "V" and dtype.name == "bfloat16":  # of ml_dtypes
        found, wanted = DW_BF16, DW_F32
    else:
        found = wanted = core_dtype("dtype", dtype)
    if weights != wanted:
        raise TypeError(f"kernel: expected dtype {NUMPY_DTYPES[wanted]} beside {dtype}; received {NUMPY_DTYPES[weights]}")
    return found


def cast_half(source, target):
    """target[...] = source, of the same shape, where one is float16 and the other float32: whether that has been done.
    It is not for other dtypes, for what is not C-contiguous, aligned and in native byte order, for subclasses, and for
    arrays that share memory. Nothing but the casts themselves sees the values, no flag, no rounding mode.
    """
    if not (arrays_is_exact(source) and arrays_is_exact(target)):
        return False
    cdef bint to_half = arrays_have_dtype(target, HALF)
    if not (arrays_have_dtype(source, SINGLE) if to_half else arrays_have_dtype(source, HALF)):
        return False
    if not (to_half or arrays_have_dtype(target, SINGLE)):
        return False
    if not (arrays_is_c_contiguous(source) and arrays_is_c_contiguous(target)):
        return False
    if not (arrays_is_aligned(source) and arrays_is_aligned(target) and arrays_is_writeable(target)):
        return False
    cdef size_t count = arrays_bytes(source) // (4 if to_half else 2)
    if source.shape != target.shape or arrays_bytes(target) != count * (2 if to_half else 4):
        return False
    pins = arrays_pin(source), arrays_pin(target)
    cdef const void *read = arrays_data(source)
    cdef void *written = arrays_data(target)
    if not apart(written, arrays_bytes(target), read, arrays_bytes(source)):
        return False
    with nogil:
        if to_half:
            halfs_of_floats(read, written, count)
        else:
            floats_of_halfs(read, written, count)
    return True
