/*
** dns.c - a name server for specs: localhost is 127.0.0.1, nothing else is.
** Prints "PORT PID"; ends when nobody holds its output any more.
*/
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

static const unsigned char name[] = "\x09localhost";
static const unsigned char record[] =
    "\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\x7f\0\0\x01";

/* turns a question into its answer; gives the answer's length */
static size_t answer(unsigned char *q, size_t n) {
  size_t end = 12 + sizeof(name) + 4;
  int known = n >= end && memcmp(q + 12, name, sizeof(name)) == 0;
  int address = known && q[end - 3] == 1; /* type A */
  q[2] = 0x85;
  q[3] = known ? 0x80 : 0x83; /* no such name */
  memset(q + 6, 0, 6);
  if (!address) return n;
  q[7] = 1;
  memcpy(q + end, record, sizeof(record) - 1);
  return end + sizeof(record) - 1;
}

int main(void) {
  struct sockaddr_in at = {.sin_family = AF_INET}, from;
  socklen_t n = sizeof(at);
  unsigned char q[2048];
  struct pollfd p[2] = {{.events = POLLIN}, {.fd = 1}};
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  p[0].fd = socket(AF_INET, SOCK_DGRAM, 0);
  if (bind(p[0].fd, (struct sockaddr *)&at, n) != 0) return 2;
  getsockname(p[0].fd, (struct sockaddr *)&at, &n);
  printf("%d %ld\n", ntohs(at.sin_port), (long)getpid());
  fflush(stdout);
  while (poll(p, 2, -1) > 0 && p[1].revents == 0) {
    socklen_t m = sizeof(from);
    ssize_t got = recvfrom(p[0].fd, q, 512, 0, (struct sockaddr *)&from, &m);
    if (got > 12)
      sendto(p[0].fd, q, answer(q, (size_t)got), 0, (struct sockaddr *)&from,
             m);
  }
  return 0;
}
