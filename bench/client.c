/*
** client.c - the raw side of bench/client.lua: GETs of one URL with libcurl
** alone, on kept connections, with the headers that billhook sends; bodies
** are copied and thrown away.
**
**   client sequential|together URL CA_FILE SECONDS
**
** One after another with one easy handle, or 32 at once with a multi handle.
** Prints requests a second and microseconds of processor time for each.
*/
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define AT_ONCE 32

typedef struct answer {
  char body[1 << 16];
  size_t used;
} answer;

static struct curl_slist *headers;

static size_t on_body(char *data, size_t one, size_t n, void *user) {
  answer *a = user;
  (void)one;
  if (a->used + n > sizeof(a->body)) return 0;
  memcpy(a->body + a->used, data, n);
  a->used += n;
  return n;
}

static double now(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static CURL *handle(char **argv) {
  CURL *easy = curl_easy_init();
  answer *a = calloc(1, sizeof(answer));
  curl_easy_setopt(easy, CURLOPT_URL, argv[2]);
  curl_easy_setopt(easy, CURLOPT_CAINFO, argv[3]);
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, on_body);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, a);
  curl_easy_setopt(easy, CURLOPT_PRIVATE, a);
  curl_easy_setopt(easy, CURLOPT_ACCEPT_ENCODING, "");
  curl_easy_setopt(easy, CURLOPT_HTTPHEADER, headers);
  return easy;
}

static int finished(CURL *easy, CURLcode code) {
  answer *a;
  long status = 0;
  curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&a);
  curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
  if (code != CURLE_OK || status != 200 || a->used == 0) exit(1);
  a->used = 0;
  return 1;
}

/* until the time is over; how many were made */
static long sequential(char **argv, double end) {
  static CURL *easy;
  long n = 0;
  if (easy == NULL) easy = handle(argv);
  for (; now(CLOCK_MONOTONIC) < end; n++)
    finished(easy, curl_easy_perform(easy));
  return n;
}

static long collect(CURLM *multi) {
  CURLMsg *m;
  int left;
  long n = 0;
  while ((m = curl_multi_info_read(multi, &left)) != NULL) {
    CURL *easy = m->easy_handle;
    n += finished(easy, m->data.result);
    curl_multi_remove_handle(multi, easy);
    curl_multi_add_handle(multi, easy);
  }
  return n;
}

static long together(char **argv, double end) {
  static CURLM *multi;
  int running, i;
  long n = 0;
  if (multi == NULL) {
    multi = curl_multi_init();
    for (i = 0; i < AT_ONCE; i++)
      curl_multi_add_handle(multi, handle(argv));
  }
  while (now(CLOCK_MONOTONIC) < end) {
    curl_multi_perform(multi, &running);
    n += collect(multi);
    curl_multi_poll(multi, NULL, 0, 1000, NULL);
  }
  return n;
}

int main(int argc, char **argv) {
  long n, (*run)(char **, double);
  double start, cpu, seconds;
  if (argc != 5 || (seconds = atof(argv[4])) <= 0) return 2;
  run = strcmp(argv[1], "together") == 0 ? together : sequential;
  headers = curl_slist_append(headers, "Authorization: DREAM apikey=\"abc\"");
  headers = curl_slist_append(headers, "Accept: application/json");
  run(argv, now(CLOCK_MONOTONIC) + 0.2);
  cpu = now(CLOCK_PROCESS_CPUTIME_ID);
  start = now(CLOCK_MONOTONIC);
  n = run(argv, start + seconds);
  printf("%.0f %.2f\n", (double)n / (now(CLOCK_MONOTONIC) - start),
         (now(CLOCK_PROCESS_CPUTIME_ID) - cpu) * 1e6 / (double)n);
  return 0;
}
