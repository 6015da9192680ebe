/* names.h - lets a vector header and the loops be plain C that is included once per dtype.
 *
 * With DW_KIND f, DW_BITS 32 and DW_ISA avx2 the compiler reads `vec_load` as vec_load_f32_avx2, and so on. The
 * combinations are f 32, f 64 and i 32; for the last DW_INTEGER is defined as 1, because #if cannot compare names. */
#ifndef DW_NAMES_H
#define DW_NAMES_H

#define DW_PASTE_(name, kind, bits, isa) name##_##kind##bits##_##isa
#define DW_PASTE(name, kind, bits, isa) DW_PASTE_(name, kind, bits, isa)
#define DW_NAME(name) DW_PASTE(name, DW_KIND, DW_BITS, DW_ISA)

#define DW_STRING_(x) #x
#define DW_STRING(x) DW_STRING_(x)

/* The vocabulary of a vector header; vec_portable.h says what each word means. */
#define real DW_NAME(real)
#define vec DW_NAME(vec)
#define vec_indices DW_NAME(vec_indices)
#define LANES DW_NAME(LANES)
#define vec_set1 DW_NAME(vec_set1)
#define vec_load DW_NAME(vec_load)
#define vec_store DW_NAME(vec_store)
#define vec_load_n DW_NAME(vec_load_n)
#define vec_store_n DW_NAME(vec_store_n)
#define vec_mask DW_NAME(vec_mask)
#define vec_mask_range DW_NAME(vec_mask_range)
#define vec_masked_load DW_NAME(vec_masked_load)
#define vec_select DW_NAME(vec_select)
#define vec_deinterleave2 DW_NAME(vec_deinterleave2)
#define vec_load_deinterleave2 DW_NAME(vec_load_deinterleave2)
#define vec_masked_load_deinterleave2 DW_NAME(vec_masked_load_deinterleave2)
#define vec_slide_in DW_NAME(vec_slide_in)
#define vec_fma DW_NAME(vec_fma)
#define vec_clamp DW_NAME(vec_clamp)
#define vec_store_interleaved DW_NAME(vec_store_interleaved)
#define vec_add DW_NAME(vec_add)
#define vec_sub DW_NAME(vec_sub)
#define vec_mul DW_NAME(vec_mul)
#define vec_div DW_NAME(vec_div)
#define vec_fnma DW_NAME(vec_fnma)
#define vec_max DW_NAME(vec_max)
#define vec_abs DW_NAME(vec_abs)
#define vec_copysign DW_NAME(vec_copysign)
#define vec_select_lt DW_NAME(vec_select_lt)
#define vec_exp2_int DW_NAME(vec_exp2_int)
#define vec_scale DW_NAME(vec_scale)
#define vec_load_f16 DW_NAME(vec_load_f16)
#define vec_load_f16_n DW_NAME(vec_load_f16_n)
#define vec_store_f16 DW_NAME(vec_store_f16)
#define vec_store_f16_n DW_NAME(vec_store_f16_n)
#define vec_masked_load_f16 DW_NAME(vec_masked_load_f16)
#define vec_load_bf16 DW_NAME(vec_load_bf16)
#define vec_load_bf16_n DW_NAME(vec_load_bf16_n)
#define vec_store_bf16 DW_NAME(vec_store_bf16)
#define vec_store_bf16_n DW_NAME(vec_store_bf16_n)
#define vec_masked_load_bf16 DW_NAME(vec_masked_load_bf16)
#define vec_load_indices DW_NAME(vec_load_indices)
#define vec_permute DW_NAME(vec_permute)

#if defined(_MSC_VER) && !defined(__clang__)
#pragma fp_contract(off) /* as -ffp-contract=off; before Visual Studio 2022 it fused what it liked */
#define DW_INLINE static __forceinline
#define DW_CALLED static __declspec(noinline)
#else
#define DW_INLINE static inline __attribute__((always_inline, unused))
#define DW_CALLED static __attribute__((noinline, unused))
#endif

/* gcc tends to load a vector again for each instruction that overwrites it. Without that, 3x3 kernels of stride 2 are
 * 2 % faster on Zen 4. For x86 only. */
#if defined(__GNUC__)
#define DW_IN_REGISTERS(a, b) __asm__("" : "+v"(a), "+v"(b))
#else
#define DW_IN_REGISTERS(a, b)
#endif

/* gcc tends to load a vector again for each instruction that uses it, too. For x86 only: elsewhere instructions take no
 * operand from memory. */
#if defined(__GNUC__) && !defined(__clang__) && (defined(__x86_64__) || defined(__i386__))
#define DW_IN_REGISTER(v) __asm__("" : "+v"(v))
#else
#define DW_IN_REGISTER(v) (void)(v)
#endif

/* gcc tends to keep p plus each of several offsets in a register of its own instead of p: six registers for one. */
#if defined(__GNUC__)
#define DW_ONE_POINTER(p) __asm__("" : "+r"(p))
#else
#define DW_ONE_POINTER(p)
#endif

/* Hints, which touch no memory: any address is allowed. */
#if defined(__GNUC__)
#define DW_PREFETCH(p) __builtin_prefetch(p)
#define DW_PREFETCH_L2(p) __builtin_prefetch(p, 0, 2)
#else
#define DW_PREFETCH(p) (void)(p)
#define DW_PREFETCH_L2(p) (void)(p)
#endif

/* Loops over compile-time sizes must be unrolled, or the sums are kept in memory. clang ignores gcc's pragma silently,
 * so each has its own spelling. */
#if defined(__clang__)
#define DW_UNROLL _Pragma("clang loop unroll(full)")
#elif defined(__GNUC__)
#define DW_UNROLL _Pragma("GCC unroll 64")
#else
#define DW_UNROLL
#endif

#endif
