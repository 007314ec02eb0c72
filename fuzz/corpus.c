/*
** fuzz/corpus.c - a main for a fuzz target without a fuzzer: it runs every
** file of the folders that it is given, each as it is, without its end at
** every place, and with each of its bytes changed.
*/
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MAXFILE = 1 << 20, MAXCHANGED = 2048 };

/* in a block of its own size, so that a byte too far is seen */
static void try_one(const uint8_t *data, size_t size) {
  uint8_t *copy = malloc(size > 0 ? size : 1);
  if (copy == NULL) abort();
  if (size > 0) memcpy(copy, data, size);
  LLVMFuzzerTestOneInput(copy, size);
  free(copy);
}

static void try_all(uint8_t *data, size_t size) {
  static const uint8_t others[] = {'"', '0', 0x80};
  size_t changed = size < MAXCHANGED ? size : MAXCHANGED, i, j;
  try_one(data, size);
  for (i = 0; i < changed; i++) {
    uint8_t byte = data[i];
    try_one(data, i);
    for (j = 0; j < sizeof others; j++) {
      data[i] = others[j];
      try_one(data, size);
    }
    data[i] = byte;
  }
}

static int try_file(const char *folder, const char *name) {
  static uint8_t data[MAXFILE];
  char path[4096];
  size_t size;
  FILE *f;
  snprintf(path, sizeof path, "%s/%s", folder, name);
  f = fopen(path, "rb");
  if (f == NULL) {
    perror(path);
    return 0;
  }
  fprintf(stderr, "# %s\n", path); /* the last one is the one that crashed */
  size = fread(data, 1, sizeof data, f);
  fclose(f);
  try_all(data, size);
  return 1;
}

int main(int argc, char **argv) {
  int passed = 0, failed = 0, i;
  for (i = 1; i < argc; i++) {
    DIR *folder = opendir(argv[i]);
    struct dirent *entry;
    if (folder == NULL) {
      perror(argv[i]);
      failed++;
      continue;
    }
    while ((entry = readdir(folder)) != NULL)
      if (entry->d_name[0] != '.') {
        if (try_file(argv[i], entry->d_name))
          passed++;
        else
          failed++;
      }
    closedir(folder);
  }
  printf("%d passed, %d failed\n", passed, failed);
  return failed > 0 || passed == 0;
}
