/* build.h - what a build leaves out: for programs that must be small.
 *
 * Macros on the compiler's command line, the same for every file of csrc:
 *
 *   DW_WITHOUT_F32, DW_WITHOUT_F64, DW_WITHOUT_I32      a dtype; without F32 no HALF either
 *   DW_WITHOUT_HALF                                     float16 and bfloat16
 *   DW_WITHOUT_GRADIENTS, DW_WITHOUT_NCHW               the gradients; channels first
 *   DW_WITHOUT_QUANTIZED                                quantized convolutions, which also go with DW_WITHOUT_I32
 *   DW_WITHOUT_AVX512, DW_WITHOUT_AVX2, DW_WITHOUT_NEON, DW_WITHOUT_PORTABLE   an instruction set
 *   DW_ONLY_3X3                                         fast kernels of other sizes: the general one computes these
 *
 * What is left out is refused when a plan is created: DW_ERR_BUILD, or DW_ERR_ISA for an instruction set. Results are
 * those of a whole build. */
#ifndef DW_BUILD_H
#define DW_BUILD_H

#ifdef DW_WITHOUT_F32
#define DW_HAS_F32 0
#define DW_IF_F32(item) NULL
#else
#define DW_HAS_F32 1
#define DW_IF_F32(item) item
#endif

#ifdef DW_WITHOUT_F64
#define DW_HAS_F64 0
#define DW_IF_F64(item) NULL
#else
#define DW_HAS_F64 1
#define DW_IF_F64(item) item
#endif

#if defined(DW_WITHOUT_HALF) || defined(DW_WITHOUT_F32)
#define DW_HAS_HALF 0
#define DW_IF_HALF(item) NULL
#else
#define DW_HAS_HALF 1
#define DW_IF_HALF(item) item
#endif

#ifdef DW_WITHOUT_I32
#define DW_HAS_I32 0
#define DW_IF_I32(item) NULL
#else
#define DW_HAS_I32 1
#define DW_IF_I32(item) item
#endif

#ifdef DW_WITHOUT_GRADIENTS
#define DW_HAS_GRADIENTS 0
#define DW_IF_GRADIENTS(item) NULL
#else
#define DW_HAS_GRADIENTS 1
#define DW_IF_GRADIENTS(item) item
#endif

#if defined(DW_WITHOUT_QUANTIZED) || defined(DW_WITHOUT_I32)
#define DW_HAS_QUANTIZED 0
#else
#define DW_HAS_QUANTIZED 1
#endif

#ifdef DW_WITHOUT_NCHW
#define DW_HAS_NCHW 0
#define DW_IF_NCHW(item) NULL
#else
#define DW_HAS_NCHW 1
#define DW_IF_NCHW(item) item
#endif

/* DW_OF_SIZE(kh, ...): a line of a list of kernels, if this build has kernels of that height (of gradients: width).
 * DW_OF_ANY_SIZE(...): a list of kernels for every size. */
#define DW_OF_SIZE(kh, ...) DW_OF_SIZE_(kh, __VA_ARGS__)
#define DW_OF_SIZE_(kh, ...) DW_OF_SIZE_##kh(__VA_ARGS__)
#define DW_OF_SIZE_3(...) __VA_ARGS__
#ifdef DW_ONLY_3X3
#define DW_OF_ANY_SIZE(...)
#define DW_OF_SIZE_1(...)
#define DW_OF_SIZE_2(...)
#define DW_OF_SIZE_4(...)
#define DW_OF_SIZE_5(...)
#define DW_OF_SIZE_7(...)
#define DW_OF_SIZE_9(...)
#define DW_OF_SIZE_11(...)
#define DW_OF_SIZE_13(...)
#else
#define DW_OF_ANY_SIZE(...) __VA_ARGS__
#define DW_OF_SIZE_1(...) __VA_ARGS__
#define DW_OF_SIZE_2(...) __VA_ARGS__
#define DW_OF_SIZE_4(...) __VA_ARGS__
#define DW_OF_SIZE_5(...) __VA_ARGS__
#define DW_OF_SIZE_7(...) __VA_ARGS__
#define DW_OF_SIZE_9(...) __VA_ARGS__
#define DW_OF_SIZE_11(...) __VA_ARGS__
#define DW_OF_SIZE_13(...) __VA_ARGS__
#endif

#endif
