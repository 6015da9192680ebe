/* machine.c - asks the CPU, or else the operating system, once. Each system has one `ask`; what it does not know stays
 * 0. */
#if defined(__linux__) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE /* O_CLOEXEC, which -std=c11 hides */
#endif

#include "machine.h"

#include <stdatomic.h>
#include <string.h>

#include "cpu.h"

#if defined(__APPLE__)
#include <sys/sysctl.h>
#elif defined(__linux__) && defined(__aarch64__)
#include <fcntl.h>
#include <unistd.h>
#endif

/* ---- x86-64 ---------------------------------------------------------------------------------------- */

/* AMD64 Architecture Programmer's Manual, volume 3, Fn8000_001D; Intel's Software Developer's Manual, volume 2A, CPUID,
 * leaf 4: the same fields. */
int dw_machine_take_cache(dw_cpu_info *info, const unsigned r[4]) {
    enum { NONE, DATA, INSTRUCTIONS, UNIFIED };
    const unsigned type = r[0] & 31, level = r[0] >> 5 & 7;
    if (type == NONE) return 0;
    if (type != DATA && type != UNIFIED) return 1;
    const int64_t line = (r[1] & 0xfff) + 1, partitions = (r[1] >> 12 & 0x3ff) + 1, ways = (r[1] >> 22) + 1;
    const double size = (double)line * (double)partitions * (double)ways * ((double)r[2] + 1);
    const int64_t bytes = size < (double)(INT64_C(1) << 40) ? (int64_t)size : 0; /* more is nonsense */
    if (level == 1) {
        info->line_bytes = line;
        info->l1_bytes = bytes;
    }
    if (level == 2) info->l2_bytes = bytes;
    if (level == 3) info->l3_bytes = bytes;
    return 1;
}

#ifdef DW_X86
static void ask(dw_cpu_info *info) {
    enum { TOPOLOGY_EXTENSIONS = 1u << 22, FP128 = 1, FP256 = 4, FP512 = 8, MOST_ENTRIES = 16 };
    unsigned r[4];
    dw_cpuid(0, 0, r);
    const unsigned last = r[0];
    memcpy(info->maker, &r[1], 4);
    memcpy(info->maker + 4, &r[3], 4);
    memcpy(info->maker + 8, &r[2], 4);
    dw_cpuid(1, 0, r);
    const unsigned family = r[0] >> 8 & 15;
    info->family = (int)(family == 15 ? family + (r[0] >> 20 & 255) : family);
    info->model = (int)(family == 6 || family == 15 ? (r[0] >> 4 & 15) + (r[0] >> 12 & 0xf0) : r[0] >> 4 & 15);
    dw_cpuid(0x80000000u, 0, r);
    const unsigned last_extended = r[0];
    const int is_amd = !strcmp(info->maker, "AuthenticAMD") || !strcmp(info->maker, "HygonGenuine");
    unsigned leaf = last >= 4 && !is_amd ? 4 : 0;
    if (is_amd && last_extended >= 0x8000001du) {
        dw_cpuid(0x80000001u, 0, r);
        if (r[2] & TOPOLOGY_EXTENSIONS) leaf = 0x8000001du;
    }
    for (unsigned i = 0; leaf && i < MOST_ENTRIES; i++) {
        dw_cpuid(leaf, i, r);
        if (!dw_machine_take_cache(info, r)) break;
    }
    /* How wide the units are: AMD says so (Fn8000_001A), of others the instructions are a good guess. */
    const unsigned flags = dw_cpu_flags();
    info->vector_bits = flags & DW_CPU_AVX512F ? 512 : flags & DW_CPU_AVX2 ? 256 : 128;
    if (is_amd && last_extended >= 0x8000001au) {
        dw_cpuid(0x8000001au, 0, r);
        if (r[0] & (FP128 | FP256 | FP512)) info->vector_bits = r[0] & FP512 ? 512 : r[0] & FP256 ? 256 : 128;
    }
}

/* ---- macOS ----------------------------------------------------------------------------------------- */

