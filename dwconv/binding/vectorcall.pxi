# Calls of instances without a tuple of arguments and a dict of keywords (PEP 590), which Cython has for functions only.

cdef extern from "Python.h":
    ctypedef PyObject *(*vectorcallfunc)(PyObject *, PyObject *const *, size_t, PyObject *)
    Py_ssize_t PyVectorcall_NARGS(size_t nargsf)
    ctypedef struct PyTypeObject:
        void *tp_call
    PyTypeObject *Py_TYPE(object self)


@cython.auto_pickle(False)
cdef class Vectorcallable:
    """Has the pointer that CPython calls, which a derived class sets in __cinit__."""

    cdef vectorcallfunc vectorcall


cdef void enable_vectorcall(type kind):
    cdef Vectorcallable probe = Vectorcallable.__new__(Vectorcallable)
    arrays_enable_vectorcall(kind, <char *>&probe.vectorcall - <char *><PyObject *>probe)


cdef object call_with_tuple(object self, PyObject **args, Py_ssize_t count, PyObject *names):
    """The call as everywhere else, by the type's __call__: for unusual arguments, which are an error mostly."""
    cdef Py_ssize_t i
    positional = tuple([<object>args[i] for i in range(count)])
    if names == NULL:
        return type(self).__call__(self, *positional)
    keywords = {name: <object>args[count + i] for i, name in enumerate(<tuple>names)}
    return type(self).__call__(self, *positional, **keywords)
