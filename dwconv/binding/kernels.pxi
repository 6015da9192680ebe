"""The list of compiled kernels; included by _core.pyx, whose ISA_NAMES it uses."""

cdef extern from "dwconv.h" nogil:
    ctypedef enum dw_kernel_family:
        DW_KERNEL_FAMILY_COUNT
    ctypedef struct dw_kernel_info:
        const char *name
        dw_kernel_family family
        const char *variant
        int kernel_h, kernel_w, stride, tile_h, tile_w, lanes, registers
    int dw_kernel_at(dw_isa isa, dw_dtype dtype, int index, dw_kernel_info *info)


# In the order of dw_kernel_family.
cdef tuple KERNEL_FAMILIES = ("nhwc", "nchw", "grad_input", "grad_kernel")
cdef dict KERNEL_DTYPES = {"float32": DW_F32, "float64": DW_F64, "int32": DW_I32, "float16": DW_F16,
                            "bfloat16": DW_BF16}


def kernels(str isa, str dtype):
    """The kernels of one of ISA_NAMES for 'float32', 'float64', 'int32', 'float16' or 'bfloat16', as dicts with the fields of dw_kernel_info in
    csrc/dwconv.h; those of the same variant and size in order of preference.

    An instruction set of another processor has its kernels listed, too; their `lanes` are 0.
    """
    cdef dw_kernel_info info
    cdef dw_isa isa_id = <dw_isa><int>ISA_NAMES.index(isa)
    cdef dw_dtype dtype_id = KERNEL_DTYPES[dtype]
    found = []
    while dw_kernel_at(isa_id, dtype_id, <int>len(found), &info):
        found.append({
            "name": info.name.decode(),
            "family": KERNEL_FAMILIES[<int>info.family],
            "variant": info.variant.decode(),
            "kernel_h": info.kernel_h,
            "kernel_w": info.kernel_w,
            "stride": info.stride,
            "tile_h": info.tile_h,
            "tile_w": info.tile_w,
            "lanes": info.lanes,
            "registers": info.registers,
        })
    return found
