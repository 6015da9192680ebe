/* core_functions.h - how a module in C++ beside dwconv._core finds the functions of the C core: in the table of C functions
 * that Cython writes into that module (`__pyx_capi__`), so that there is one core in a process. */
#ifndef DW_CORE_FUNCTIONS_H
#define DW_CORE_FUNCTIONS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

namespace dwconv {

/* The table, a new reference; null with an exception. */
inline PyObject *core_functions() {
    PyObject *module = PyImport_ImportModule("dwconv._core");
    if (module == nullptr) return nullptr;
    PyObject *table = PyObject_GetAttrString(module, "__pyx_capi__");
    Py_DECREF(module);
    return table;
}

/* One of them; false with an exception. user: the module that asks, for the message. */
template <typename Function> bool find(PyObject *table, const char *user, const char *name, Function *function) {
    PyObject *capsule = PyDict_GetItemString(table, name); /* borrowed */
    if (capsule == nullptr) {
        PyErr_Format(PyExc_ImportError, "%s: expected %s in dwconv._core; both must be of one version", user, name);
        return false;
    }
    void *at = PyCapsule_GetPointer(capsule, PyCapsule_GetName(capsule));
    *function = reinterpret_cast<Function>(at);
    return at != nullptr;
}

} /* namespace dwconv */

#endif
