/* numpy_api.h - what _core.pyx needs of NumPy's C API, and of CPython's: a few lines each that Cython cannot say, or
 * not without the cost of its general mechanisms (a typed memoryview of an array takes 200 ns). */
#ifndef DWCONV_NUMPY_API_H
#define DWCONV_NUMPY_API_H

#define NPY_NO_DEPRECATED_API NPY_1_7_API_VERSION
#define NPY_TARGET_VERSION NPY_1_23_API_VERSION
#include <Python.h>
#include <numpy/arrayobject.h>
#include <string.h>

/* Whether x is an array as a kernel takes it, but for its first size, the batch: of exactly this dtype (identity: native
 * byte order, too) and these sizes, C-contiguous and aligned; no subclass, which may mean anything by itself. */
static inline int arrays_is_plain_batch(PyObject *x, PyObject *dtype, int ndim, const npy_intp *sizes) {
    if (!PyArray_CheckExact(x)) return 0;
    PyArrayObject *array = (PyArrayObject *)x;
    if ((PyObject *)PyArray_DESCR(array) != dtype || PyArray_NDIM(array) != ndim) return 0;
    for (int i = 1; i < ndim; i++)
        if (PyArray_DIMS(array)[i] != sizes[i]) return 0;
    return PyArray_CHKFLAGS(array, NPY_ARRAY_C_CONTIGUOUS | NPY_ARRAY_ALIGNED);
}

/* The same with the first size. */
static inline int arrays_is_plain(PyObject *x, PyObject *dtype, int ndim, const npy_intp *sizes) {
    return arrays_is_plain_batch(x, dtype, ndim, sizes) && PyArray_DIMS((PyArrayObject *)x)[0] == sizes[0];
}

/* The sizes of x but for the first one, then those of the kernel; how many. 0 if there are more than `most`, or if either
 * gives none: the sizes of an array without dimensions are a null pointer, which memcpy must not be given. */
static inline int arrays_sizes(PyObject *x, PyObject *kernel, npy_intp *sizes, int most) {
    const int of_x = PyArray_NDIM((PyArrayObject *)x) - 1, of_kernel = PyArray_NDIM((PyArrayObject *)kernel);
    if (of_x < 1 || of_kernel < 1 || of_x + of_kernel > most) return 0;
    memcpy(sizes, PyArray_DIMS((PyArrayObject *)x) + 1, (size_t)of_x * sizeof *sizes);
    memcpy(sizes + of_x, PyArray_DIMS((PyArrayObject *)kernel), (size_t)of_kernel * sizeof *sizes);
    return of_x + of_kernel;
}

/* NumPy's number of an array's dtype, in any byte order. */
static inline int arrays_type(PyObject *x) { return PyArray_TYPE((PyArrayObject *)x); }

/* The first size of an array of one or more dimensions. */
static inline npy_intp arrays_batch(PyObject *x) { return PyArray_DIMS((PyArrayObject *)x)[0]; }

static inline int arrays_is_writeable(PyObject *x) { return PyArray_ISWRITEABLE((PyArrayObject *)x); }

static inline void *arrays_data(PyObject *x) { return PyArray_DATA((PyArrayObject *)x); }

static inline size_t arrays_bytes(PyObject *x) { return (size_t)PyArray_NBYTES((PyArrayObject *)x); }

static inline int arrays_is_array(PyObject *x) { return PyArray_Check(x); }

static inline int arrays_is_exact(PyObject *x) { return PyArray_CheckExact(x); }

static inline int arrays_is_c_contiguous(PyObject *x) { return PyArray_IS_C_CONTIGUOUS((PyArrayObject *)x); }

static inline int arrays_is_aligned(PyObject *x) { return PyArray_ISALIGNED((PyArrayObject *)x); }

/* Whether the elements are the same in memory: of another character (int and long), or with metadata, but not in
 * another byte order. */
static inline int arrays_have_dtype(PyObject *x, PyObject *dtype) {
    return PyArray_EquivTypes(PyArray_DESCR((PyArrayObject *)x), (PyArray_Descr *)dtype);
}

/* A view of NumPy's own class: its sizes are those of the struct, whatever the subclass says. */
static inline PyObject *arrays_base_class_view(PyObject *x) {
    return PyArray_View((PyArrayObject *)x, NULL, &PyArray_Type);
}

/* An array over the memory of a memoryview, which it keeps. None if NumPy has no dtype for its format, and would copy. */
static inline PyObject *arrays_of_buffer(PyObject *view) {
    PyObject *array = PyArray_FromAny(view, NULL, 0, 0, 0, NULL);
    if (!array || PyArray_DATA((PyArrayObject *)array) == PyMemoryView_GET_BUFFER(view)->buf) return array;
    Py_DECREF(array);
    Py_RETURN_NONE;
}

static inline PyObject *arrays_dtype(int type_number) { return (PyObject *)PyArray_DescrFromType(type_number); }

/* What to keep while a kernel uses the memory of x without the GIL, besides x: NumPy's resize moves the memory of an
 * array that nothing refers to as far as it can tell, or whatever refers to it if refcheck=False, unless there is a weak
 * reference to it. None where the memory is not an array's own. */
static inline PyObject *arrays_pin(PyObject *x) {
    PyObject *base;
    while ((base = PyArray_BASE((PyArrayObject *)x)) && PyArray_Check(base)) x = base;
    if (!PyArray_CHKFLAGS((PyArrayObject *)x, NPY_ARRAY_OWNDATA)) Py_RETURN_NONE;
    return PyWeakref_NewRef(x, NULL);
}

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

#endif
