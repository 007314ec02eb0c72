/*
** client.c - the raw side of bench/client.lua: GETs of one URL after another
** with libcurl alone, on one connection, with the same headers; the body is
** copied and thrown away.
**
**   client URL COUNT    prints requests a second
*/
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static char body[1 << 20];
static size_t used;

static size_t on_body(char *data, size_t one, size_t n, void *user) {
  (void)one, (void)user;
  if (used + n > sizeof(body)) return 0;
  memcpy(body + used, data, n);
  used += n;
  return n;
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

int main(int argc, char **argv) {
  CURL *easy = curl_easy_init();
  long i, n = argc > 2 ? atol(argv[2]) : 0;
  struct curl_slist *headers = NULL;
  double start;
  if (n <= 0 || easy == NULL) return 2;
  curl_easy_setopt(easy, CURLOPT_URL, argv[1]);
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
  if (getenv("CA_FILE") != NULL && *getenv("CA_FILE") != 0)
    curl_easy_setopt(easy, CURLOPT_CAINFO, getenv("CA_FILE"));
  curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "");
  headers = curl_slist_append(headers, "Authorization: DREAM apikey=\"abc\"");
  headers = curl_slist_append(headers, "Accept: application/json");
  curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
  start = now();
  for (i = 0; i < n; i++) {
    used = 0;
    if (curl_easy_perform(easy) != CURLE_OK) return 1;
  }
  printf("%.0f\n", (double)n / (now() - start));
  curl_easy_cleanup(easy);
  curl_slist_free_all(headers);
  return 0;
}
