/*
** drop.c - what no client can save of bench/each.lua: GETs one URL with
** libcurl alone, reading as much at once as billhook does, and drops the
** bytes.
**
**   drop URL
**
** Prints seconds by the clock, and of processor time.
*/
#include <curl/curl.h>
#include <stdio.h>
#include <time.h>

#define AT_ONCE (256 * 1024L) /* CURL_WINDOW in src/curl.h */

static size_t on_body(char *data, size_t one, size_t n, void *user) {
  (void)data, (void)one, (void)user;
  return n;
}

static double now(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
  CURL *easy = argc == 2 ? curl_easy_init() : NULL;
  double start = now(CLOCK_MONOTONIC), cpu = now(CLOCK_PROCESS_CPUTIME_ID);
  if (easy == NULL) return 2;
  curl_easy_setopt(easy, CURLOPT_URL, argv[1]);
  curl_easy_setopt(easy, CURLOPT_FAILONERROR, 1L);
  curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, AT_ONCE);
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
  if (curl_easy_perform(easy) != CURLE_OK) return 1;
  printf("%.6f %.6f\n", now(CLOCK_MONOTONIC) - start,
         now(CLOCK_PROCESS_CPUTIME_ID) - cpu);
  return 0;
}
