# The memory of outputs: arrays over blocks of block_cache.h.

import os as _os

cimport cython

cdef extern from "binding/block_cache.h":
    enum:
        BLOCK_CACHE_LINE
    int block_cache_class(size_t bytes)
    size_t block_cache_class_bytes(int size_class)
    void *block_cache_take(int size_class)
    void block_cache_put(void *memory, int size_class)
    void block_cache_set_limit(size_t bytes)
    size_t block_cache_trim()
    size_t block_cache_idle()
    void block_cache_lock()
    void block_cache_unlock()
    void block_cache_after_fork_in_child()

cdef extern from "binding/numpy_api.h":
    ctypedef Py_ssize_t npy_intp
    int _import_array() except -1
    bint arrays_is_plain(object x, object dtype, int ndim, const npy_intp *sizes)
    bint arrays_is_plain_batch(object x, object dtype, int ndim, const npy_intp *sizes)
    npy_intp arrays_batch(object x)
    bint arrays_is_writeable(object x)
    void *arrays_data(object x)
    object arrays_over(void *memory, object owner, object dtype, int ndim, const npy_intp *sizes)
    void arrays_enable_vectorcall(object type, Py_ssize_t offset)

_import_array()


@cython.final
@cython.freelist(32)
cdef class Memory:
    """The owner of an output's memory, `base` of the array: when nothing refers to either, nor to a view, the
    block goes back to the cache. Blocks are 64-byte aligned.
    """

    cdef void *at
    cdef int size_class

    def __dealloc__(self):
        if self.at != NULL:
            block_cache_put(self.at, self.size_class)


cdef object new_array(int size_class, int page_offset, dtype, int ndim, const npy_intp *sizes):
    """A new C-contiguous array over a block of the class; its values are what was there before. It begins at the
    block's first address that is `page_offset` modulo 4096, or, if that is negative, at its beginning.
    """
    cdef size_t offset
    memory = <Memory>Memory.__new__(Memory)
    memory.at = block_cache_take(size_class)
    if memory.at == NULL:
        raise MemoryError(f"an output of {block_cache_class_bytes(size_class)} bytes cannot be allocated")
    memory.size_class = size_class
    offset = (<size_t>page_offset - <size_t>memory.at) % 4096 if page_offset >= 0 else 0
    return arrays_over(<char *>memory.at + offset, memory, dtype, ndim, sizes)


def empty(tuple shape, dtype):
    """np.empty(shape, dtype), of up to 8 dimensions, with recycled memory. dtype: a NumPy dtype without objects."""
    cdef npy_intp sizes[8]
    cdef int i, ndim = len(shape)
    bytes = dtype.itemsize
    if ndim > 8 or dtype.hasobject:
        raise ValueError(f"expected up to 8 sizes and a dtype without objects; received {shape} and {dtype}")
    for i in range(ndim):
        sizes[i] = shape[i]
        bytes *= sizes[i]
    cdef int size_class = block_cache_class(bytes)
    if size_class < 0:
        raise MemoryError(f"an output of {bytes} bytes cannot be allocated")
    return new_array(size_class, -1, dtype, ndim, sizes)


def set_memory_limit(size_t limit):
    """How many bytes may lie idle; frees what is too much."""
    block_cache_set_limit(limit)


def idle_memory():
    """Bytes that lie idle."""
    return block_cache_idle()


def trim_memory():
    """Frees what lies idle; returns how many bytes."""
    return block_cache_trim()


def memory_class(size_t size):
    """(index of the size class, bytes of its blocks) for `size` bytes; index -1 if there is none."""
    cdef int size_class = block_cache_class(size)
    return size_class, block_cache_class_bytes(size_class) if size_class >= 0 else 0


def _before_fork():
    block_cache_lock()


def _after_fork_in_parent():
    block_cache_unlock()


def _after_fork_in_child():
    block_cache_after_fork_in_child()
    signals_after_fork_in_child()


# No thread may be inside of the cache when the memory is copied; with a GIL none is, without one these see to it.
if hasattr(_os, "register_at_fork"):
    _os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
    )