#elif defined(__APPLE__)
/* A number of the system; 0: it has none of that name. Some are of 4 bytes, some of 8. */
static int64_t number_of(const char *name) {
    union {
        int64_t wide;
        int32_t narrow;
    } value = {0};
    size_t size = sizeof value;
    if (sysctlbyname(name, &value, &size, NULL, 0) != 0) return 0;
    return size == sizeof value.narrow ? value.narrow : value.wide;
}

static int64_t either(const char *name, const char *other) {
    const int64_t number = number_of(name);
    return number > 0 ? number : number_of(other);
}

static void ask(dw_cpu_info *info) {
    memcpy(info->maker, "Apple", sizeof "Apple");
    info->family = (int)(number_of("hw.cpufamily") & 0x7fffffff);
    info->line_bytes = number_of("hw.cachelinesize");
    info->l1_bytes = either("hw.perflevel0.l1dcachesize", "hw.l1dcachesize"); /* level 0: the fast cores */
    info->l2_bytes = either("hw.perflevel0.l2cachesize", "hw.l2cachesize");
    info->l3_bytes = either("hw.perflevel0.l3cachesize", "hw.l3cachesize");
    info->vector_bits = 128;
}

/* ---- Linux on AArch64 ------------------------------------------------------------------------------ */

#elif defined(__linux__) && defined(__aarch64__)
/* The first bytes of a small file, as a string; "" if it cannot be read. */
static void read_text(const char *path, char *to, size_t size) {
    const int file = open(path, O_RDONLY | O_CLOEXEC);
    const ssize_t count = file < 0 ? 0 : read(file, to, size - 1);
    if (file >= 0) close(file);
    to[count > 0 ? count : 0] = 0;
}

/* "64", "512K", "32M", "0x410fd0c1" */
static int64_t parse(const char *text) {
    int64_t number = 0;
    const int base = text[0] == '0' && text[1] == 'x' ? 16 : 10;
    if (base == 16) text += 2;
    for (;; text++) {
        const int digit = *text >= '0' && *text <= '9'                 ? *text - '0'
                          : base == 16 && *text >= 'a' && *text <= 'f' ? *text - 'a' + 10
                                                                       : -1;
        if (digit < 0 || number > INT64_MAX / 32) break;
        number = number * base + digit;
    }
    return *text == 'K' ? number << 10 : *text == 'M' ? number << 20 : number;
}

static void ask(dw_cpu_info *info) {
    enum { MOST_ENTRIES = 8, IMPLEMENTER_SHIFT = 24, PART_SHIFT = 4 };
    char text[32], path[64] = "/sys/devices/system/cpu/cpu0/cache/index0/";
    const size_t end = strlen(path);
    memcpy(info->maker, "ARM", sizeof "ARM");
    info->vector_bits = 128;
    for (int i = 0; i < MOST_ENTRIES; i++) {
        path[end - 2] = (char)('0' + i);
        memcpy(path + end, "type", sizeof "type");
        read_text(path, text, sizeof text);
        if (!*text) break;
        if (*text != 'D' && *text != 'U') continue; /* Data, Unified */
        memcpy(path + end, "level", sizeof "level");
        read_text(path, text, sizeof text);
        const int64_t level = parse(text);
        memcpy(path + end, "size", sizeof "size");
        read_text(path, text, sizeof text);
        const int64_t bytes = parse(text);
        memcpy(path + end, "coherency_line_size", sizeof "coherency_line_size");
        read_text(path, text, sizeof text);
        if (level == 1) info->line_bytes = parse(text);
        if (level == 1) info->l1_bytes = bytes;
        if (level == 2) info->l2_bytes = bytes;
        if (level == 3) info->l3_bytes = bytes;
    }
    read_text("/sys/devices/system/cpu/cpu0/regs/identification/midr_el1", text, sizeof text);
    const int64_t midr = parse(text);
    info->family = (int)(midr >> IMPLEMENTER_SHIFT & 0xff);
    info->model = (int)(midr >> PART_SHIFT & 0xfff);
}

#else
static void ask(dw_cpu_info *info) { info->vector_bits = 128; }
#endif

