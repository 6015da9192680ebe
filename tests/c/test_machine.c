/* test_machine.c - what the core makes of what a CPU tells.
 *
 *   cc -std=c11 -Icsrc tests/c/test_machine.c $(find csrc -name '*.c') -lm -pthread -o test_machine && ./test_machine
 *
 * Of CPUs that are not at hand, too: by registers as cpuid gives them there. */
#include <string.h>

#include "check.h"
#include "cpu.h"
#include "machine.h"
#include "tuning.h"

/* EAX, EBX, ECX of leaf 4 or 8000001D: type and level, line - 1 and ways - 1, sets - 1. */
static const struct {
    const char *cpu;
    unsigned entries[5][4];
    int64_t line, l1, l2, l3;
} cpus[] = {
    /* 32 KB 8 ways, 32 KB of instructions, 1 MB 16 ways, 22 MB 11 ways: Xeon Gold 6130 */
    {"Skylake",
     {{0x1c004121, 0x01c0003f, 0x3f},
      {0x1c004122, 0x01c0003f, 0x3f},
      {0x1c004143, 0x03c0003f, 0x3ff},
      {0x1c03c163, 0x0280003f, 0x7fff},
      {0}},
     64,
     32 << 10,
     1 << 20,
     22 << 20},
    /* 48 KB 12 ways, 32 KB of instructions, 1.25 MB 20 ways: Ice Lake; the list ends without L3 */
    {"Ice Lake",
     {{0xfc004121, 0x02c0003f, 0x3f}, {0xfc004122, 0x01c0003f, 0x3f}, {0xfc01c143, 0x04c0003f, 0x3ff}, {0}},
     64,
     48 << 10,
     1280 << 10,
     0},
    /* 32 KB 8 ways, 64 KB of instructions 4 ways, 512 KB 8 ways, 8 MB 16 ways: EPYC 7001 */
    {"Zen 1",
     {{0x00004121, 0x01c0003f, 0x3f},
      {0x00004122, 0x00c0003f, 0xff},
      {0x00004143, 0x01c0003f, 0x3ff},
      {0x0001c163, 0x03c0003f, 0x1fff},
      {0}},
     64,
     32 << 10,
     512 << 10,
     8 << 20},
};

static void test_entries(void) {
    for (size_t i = 0; i < sizeof cpus / sizeof *cpus; i++) {
        dw_cpu_info info;
        memset(&info, 0, sizeof info);
        int count = 0;
        while (dw_machine_take_cache(&info, cpus[i].entries[count])) count++;
        CHECK(count == (cpus[i].l3 ? 4 : 3));
        CHECK(info.line_bytes == cpus[i].line && info.l1_bytes == cpus[i].l1);
        CHECK(info.l2_bytes == cpus[i].l2 && info.l3_bytes == cpus[i].l3);
    }
    dw_cpu_info nonsense;
    memset(&nonsense, 0, sizeof nonsense);
    const unsigned all[4] = {3 | 3 << 5, 0xffffffff, 0xffffffff, 0};
    CHECK(dw_machine_take_cache(&nonsense, all) && nonsense.l3_bytes == 0);
}

/* By the model where it is known, else by what an Intel tells of its core. */
static void test_designs(void) {
    static const struct {
        const char *maker;
        int family, model, l1_kb;
        unsigned flags;
        const char *design;
    } known[] = {
        {"AuthenticAMD", 0x19, 0x11, 32, DW_CPU_AVX512F, "Zen 4"},
        {"AuthenticAMD", 0x1b, 0x00, 48, DW_CPU_AVX512F | DW_CPU_AVXVNNI, ""}, /* a family to come */
        {"GenuineIntel", 6, 106, 48, DW_CPU_AVX512F, "Ice Lake"},
        {"GenuineIntel", 6, 167, 48, DW_CPU_AVX512F, "Ice Lake"}, /* Rocket Lake */
        {"GenuineIntel", 6, 85, 32, DW_CPU_AVX512F, ""},          /* Skylake */
        {"GenuineIntel", 6, 207, 48, DW_CPU_AVX512F | DW_CPU_AVXVNNI, "Sapphire Rapids"},
        {"GenuineIntel", 6, 173, 48, DW_CPU_AVX512F | DW_CPU_AVXVNNI, "Sapphire Rapids"}, /* Granite Rapids */
        {"GenuineIntel", 19, 1, 48, DW_CPU_AVX512F | DW_CPU_AVXVNNI, "Sapphire Rapids"},  /* Diamond Rapids */
        {"GenuineIntel", 6, 151, 48, DW_CPU_AVXVNNI, "Sapphire Rapids"}, /* Alder Lake; below, a small core of it */
        {"GenuineIntel", 6, 151, 32, DW_CPU_AVXVNNI, ""},
        {"Apple", 0x1b588bb3, 0, 128, DW_CPU_NEON, ""},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        dw_cpu_info info;
        memset(&info, 0, sizeof info);
        memcpy(info.maker, known[i].maker, strlen(known[i].maker));
        info.family = known[i].family, info.model = known[i].model, info.l1_bytes = known[i].l1_kb << 10;
        CHECK(!strcmp(dw_machine_design(&info, known[i].flags), known[i].design));
    }
}

