# The arrays that callers hand to the core. Everything a kernel is told of one (its address, its sizes) comes from one
# place, the C struct of an array of NumPy's own class, and what that array stands on is held until the kernel ends.
# Python attributes are never asked: a subclass may answer anything.

import numpy as _numpy

cdef extern from "binding/numpy_api.h":
    bint arrays_is_array(object x)
    bint arrays_is_exact(object x)
    object arrays_base_class_view(object array)
    object arrays_of_buffer(object view)
    bint arrays_have_dtype(object array, object dtype)
    bint arrays_have_sizes(object array, int ndim, const npy_intp *sizes)
    bint arrays_is_c_contiguous(object array)
    bint arrays_is_aligned(object array)
    size_t arrays_bytes(object array)
    object arrays_pin(object array)
    object arrays_dtype(int type_number)
    int NPY_FLOAT32, NPY_FLOAT64, NPY_INT32


cdef type MASKED = _numpy.ma.MaskedArray
cdef type BOOL = _numpy.bool_


cdef object as_array(str name, object guest):
    """An array of NumPy's own class over the memory of `guest`: an array, a subclass or anything with the buffer
    protocol or DLPack's, which the result holds. TypeError, which begins with `name`, for another object and for a
    masked array, whose mask a kernel would not see.
    """
    if arrays_is_exact(guest):
        return guest
    if arrays_is_array(guest):
        if isinstance(guest, MASKED):
            raise TypeError(f"{name}: expected an array without a mask; received a masked array")
        return arrays_base_class_view(guest)
    try:
        view = memoryview(guest)
    except TypeError:
        if not hasattr(guest, "__dlpack__"):
            raise TypeError(
                f"{name}: expected a NumPy array or another object with the buffer protocol or DLPack's; "
                f"received {type(guest).__name__}"
            ) from None
        try:
            return _numpy.from_dlpack(guest)
        except (BufferError, RuntimeError, ValueError, TypeError) as error:
            raise TypeError(f"{name}: expected an array for the CPU; received {error}") from None
    try:
        array = arrays_of_buffer(view)
    except (TypeError, ValueError, RuntimeError):
        array = None
    if array is None:
        raise TypeError(f"{name}: expected a buffer of numbers; received one of format {view.format!r}")
    return array


cdef object operand(str name, object guest, object dtype, tuple shape, bint written):
    """as_array(name, guest) as a kernel takes it: of that dtype and shape (None: of any), C-contiguous, aligned and, if
    it is to be written, writable. Else TypeError for its type or dtype, ValueError for the rest.
    """
    array = as_array(name, guest)
    if shape is not None and array.shape != shape:
        raise ValueError(f"{name}: expected shape {shape}; received shape {array.shape}")
    if not arrays_have_dtype(array, dtype):
        received = array.dtype if array.dtype.isnative else array.dtype.str
        raise TypeError(f"{name}: expected dtype {dtype}; received dtype {received}")
    if not arrays_is_c_contiguous(array):
        raise ValueError(f"{name}: expected a C-contiguous array; received strides {array.strides} in bytes")
    if not arrays_is_aligned(array):
        raise ValueError(f"{name}: expected an array aligned to its elements; received an unaligned one")
    if written and not arrays_is_writeable(array):
        raise ValueError(f"{name}: expected a writable array; received a read-only one")
    return array


cdef int check_apart(str name, object written, str other_name, object other) except -1:
    """ValueError if an operand that is written shares memory with another one."""
    if not apart(arrays_data(written), arrays_bytes(written), arrays_data(other), arrays_bytes(other)):
        raise ValueError(
            f"{name}: expected an array apart from {other_name}; received one that shares memory with it"
        )
    return 0


cdef inline bint apart(const void *a, size_t a_bytes, const void *b, size_t b_bytes):
    return <uintptr_t>a + a_bytes <= <uintptr_t>b or <uintptr_t>b + b_bytes <= <uintptr_t>a


# The dtypes that the core computes in, by kind and size: NumPy's int32 has another character on Windows.
cdef dict DTYPES = {("f", 4): DW_F32, ("f", 8): DW_F64, ("i", 4): DW_I32}
cdef tuple NUMPY_DTYPES = (arrays_dtype(NPY_FLOAT32), arrays_dtype(NPY_FLOAT64), arrays_dtype(NPY_INT32))


cdef dw_dtype core_dtype(str name, object dtype) except *:
    """The core's name for a NumPy dtype. TypeError for one that it does not compute in."""
    found = DTYPES.get((dtype.kind, dtype.itemsize)) if dtype.isnative else None
    if found is None:
        raise TypeError(f"{name}: expected dtype float32, float64 or int32; received {dtype}")
    return found
