/* isa.c - finds instruction sets, and lists their kernels. */
#include "isa.h"

static const dw_instruction_set *const all[] = {
#define ADDRESS(name) &dw_isa_##name,
    DW_INSTRUCTION_SETS(ADDRESS)
#undef ADDRESS
};
enum { COUNT = sizeof all / sizeof *all };

static const dw_instruction_set *find(dw_isa isa) {
    for (int i = 0; i < COUNT; i++)
        if (all[i]->id == isa) return all[i];
    return NULL;
}

static int usable(const dw_instruction_set *set) {
    return set->compiled && (dw_cpu_flags() & set->needs) == set->needs;
}

const dw_instruction_set *dw_isa_select(dw_isa isa) {
    if (isa == DW_ISA_AUTO) isa = dw_isa_best();
    const dw_instruction_set *set = find(isa);
    return set && usable(set) ? set : NULL;
}

/* ---- the public functions -------------------------------------------------------------------------- */

const char *dw_isa_name(dw_isa isa) {
    const dw_instruction_set *set = find(isa);
    return set ? set->name : NULL;
}

int dw_isa_compiled(dw_isa isa) {
    const dw_instruction_set *set = find(isa);
    return set && set->compiled;
}

int dw_isa_available(dw_isa isa) {
    const dw_instruction_set *set = find(isa);
    return set && usable(set);
}

dw_isa dw_isa_best(void) {
    for (int i = 0; i < COUNT; i++)
        if (usable(all[i])) return all[i]->id;
    return DW_ISA_PORTABLE; /* it needs nothing, so the loop has found it */
}

/* ---- the list of kernels --------------------------------------------------------------------------- */

static const char *variant_of(int flavour) {
    switch (flavour) {
    case 0: return "plain";
    case DW_MULTIPLIER: return "multiplier";
    case DW_FOLDED: return "folded";
    case DW_FOLDED | DW_MULTIPLIER: return "folded_multiplier";
    case DW_FOLDED | DW_MASKED: return "masked";
    case DW_FOLDED | DW_MASKED | DW_MULTIPLIER: return "masked_multiplier";
    case DW_INTERLEAVED: return "interleaved";
    case DW_CROSS_PIXEL: return "cross_pixel";
    case DW_SUMS * 2: return "multiplier2";
    case DW_SUMS * 3: return "multiplier3";
    case DW_SUMS * 4: return "multiplier4";
    case DW_SUMS * 8: return "multiplier8";
    }
    return "unknown";
}

/* Counts down *index; returns whether it has reached the kernel that is asked for. */
static int reached(int *index) { return (*index)-- == 0; }

static int nhwc_kernel_at(const dw_nhwc_table *table, int *index, dw_kernel_info *info) {
    info->family = DW_KERNEL_NHWC;
    info->lanes = table->lanes;
    if (reached(index)) {
        info->name = table->general_name;
        return 1;
    }
    for (const dw_tile *tile = table->tiles; tile->name; tile++) {
        if (!reached(index)) continue;
        info->name = tile->name;
        info->variant = tile->kernel_h ? variant_of(tile->flavour) : "wide";
        info->kernel_h = tile->kernel_h;
        info->kernel_w = tile->kernel_w;
        info->stride = tile->stride;
        info->tile_h = tile->tile_h;
        info->tile_w = tile->tile_w;
        return 1;
    }
    return 0;
}

static int nchw_kernel_at(const dw_nchw_table *table, int *index, dw_kernel_info *info) {
    info->family = DW_KERNEL_NCHW;
    info->lanes = table->lanes;
    if (reached(index)) {
        info->name = table->general_name;
        return 1;
    }
    for (const dw_nchw_kernel *kernel = table->kernels; kernel->name; kernel++) {
        if (!reached(index)) continue;
        info->name = kernel->name;
        info->variant = "plain";
        info->kernel_h = kernel->kernel_h;
        info->kernel_w = kernel->kernel_w;
        info->stride = kernel->stride;
        info->tile_w = table->lanes;
        return 1;
    }
    return 0;
}

static int grad_kernel_at(const dw_grad_table *table, int *index, dw_kernel_info *info) {
    info->lanes = table->lanes;
    info->family = DW_KERNEL_GRAD_INPUT;
    for (const dw_grad_tile *tile = table->tiles; tile->name; tile++) {
        if (!reached(index)) continue;
        info->name = tile->name;
        info->variant = "plain";
        info->kernel_w = tile->kernel_w;
        info->stride = tile->stride;
        info->tile_h = 1;
        info->tile_w = tile->cells * tile->stride;
        return 1;
    }
    info->family = DW_KERNEL_GRAD_KERNEL;
    for (const dw_grad_window *window = table->windows; window->name; window++) {
        if (!reached(index)) continue;
        info->name = window->name;
        info->variant = "plain";
        info->kernel_h = window->rows;
        info->kernel_w = window->kernel_w;
        info->stride = window->stride;
        info->tile_h = 1;
        info->tile_w = window->outputs;
        return 1;
    }
    return 0;
}

int dw_kernel_at(dw_isa isa, dw_dtype dtype, int index, dw_kernel_info *info) {
    const dw_instruction_set *set = find(isa);
    if (!info || !set || dtype < DW_F32 || dtype >= DW_DTYPE_COUNT || index < 0) return 0;
    *info = (dw_kernel_info){.variant = "general", .registers = set->registers};
    if (!set->nhwc[dtype]) return 0;
    if (nhwc_kernel_at(set->nhwc[dtype], &index, info)) return 1;
    if (set->nchw[dtype] && nchw_kernel_at(set->nchw[dtype], &index, info)) return 1;
    /* Narrower vectors that are no instruction set by themselves. */
    const dw_instruction_set *narrower = set->narrower;
    const dw_nchw_table *planar = narrower && narrower->id == set->id ? narrower->nchw[dtype] : NULL;
    if (planar && nchw_kernel_at(planar, &index, info)) return 1;
    return set->grad[dtype] && grad_kernel_at(set->grad[dtype], &index, info);
}
