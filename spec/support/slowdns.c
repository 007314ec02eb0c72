/* slowdns.c - preloaded, makes every look-up of a name take twenty seconds. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <unistd.h>

typedef int look_up(const char *, const char *, const struct addrinfo *,
                    struct addrinfo **);

int getaddrinfo(const char *name, const char *service,
                const struct addrinfo *hints, struct addrinfo **out) {
  look_up *real = (look_up *)dlsym(RTLD_NEXT, "getaddrinfo");
  sleep(20);
  return real(name, service, hints, out);
}
