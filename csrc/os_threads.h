/* os_threads.h - what thread_pool.c needs of an operating system: threads, mutexes, conditions, a clock, CPUs; by pthreads or
 * Win32. */
#ifndef DW_OS_THREADS_H
#define DW_OS_THREADS_H

#if defined(__linux__) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE /* for what -std=c11 hides: pthread_sigmask, clock_gettime, sched_getcpu */
#endif
#include <stdint.h>

#include "os_pause.h"

enum { OS_STACK_BYTES = 1 << 20 }; /* the kernels need a few kilobytes, sanitizers more */

#ifdef _WIN32

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#include <process.h>

typedef SRWLOCK os_mutex;
typedef CONDITION_VARIABLE os_condition;
typedef HANDLE os_thread;
#define OS_MUTEX_INIT SRWLOCK_INIT
#define OS_THREAD_FN(name) static unsigned __stdcall name(void *argument)
typedef unsigned(__stdcall *os_thread_fn)(void *);

static inline void os_init(os_mutex *mutex) { InitializeSRWLock(mutex); }
static inline void os_init_condition(os_condition *condition) { InitializeConditionVariable(condition); }
static inline void os_lock(os_mutex *mutex) { AcquireSRWLockExclusive(mutex); }
static inline void os_unlock(os_mutex *mutex) { ReleaseSRWLockExclusive(mutex); }
static inline void os_wait(os_condition *condition, os_mutex *mutex) {
    SleepConditionVariableSRW(condition, mutex, INFINITE, 0);
}
static inline void os_wait_for(os_condition *condition, os_mutex *mutex, int milliseconds) {
    SleepConditionVariableSRW(condition, mutex, (DWORD)milliseconds, 0);
}
static inline void os_signal(os_condition *condition) { WakeConditionVariable(condition); }
static inline int os_start(os_thread *thread, os_thread_fn function, void *argument) {
    const uintptr_t handle =
        _beginthreadex(NULL, OS_STACK_BYTES, function, argument, STACK_SIZE_PARAM_IS_A_RESERVATION, NULL);
    *thread = (HANDLE)handle;
    return handle != 0;
}
static inline void os_join(os_thread thread) {
    WaitForSingleObject(thread, INFINITE);
    CloseHandle(thread);
}
static inline void os_yield(void) { SwitchToThread(); }
static inline int64_t os_nanoseconds(void) {
    LARGE_INTEGER count, per_second;
    QueryPerformanceCounter(&count);
    QueryPerformanceFrequency(&per_second);
    return (int64_t)((double)count.QuadPart * (1e9 / (double)per_second.QuadPart));
}
static inline int64_t os_cpu_nanoseconds(void) { return os_nanoseconds(); } /* that of threads is too coarse */

#else

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

typedef pthread_mutex_t os_mutex;
typedef pthread_cond_t os_condition;
typedef pthread_t os_thread;
#define OS_MUTEX_INIT PTHREAD_MUTEX_INITIALIZER
#define OS_THREAD_FN(name) static void *name(void *argument)
typedef void *(*os_thread_fn)(void *);

static inline void os_init(os_mutex *mutex) { pthread_mutex_init(mutex, NULL); }
#ifdef __APPLE__ /* which has no other clock for conditions, but a wait for a time that has passed */
static inline void os_init_condition(os_condition *condition) { pthread_cond_init(condition, NULL); }
static inline void os_wait_for(os_condition *condition, os_mutex *mutex, int milliseconds) {
    const struct timespec time = {milliseconds / 1000, milliseconds % 1000 * 1000000L};
    pthread_cond_timedwait_relative_np(condition, mutex, &time);
}
#else
static inline void os_init_condition(os_condition *condition) {
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC); /* which nobody sets back */
    pthread_cond_init(condition, &attributes);
    pthread_condattr_destroy(&attributes);
}
static inline void os_wait_for(os_condition *condition, os_mutex *mutex, int milliseconds) {
    struct timespec end;
    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += milliseconds / 1000;
    end.tv_nsec += milliseconds % 1000 * 1000000L;
    if (end.tv_nsec >= 1000000000L) {
        end.tv_sec++;
        end.tv_nsec -= 1000000000L;
    }
    pthread_cond_timedwait(condition, mutex, &end);
}
#endif
static inline void os_lock(os_mutex *mutex) { pthread_mutex_lock(mutex); }
static inline void os_unlock(os_mutex *mutex) { pthread_mutex_unlock(mutex); }
static inline void os_wait(os_condition *condition, os_mutex *mutex) { pthread_cond_wait(condition, mutex); }
static inline void os_signal(os_condition *condition) { pthread_cond_signal(condition); }

/* Whether the thread has started. It takes no signals: they are for the threads of the program that uses the library. */
static inline int os_start(os_thread *thread, os_thread_fn function, void *argument) {
    sigset_t all, before;
    pthread_attr_t attributes;
    if (pthread_attr_init(&attributes)) return 0;
    pthread_attr_setstacksize(&attributes, OS_STACK_BYTES);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    const int failed = pthread_create(thread, &attributes, function, argument);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    return !failed;
}
static inline void os_join(os_thread thread) { pthread_join(thread, NULL); }
static inline void os_yield(void) { sched_yield(); }
static inline int64_t os_nanoseconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}
/* That this thread has computed for. */
static inline int64_t os_cpu_nanoseconds(void) {
    struct timespec used;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    return (int64_t)used.tv_sec * 1000000000 + used.tv_nsec;
}

#endif
/* ---- CPUs ------------------------------------------------------------------------------------------- */

#ifdef __linux__
#include <sys/syscall.h>

typedef pid_t os_thread_id;

static inline os_thread_id os_self(void) { return (os_thread_id)syscall(SYS_gettid); }
static inline int os_cpu(void) { return sched_getcpu(); }

/* Lets a thread of this process run on the CPUs that the process may use, `except` one (-1: none) if others are left.
 * Those of the process are those of its main thread, which os.sched_getaffinity and taskset show. (A new thread has the
 * CPUs of the thread that started it, which may have pinned itself to one.) */
static inline void os_allow_cpus(os_thread_id thread, int except) {
    cpu_set_t set;
    if (sched_getaffinity(getpid(), sizeof set, &set)) return;
    if (except >= 0) {
        CPU_CLR((size_t)except, &set);
        if (CPU_COUNT(&set) == 0) return;
    }
    sched_setaffinity(thread, sizeof set, &set);
}
#else
typedef int os_thread_id;
static inline os_thread_id os_self(void) { return 0; }
static inline int os_cpu(void) { return -1; } /* unknown */
static inline void os_allow_cpus(os_thread_id thread, int except) { (void)thread, (void)except; }
#endif

#endif