/* ---- families -------------------------------------------------------------------------------------- */

/* The designs that tuned numbers may differ for, tuning.c; the first line that fits counts. Models as Linux tells them
 * apart: arch/x86/kernel/cpu/amd.c, arch/x86/include/asm/intel-family.h. */
static const struct {
    const char *maker;
    int family, model, last_model;
    const char *name;
} families[] = {
    {"AuthenticAMD", 0x17, 0x00, 0x2f, "Zen 1"},
    {"AuthenticAMD", 0x17, 0x50, 0x5f, "Zen 1"},
    {"HygonGenuine", 0x18, 0x00, 0xff, "Zen 1"},
    {"AuthenticAMD", 0x17, 0x30, 0xff, "Zen 2"},
    {"AuthenticAMD", 0x19, 0x00, 0x0f, "Zen 3"},
    {"AuthenticAMD", 0x19, 0x20, 0x5f, "Zen 3"},
    {"AuthenticAMD", 0x19, 0x10, 0x1f, "Zen 4"},
    {"AuthenticAMD", 0x19, 0x60, 0xaf, "Zen 4"},
    {"AuthenticAMD", 0x1a, 0x00, 0xff, "Zen 5"},
    {"GenuineIntel", 0x06, 0x6a, 0x6a, "Ice Lake"},
    {"GenuineIntel", 0x06, 0x6c, 0x6c, "Ice Lake"},
    {"GenuineIntel", 0x06, 0x7d, 0x7e, "Ice Lake"},
    /* Emerald Rapids, 207, has the same core. */
    {"GenuineIntel", 0x06, 0x8f, 0x8f, "Sapphire Rapids"},
    {"GenuineIntel", 0x06, 0xcf, 0xcf, "Sapphire Rapids"},
};

const char *dw_machine_design(const dw_cpu_info *info, unsigned flags) {
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        if (!strcmp(info->maker, families[i].maker) && info->family == families[i].family &&
            info->model >= families[i].model && info->model <= families[i].last_model)
            return families[i].name;
    /* Later Intels, and those whose model a hypervisor made up. L1 has had 48 KB since Ice Lake in all cores but the small
     * ones, and AVX-VNNI came with the core of Sapphire Rapids. An Intel with AMX, 2 MB of L2 and 64 KB of L1 for
     * instructions (Granite Rapids?) that calls itself family 6, model 167: by Zen 4's numbers it lost ten of the 30 shapes of
     * bench/shapes/targets.txt, by Sapphire Rapids' one; 112x112x64 at stride 2 299 us and 157, 56x56x128 181 and 129. */
    if (!strcmp(info->maker, "GenuineIntel") && info->l1_bytes == 48 << 10)
        return flags & DW_CPU_AVXVNNI ? "Sapphire Rapids" : "Ice Lake";
    return "";
}

/* ---- once ------------------------------------------------------------------------------------------ */

void dw_cpu_describe(dw_cpu_info *info) {
    /* In a virtual machine each cpuid traps to the hypervisor, which takes tens of microseconds. Threads that come
     * before the answer is kept ask for themselves. */
    enum { UNKNOWN, STORING, KNOWN };
    static atomic_int state;
    static dw_cpu_info kept;
    if (atomic_load_explicit(&state, memory_order_acquire) == KNOWN) {
        *info = kept;
        return;
    }
    memset(info, 0, sizeof *info);
    ask(info);
    info->design = dw_machine_design(info, dw_cpu_flags());
    int expected = UNKNOWN;
    if (!atomic_compare_exchange_strong(&state, &expected, STORING)) return;
    kept = *info;
    atomic_store_explicit(&state, KNOWN, memory_order_release);
}

dw_cpu_info dw_machine(void) {
    dw_cpu_info info;
    dw_cpu_describe(&info);
    if (info.line_bytes < 1) info.line_bytes = 64;
    if (info.l1_bytes < 1) info.l1_bytes = 32 << 10;
    if (info.l2_bytes < 1) info.l2_bytes = 1 << 20; /* of most CPUs of today, per core: 1 or 2 MB */
    return info;
}