/* Numbers that are parts of caches follow them; those of Zen 1, Ice Lake and Sapphire Rapids are their own. */
static void test_tuning(void) {
    dw_cpu_info zen4, other;
    memset(&zen4, 0, sizeof zen4);
    zen4.line_bytes = 64, zen4.l1_bytes = 32 << 10, zen4.l2_bytes = 1 << 20, zen4.vector_bits = 256,
    zen4.design = "Zen 4";
    dw_tuning base, made;
    dw_tuning_make(&zen4, &base);
    CHECK(base.planes_bytes == 16384 && base.grad_lines_bytes == 16384 && base.grad_ring_bytes == 410000);
    CHECK(base.far_bytes > 900000 && base.far_bytes < 1 << 20);
    CHECK(base.aligned_pitch == 0);
    other = zen4;
    other.l1_bytes = 128 << 10, other.l2_bytes = 12 << 20, other.design = "";
    dw_tuning_make(&other, &made);
    CHECK(made.planes_bytes == 4 * base.planes_bytes && made.grad_lines_bytes == 4 * base.grad_lines_bytes);
    CHECK(made.grad_ring_bytes == base.grad_ring_bytes); /* of a cache that cores share no more than of their own */
    CHECK(made.far_bytes > 11 * base.far_bytes);
    other = zen4;
    other.l2_bytes = 512 << 10, other.vector_bits = 128, other.design = "Zen 1";
    dw_tuning_make(&other, &made);
    CHECK(made.aligned_pitch == 1024 && made.vectors_per_ns == base.vectors_per_ns / 2);
    CHECK(made.grad_ring_bytes == base.grad_ring_bytes / 2);
    other = zen4;
    other.l1_bytes = 48 << 10, other.l2_bytes = 1280 << 10, other.design = "Ice Lake";
    dw_tuning_make(&other, &made);
    CHECK(base.prefetches && !made.prefetches && base.few_rows_bytes > made.few_rows_bytes);
    CHECK(base.rolled_far == 1 && made.rolled_far > 1);
    CHECK(made.tiled[1] == base.tiled[1] && made.interleaved_pitch[1] == base.interleaved_pitch[1]);
    other.l2_bytes = 2 << 20, other.design = "Sapphire Rapids";
    dw_tuning_make(&other, &made);
    CHECK(!made.prefetches && made.rolled_far > 1 && made.tiled[0] < base.tiled[0] && made.tiled[1] < made.tiled[0]);
    CHECK(made.outputs_bytes < made.far_bytes && made.few_rows_bytes < made.outputs_bytes);
    CHECK(base.outputs_bytes > INT64_C(1) << 50 && base.split_outputs > INT64_C(1) << 50);
    CHECK(made.interleaved_pitch[0] < base.interleaved_pitch[0] && made.interleaved_pitch[1] == 64);
    CHECK(made.frees_tiles && made.free_tile > base.free_tile && made.free_tile < made.tiled[0]);

    /* Whatever this machine is, each number can be divided by. */
    const dw_cpu_info here = dw_machine();
    CHECK(here.line_bytes > 0 && here.l1_bytes > 0 && here.l2_bytes > 0 && here.vector_bits > 0 && here.design);
    const dw_tuning *tuning = dw_tuning_here();
    CHECK(tuning == dw_tuning_here());
    CHECK(tuning->vectors_per_ns > 0 && tuning->far_bytes > 0 && tuning->planes_bytes > 0);
    CHECK(tuning->grad_ring_bytes > 0 && tuning->grad_lines_bytes > 0);
    for (int i = 0; i < 2; i++) CHECK(tuning->interleaved_pitch[i] > 0 && tuning->interleaved_pitch_narrow[i] > 1);
}

int main(void) {
    test_entries();
    test_designs();
    test_tuning();
    return report();
}
