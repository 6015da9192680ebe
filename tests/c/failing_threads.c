/* failing_threads.c - a library to be loaded before all others (LD_PRELOAD): pthread_create fails while `failing` is set,
 * and `attempts` counts how often that was tried.
 *
 *   cc -shared -fPIC failing_threads.c -o failing_threads.so -ldl */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>

int failing, attempts;

typedef int create_fn(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *argument) {
    if (failing) {
        attempts++;
        return EAGAIN;
    }
    create_fn *const real = (create_fn *)dlsym(RTLD_NEXT, "pthread_create");
    return real(thread, attributes, start, argument);
}
