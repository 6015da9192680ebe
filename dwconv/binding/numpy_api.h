/* numpy_api.h - what _core.pyx needs of NumPy's C API, and of CPython's: a few lines each that Cython cannot say, or
 * not without the cost of its general mechanisms (a typed memoryview of an array takes 200 ns). */
#ifndef DWCONV_NUMPY_API_H
#define DWCONV_NUMPY_API_H

#define NPY_NO_DEPRECATED_API NPY_1_7_API_VERSION
#define NPY_TARGET_VERSION NPY_1_23_API_VERSION
#include <Python.h>
#include <numpy/arrayobject.h>
#include <string.h>

/* Whether x is an array as a kernel takes it: of exactly this dtype (identity: native byte order, too) and these
 * sizes, C-contiguous and aligned; no subclass, which may mean anything by itself. */
static inline int arrays_is_plain(PyObject *x, PyObject *dtype, const npy_intp *sizes) {
    if (!PyArray_CheckExact(x)) return 0;
    PyArrayObject *array = (PyArrayObject *)x;
    return (PyObject *)PyArray_DESCR(array) == dtype && PyArray_NDIM(array) == 4 &&
           memcmp(PyArray_DIMS(array), sizes, 4 * sizeof *sizes) == 0 &&
           PyArray_CHKFLAGS(array, NPY_ARRAY_C_CONTIGUOUS | NPY_ARRAY_ALIGNED);
}

static inline int arrays_is_writeable(PyObject *x) { return PyArray_ISWRITEABLE((PyArrayObject *)x); }

static inline void *arrays_data(PyObject *x) { return PyArray_DATA((PyArrayObject *)x); }

/* A new array over `memory`, which `owner` keeps. */
static inline PyObject *arrays_over(void *memory, PyObject *owner, PyObject *dtype, int ndim, const npy_intp *sizes) {
    Py_INCREF(dtype);
    PyObject *array = PyArray_NewFromDescr(&PyArray_Type, (PyArray_Descr *)dtype, ndim, (npy_intp *)sizes, NULL,
                                           memory, NPY_ARRAY_CARRAY, NULL);
    if (!array) return NULL;
    Py_INCREF(owner);
    if (PyArray_SetBaseObject((PyArrayObject *)array, owner) < 0) {
        Py_DECREF(array);
        return NULL;
    }
    return array;
}

/* Makes calls of a type's instances go to the vectorcallfunc at `offset` in each, which must do what tp_call does:
 * no tuple, no dict. Python classes derived from it inherit that from CPython 3.12 on. */
static inline void arrays_enable_vectorcall(PyObject *type, Py_ssize_t offset) {
#ifndef PYPY_VERSION
    ((PyTypeObject *)type)->tp_vectorcall_offset = offset;
    ((PyTypeObject *)type)->tp_flags |= Py_TPFLAGS_HAVE_VECTORCALL;
    PyType_Modified((PyTypeObject *)type);
#else
    (void)type, (void)offset;
#endif
}

/* Reading and writing an attribute that other threads write, where no GIL keeps them apart. */
static inline PyObject *arrays_load(PyObject *owner, PyObject **attribute) {
    PyObject *value;
#ifdef Py_GIL_DISABLED
    Py_BEGIN_CRITICAL_SECTION(owner);
#else
    (void)owner;
#endif
    value = *attribute;
    Py_INCREF(value);
#ifdef Py_GIL_DISABLED
    Py_END_CRITICAL_SECTION();
#endif
    return value;
}

static inline void arrays_store(PyObject *owner, PyObject **attribute, PyObject *value) {
    PyObject *old;
    Py_INCREF(value);
#ifdef Py_GIL_DISABLED
    Py_BEGIN_CRITICAL_SECTION(owner);
#else
    (void)owner;
#endif
    old = *attribute;
    *attribute = value;
#ifdef Py_GIL_DISABLED
    Py_END_CRITICAL_SECTION();
#endif
    Py_DECREF(old);
}

#endif
