# The definitions of what _core.pxd offers to other modules; included by _core.pyx.

cdef dw_status output_size(const dw_desc *desc, int64_t *oh, int64_t *ow) noexcept nogil:
    return dw_output_size(desc, oh, ow)


cdef dw_status plan_create(const dw_desc *desc, dw_isa isa, const void *kernel, const void *bias,
                           dw_plan **plan) noexcept nogil:
    return dw_plan_create(desc, isa, kernel, bias, plan)


cdef dw_status plan_with_weights(const dw_plan *plan, const void *kernel, const void *bias,
                                 dw_plan **out) noexcept nogil:
    return dw_plan_with_weights(plan, kernel, bias, out)


cdef dw_status plan_with_batch(const dw_plan *plan, int64_t batch, dw_plan **out) noexcept nogil:
    return dw_plan_with_batch(plan, batch, out)


cdef void plan_run_part(const dw_plan *plan, const void *x, void *y, int part, int parts) noexcept nogil:
    dw_plan_run_part(plan, x, y, part, parts)


cdef void plan_run(const dw_plan *plan, const void *x, void *y) noexcept nogil:
    dw_plan_run(plan, x, y)


cdef void plan_run_threads(const dw_plan *plan, const void *x, void *y, int num_threads) noexcept nogil:
    dw_plan_run_threads(plan, x, y, num_threads)


cdef int plan_threads(const dw_plan *plan, int num_threads) noexcept nogil:
    return dw_plan_threads(plan, num_threads)


cdef void plan_destroy(dw_plan *plan) noexcept nogil:
    dw_plan_destroy(plan)


cdef dw_status grad_create(const dw_desc *desc, dw_isa isa, const void *kernel, dw_grad **grad) noexcept nogil:
    return dw_grad_create(desc, isa, kernel, grad)


cdef int64_t grad_workspace(const dw_grad *grad, int num_threads) noexcept nogil:
    return dw_grad_workspace(grad, num_threads)


cdef int grad_threads(const dw_grad *grad, int num_threads) noexcept nogil:
    return dw_grad_threads(grad, num_threads)


cdef void grad_run_threads(const dw_grad *grad, const void *dy, const void *x, void *dx, void *dkernel, void *dbias,
                           void *workspace, int num_threads) noexcept nogil:
    dw_grad_run_threads(grad, dy, x, dx, dkernel, dbias, workspace, num_threads)


cdef dw_status grad_with_weights(const dw_grad *grad, const void *kernel, const void *bias, dw_grad **out) noexcept nogil:
    return dw_grad_with_weights(grad, kernel, bias, NULL, NULL, out)


cdef int64_t grad_rounds(const dw_grad *grad, int parts) noexcept nogil:
    return dw_grad_rounds(grad, parts)


cdef int64_t grad_parts_workspace(const dw_grad *grad, int parts) noexcept nogil:
    return dw_grad_parts_workspace(grad, parts)


cdef void grad_run_part(const dw_grad *grad, const void *dy, const void *x, void *dx, int with_weights,
                        void *workspace, int64_t round, int part, int parts) noexcept nogil:
    dw_grad_run_part(grad, dy, x, dx, with_weights, workspace, round, part, parts)


cdef void grad_end_round(const dw_grad *grad, void *dkernel, void *dbias, void *workspace, int64_t round,
                         int parts) noexcept nogil:
    dw_grad_end_round(grad, dkernel, dbias, workspace, round, parts)


cdef void grad_destroy(dw_grad *grad) noexcept nogil:
    dw_grad_destroy(grad)


cdef const char *status_text(dw_status status) noexcept nogil:
    return dw_status_text(status)


cdef const dw_plan *plan_of(object plan) except NULL:
    if isinstance(plan, Plan):
        return (<Plan>plan).plan
    if not isinstance(plan, PlanCall):
        raise TypeError(f"plan: expected what layer.plan(shape) returns; received {type(plan).__name__}")
    if not (<PlanCall>plan).is_kernel_only:
        raise TypeError("plan: expected one that is the kernel alone; received one that does more, see plan.describe()")
    return (<PlanCall>plan).kernel.plan


cdef const dw_grad *grad_of(object gradient) except NULL:
    if not isinstance(gradient, Gradient):
        raise TypeError(f"gradient: expected a Gradient; received {type(gradient).__name__}")
    return (<Gradient>gradient).grad
